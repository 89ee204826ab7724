package gridsim

import (
	"encoding/json"
	"net/http"
	"strings"
)

const verifyRoute = "/auth/credentials/{id}/verify"

// verifyTarget is what challenges to sign in with a credential are good for.
func verifyTarget(credentialID string) string {
	return http.MethodPost + " " + strings.Replace(verifyRoute, "{id}", credentialID, 1)
}

// challengeCredential serves POST /auth/credentials/{id}/challenge, which begins
// to sign in by a code or a passkey. It takes no signature. Only for a passkey
// must there be a body.
func (s *Sim) challengeCredential(req request) (reply, error) {
	var body map[string]json.RawMessage
	if len(req.body) > 0 {
		var err error
		if body, err = req.jsonBody(); err != nil {
			return reply{}, err
		}
	}
	c, err := s.attempted(req)
	switch {
	case err != nil:
		return reply{}, err
	case c.kind == typeOAuth:
		return reply{}, challengeOfOAuth
	case s.cfg.Profile == Legacy202604:
		return reply{}, signInUnserved
	case c.kind == typePasskey:
		text, ok := stringField(body, "clientPublicKey")
		if !ok {
			return reply{}, clientKeyMissing
		}
		return s.challengePasskey(req, c, text)
	}
	if c.replies < s.cfg.ProcessingReplies {
		c.replies++ // whoever asks again asks for the same code, which goes out with the answer
		return processing, nil
	}
	c.replies = 0
	target, err := s.sendCode(c, req.now)
	return reply{http.StatusOK, sentCode{c.wire(), target}}, err
}

// attempted returns the credential that a request is to sign in with, and counts
// the attempt.
func (s *Sim) attempted(req request) (*credential, error) {
	if !isID("AuthMethod", req.id) {
		return nil, credentialIDMalformed
	}
	c := s.credentials[req.id]
	if c == nil {
		return nil, credentialUnknown
	}
	return c, c.countAttempt(req.now)
}

// verifyCredential serves POST /auth/credentials/{id}/verify. Every success
// starts another session. Which of the two signature headers mean anything is
// for the type to say.
func (s *Sim) verifyCredential(req request) (reply, error) {
	body, err := req.jsonBody()
	if err != nil {
		return reply{}, err
	}
	if err := checkVerifyBody(body); err != nil {
		return reply{}, err
	}
	kind, _ := stringField(body, "type")
	keyText, _ := stringField(body, "clientPublicKey")
	var key clientKey
	if kind == typeOAuth {
		if key, err = s.parseClientKey(keyText); err != nil {
			return reply{}, err
		}
	}
	c, err := s.attempted(req)
	switch {
	case err != nil:
		return reply{}, err
	case kind != c.kind:
		return reply{}, typeMismatch
	case kind == typeOAuth:
		token, _ := stringField(body, "oidcToken")
		return s.signInByToken(req, c, token, keyText, key)
	case s.cfg.Profile == Legacy202604:
		return reply{}, signInUnserved
	case kind == typePasskey:
		return s.signInByPasskey(req, c, body["assertion"])
	}
	text, _ := stringField(body, "encryptedOtpBundle")
	return signed(func(s *Sim, req request) (operation, error) { return s.signInByCode(req, c, text) })(s, req)
}

// signInByToken is one call, with no challenge. The two signature headers mean
// nothing here and are not looked at.
func (s *Sim) signInByToken(req request, c *credential, token, keyText string, key clientKey) (reply, error) {
	claims, err := parseOIDCToken(token)
	if err != nil {
		return reply{}, err
	}
	if err := claims.check(c.identity, keyText, req.now); err != nil {
		return reply{}, err
	}
	if err := c.account.checkRoom(req.now); err != nil {
		return reply{}, err
	}
	started, err := s.startSession(req.now, req.now, c, key)
	return reply{http.StatusOK, started}, err
}

// checkVerifyBody checks that the body has a type and what this type requires.
func checkVerifyBody(body map[string]json.RawMessage) error {
	kind, ok := stringField(body, "type")
	switch {
	case !ok:
		return typeMissing
	case kind == typeEmailOTP || kind == typeSMSOTP:
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
	case kind == typePasskey:
		assertion, err := parseObject(body["assertion"], assertionMalformed, assertionMalformed)
		if err != nil || !hasStrings(assertion, "credentialId", "clientDataJson", "authenticatorData", "signature") {
			return assertionMalformed
		}
	default:
		return typeUnknown
	}
	return nil
}
