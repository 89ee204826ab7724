package gridsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// magicAssertion is the sandbox value that stands for the signature of a
// passkey, and with it for all that it signs.
const magicAssertion = "sandbox-valid-passkey-signature"

// passkeyChallenge is the answer to what begins to sign in with a passkey.
type passkeyChallenge struct {
	authMethod
	Challenge string `json:"challenge"`
	RequestID string `json:"requestId"`
	ExpiresAt string `json:"expiresAt"`
}

// challengePasskey binds a client key to a challenge, which is the hash of what
// would be asked of Turnkey to start the session: a text of 64 hex digits, and
// the passkey signs the text.
func (s *Sim) challengePasskey(req request, c *credential, keyText string) (reply, error) {
	key, err := s.parseClientKey(keyText)
	if err != nil {
		return reply{}, err
	}
	digest := sha256.Sum256([]byte(s.activityPayload(req.now, operation{
		account:    c.account,
		activity:   "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2",
		parameters: map[string]any{"targetPublicKey": keyText},
	})))
	ch := s.newChallenge(req.now, resource{verifyTarget(c.id), c.account})
	ch.payload, ch.key = hex.EncodeToString(digest[:]), key
	return reply{http.StatusOK, passkeyChallenge{c.wire(), ch.payload, ch.requestID, timestamp(ch.expires)}}, nil
}

// signInByPasskey is one call, with the Request-Id of its challenge and no stamp:
// the passkey signs. A stamp that comes with it means nothing.
func (s *Sim) signInByPasskey(req request, c *credential, submitted json.RawMessage) (reply, error) {
	headers, err := readSignatureHeaders(req.header)
	if err != nil {
		return reply{}, err
	}
	if headers.requestID == "" {
		return reply{}, passkeyRequestIDMissing
	}
	fields, err := parseObject(submitted, assertionMalformed, assertionMalformed)
	if err != nil {
		return reply{}, err
	}
	signature, _ := stringField(fields, "signature")
	ch, err := s.challenges.find(headers.requestID, resource{req.target, c.account}, req.now)
	switch {
	case ch.isResent(req, signature):
		return s.proceed(ch, req.now)
	case err != nil:
		return reply{}, err
	case ch.accepted != "":
		return reply{}, processingOtherStamp
	}
	if err := c.account.checkRoom(req.now); err != nil {
		return reply{}, err
	}
	counter := c.passkey.counter
	if signature != magicAssertion || !s.cfg.AllowMagic {
		if counter, err = s.checkAssertion(c, fields, ch.payload); err != nil {
			ch.spent = s.cfg.ConsumeOnFailure
			return reply{}, err
		}
	}
	c.passkey.counter = counter
	ch.body = sha256.Sum256(req.body)
	return s.accept(ch, req, signature, operation{
		account: c.account,
		check:   c.account.checkRoom,
		apply: func(now time.Time) (reply, error) {
			started, err := s.startSession(now, now, c, ch.key)
			return reply{http.StatusOK, started}, err
		},
	})
}

// checkAssertion checks what a passkey signed, as the relying party that it was
// registered with, and returns its counter.
func (s *Sim) checkAssertion(c *credential, fields map[string]json.RawMessage, challenge string) (counter uint32, err error) {
	id, idOK := encodedField(fields, "credentialId")
	clientData, clientDataOK := encodedField(fields, "clientDataJson")
	rawAuthData, authDataOK := encodedField(fields, "authenticatorData")
	signature, signatureOK := encodedField(fields, "signature")
	if !idOK || !clientDataOK || !authDataOK || !signatureOK {
		return 0, assertionNotBase64
	}
	if id.text != c.passkeyID {
		return 0, assertionOfAnother
	}
	if err := s.checkAssertedPage(c, clientData, challenge); err != nil {
		return 0, err
	}
	var data protocol.AuthenticatorData
	if err := data.Unmarshal(rawAuthData.raw); err != nil {
		return 0, assertionAuthDataMalformed
	}
	clientDataHash := sha256.Sum256(clientData.raw)
	signed, err := webauthncose.VerifySignature(c.passkey.key, slices.Concat(rawAuthData.raw, clientDataHash[:]), signature.raw)
	switch {
	case [sha256.Size]byte(data.RPIDHash) != c.passkey.rpIDHash:
		return 0, assertionForAnotherRP
	case !data.Flags.UserPresent():
		return 0, assertionUserAbsent
	case err != nil || !signed:
		return 0, assertionSignatureInvalid
	case data.Counter <= c.passkey.counter && (data.Counter != 0 || c.passkey.counter != 0):
		return 0, assertionCounterRegress // a clone of the passkey has signed in
	}
	return data.Counter, nil
}

// checkAssertedPage checks what the browser says about the sign-in.
func (s *Sim) checkAssertedPage(c *credential, clientData encoded, challenge string) error {
	fields, err := parseObject(clientData.raw, assertionClientDataMalformed, assertionClientDataMalformed)
	if err != nil {
		return err
	}
	kind, _ := stringField(fields, "type")
	signed, _ := stringField(fields, "challenge")
	origin, _ := stringField(fields, "origin")
	host, ok := s.pages.host(origin)
	switch {
	case kind != "webauthn.get":
		return assertionOfAnotherType
	case signed != base64.RawURLEncoding.EncodeToString([]byte(challenge)):
		return assertionChallengeMismatch
	case !ok || !s.pages.mayName(c.passkey.rpIDHash, host):
		return assertionOriginWrong
	}
	return nil
}
