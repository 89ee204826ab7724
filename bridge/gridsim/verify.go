package gridsim

import (
	"encoding/json"
	"net/http"
)

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
	keyText, _ := stringField(body, "clientPublicKey")
	var key clientKey
	if kind == typeOAuth {
		if key, err = s.parseClientKey(keyText); err != nil {
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
	if err := c.countAttempt(req.now); err != nil {
		return reply{}, err
	}
	switch {
	case kind != c.kind:
		return reply{}, typeMismatch
	case kind != typeOAuth:
		return reply{}, signInUnserved
	}
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
