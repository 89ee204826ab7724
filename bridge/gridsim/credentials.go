package gridsim

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"
)

const typeOAuth = "OAUTH"

// credential is a way to sign in to an account.
type credential struct {
	id, kind, nickname string
	account            *account
	identity           OIDCIdentity
	created            time.Time
}

// authMethod is a credential on the wire.
type authMethod struct {
	ID        string `json:"id"`
	AccountID string `json:"accountId"`
	Type      string `json:"type"`
	Nickname  string `json:"nickname"`
	CreatedAt string `json:"createdAt"`
	UpdatedAt string `json:"updatedAt"`
}

// addCredential registers an OAUTH credential.
func (s *Sim) addCredential(a *account, id, nickname string, identity OIDCIdentity) *credential {
	c := &credential{id: id, kind: typeOAuth, nickname: nickname, account: a, identity: identity, created: s.now()}
	s.credentials[id] = c
	a.credentials = append(a.credentials, c)
	return c
}

// listCredentials serves GET /auth/credentials, with the same rules as
// listSessions.
func (s *Sim) listCredentials(req request) (reply, error) {
	id, err := req.accountID()
	if err != nil {
		return reply{}, err
	}
	list := []authMethod{} // never null
	if a := s.accounts[id]; a != nil {
		for _, c := range a.credentials {
			list = append(list, authMethod{
				ID:        c.id,
				AccountID: a.id,
				Type:      c.kind,
				Nickname:  c.nickname,
				CreatedAt: timestamp(c.created),
				UpdatedAt: timestamp(c.created),
			})
		}
	}
	return reply{http.StatusOK, map[string]any{"data": list}}, nil
}

// verifyCredential serves POST /auth/credentials/{id}/verify for OAUTH: one
// call, no challenge. The two signature headers mean nothing here and are not
// looked at. Every success starts another session.
func (s *Sim) verifyCredential(req request) (reply, error) {
	body, err := req.jsonBody()
	if err != nil {
		return reply{}, err
	}
	if err := checkVerifyBody(body); err != nil {
		return reply{}, err
	}
	kind, _ := stringField(body, "type")
	token, _ := stringField(body, "oidcToken")
	clientKey, _ := stringField(body, "clientPublicKey")
	var key compressedKey
	if kind == typeOAuth {
		if key, err = s.parseClientKey(clientKey); err != nil {
			return reply{}, err
		}
	}
	if !isID("AuthMethod", req.id) {
		return reply{}, credentialIDMalformed
	}
	c := s.credentials[req.id]
	if c == nil {
		return reply{}, credentialUnknown
	}
	if kind != c.kind {
		return reply{}, typeMismatch
	}
	claims, err := parseOIDCToken(token)
	if err != nil {
		return reply{}, err
	}
	if err := claims.check(c.identity, clientKey, req.now); err != nil {
		return reply{}, err
	}
	if len(c.account.sessions) >= maxSessions {
		// All sessions live equally long, so the oldest is the next to expire.
		wait := c.account.sessions[0].expires.Sub(req.now)
		req.out.Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return reply{}, sessionsExhausted
	}
	return reply{http.StatusOK, s.addSession(req.now, c, key).wire()}, nil
}

// checkVerifyBody checks that the body has a type and what this type requires.
// All types but OAUTH are refused later, because no credential here has them.
func checkVerifyBody(body map[string]json.RawMessage) error {
	kind, ok := stringField(body, "type")
	switch {
	case !ok:
		return typeMissing
	case kind == "EMAIL_OTP" || kind == "SMS_OTP":
		if !hasStrings(body, "encryptedOtpBundle") {
			return otpBundleMissing
		}
	case kind == typeOAuth:
		if !hasStrings(body, "oidcToken") {
			return tokenMissing
		}
		if !hasStrings(body, "clientPublicKey") {
			return clientKeyMissing
		}
	case kind == "PASSKEY":
		assertion, err := parseObject(body["assertion"], assertionMalformed, assertionMalformed)
		if err != nil || !hasStrings(assertion, "credentialId", "clientDataJson", "authenticatorData", "signature") {
			return assertionMalformed
		}
	default:
		return typeUnknown
	}
	return nil
}
