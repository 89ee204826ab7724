package gridsim

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

// The types of credentials.
const (
	typeOAuth    = "OAUTH"
	typeEmailOTP = "EMAIL_OTP"
	typeSMSOTP   = "SMS_OTP"
	typePasskey  = "PASSKEY"
)

// maxCredentials is how many credentials an account can have at once.
const maxCredentials = 64

// maxRegistrations is how many used registration challenges of passkeys are
// remembered.
const maxRegistrations = 256

// credential is a way to sign in to an account.
type credential struct {
	id, kind, nickname string
	account            *account
	payloadID          string // its name in payloads
	created, updated   time.Time

	identity  OIDCIdentity // of an OAUTH credential
	passkeyID string       // of a PASSKEY credential: base64url, as submitted
	passkey   registered   // the rest of it
	codes     []*issuance  // of one that sends codes: the last ones, oldest first

	replies  int           // PROCESSING answers so far to who asks for a code
	attempts *rate.Limiter // of signing in, with Config.RateLimit
}

// authMethod is a credential on the wire.
type authMethod struct {
	ID           string `json:"id"`
	AccountID    string `json:"accountId"`
	Type         string `json:"type"`
	CredentialID string `json:"credentialId,omitempty"`
	Nickname     string `json:"nickname"`
	CreatedAt    string `json:"createdAt"`
	UpdatedAt    string `json:"updatedAt"`
}

func (c *credential) wire() authMethod {
	return authMethod{
		ID:           c.id,
		AccountID:    c.account.id,
		Type:         c.kind,
		CredentialID: c.passkeyID,
		Nickname:     c.nickname,
		CreatedAt:    timestamp(c.created),
		UpdatedAt:    timestamp(c.updated),
	}
}

// keepCredential makes a credential one of its account's.
func (s *Sim) keepCredential(c *credential) {
	if n := s.cfg.RateLimit; n > 0 {
		c.attempts = rate.NewLimiter(rate.Limit(float64(n)/60), n)
	}
	c.updated = c.created
	s.credentials[c.id] = c
	c.account.credentials = append(c.account.credentials, c)
}

// countAttempt counts an attempt to sign in. One too many does not count.
func (c *credential) countAttempt(now time.Time) error {
	if c.attempts == nil {
		return nil
	}
	attempt := c.attempts.ReserveN(now, 1)
	wait := attempt.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	attempt.CancelAt(now)
	return retryLater{attemptsExhausted, wait}
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
			list = append(list, c.wire())
		}
	}
	return reply{http.StatusOK, map[string]any{"data": list}}, nil
}

// addition is a credential to be added, and what is signed for it.
type addition struct {
	credential *credential
	activity   string
	parameters map[string]any // but for the userId, which all have

	registration [sha256.Size]byte // of the challenge of a passkey
}

// addCredential serves POST /auth/credentials. Any active session of the account
// may sign.
func (s *Sim) addCredential(req request) (operation, error) {
	body, err := req.jsonBody()
	if err != nil {
		return operation{}, err
	}
	read, err := s.additionOf(body)
	if err != nil {
		return operation{}, err
	}
	id, ok := stringField(body, "accountId")
	switch {
	case !ok:
		return operation{}, accountIDMissing
	case !isID("InternalAccount", id):
		return operation{}, accountIDMalformed
	}
	a := s.accounts[id]
	if a == nil {
		return operation{}, accountUnknown
	}
	add, err := read(req)
	if err != nil {
		return operation{}, err
	}
	c := add.credential
	c.account = a
	add.parameters["userId"] = a.userID
	return operation{
		account:    a,
		kind:       c.kind,
		activity:   add.activity,
		parameters: add.parameters,
		signers:    a.sessions,
		check:      func(time.Time) error { return s.checkAddition(add) },
		apply: func(now time.Time) (reply, error) {
			c.id, c.payloadID, c.created = "AuthMethod:"+uuid.NewString(), payloadID("credential_"), now
			added := sentCode{}
			if c.sendsCodes() {
				target, err := s.sendCode(c, now)
				if err != nil {
					return reply{}, err
				}
				added.OTPTarget = target
			}
			s.keepCredential(c)
			if c.kind == typePasskey {
				s.registrations = append(s.registrations, add.registration)
				s.registrations = slices.Delete(s.registrations, 0, max(0, len(s.registrations)-maxRegistrations))
			}
			added.authMethod = c.wire()
			return reply{http.StatusCreated, added}, nil
		},
	}, nil
}

// sentCode is the answer to what sends a code, or only adds a credential.
type sentCode struct {
	authMethod
	OTPTarget string `json:"otpEncryptionTargetBundle,omitempty"`
}

// additionOf checks that the body has a type and what this type requires, and
// returns what reads the rest, once the account is known to exist.
func (s *Sim) additionOf(body map[string]json.RawMessage) (func(request) (addition, error), error) {
	kind, ok := stringField(body, "type")
	switch {
	case !ok:
		return nil, typeMissing
	case kind == typeEmailOTP || kind == typeSMSOTP:
		return func(request) (addition, error) { return contactAddition(kind), nil }, nil
	case kind == typeOAuth:
		token, ok := stringField(body, "oidcToken")
		if !ok {
			return nil, tokenMissing
		}
		return func(req request) (addition, error) { return oauthAddition(token, req) }, nil
	case kind == typePasskey:
		passkey, err := readPasskey(body)
		if err != nil {
			return nil, err
		}
		return func(request) (addition, error) { return passkey.addition(s.pages) }, nil
	}
	return nil, typeUnknown
}

// oauthAddition adds the identity of a token. No nonce is asked for, since there
// is no key yet. The token must be fresh on the first leg: until the second, a
// person signs.
func oauthAddition(token string, req request) (addition, error) {
	claims, err := parseOIDCToken(token)
	if err != nil {
		return addition{}, err
	}
	if req.firstLeg {
		if err := claims.checkAge(req.now); err != nil {
			return addition{}, err
		}
	}
	nickname := claims.email
	if nickname == "" {
		nickname = claims.identity.Subject
	}
	return addition{
		credential: &credential{kind: typeOAuth, nickname: nickname, identity: claims.identity},
		activity:   "ACTIVITY_TYPE_CREATE_OAUTH_PROVIDERS",
		parameters: map[string]any{"oauthProviders": []map[string]string{
			{"oidcToken": token, "providerName": providers[claims.identity.Issuer]},
		}},
	}, nil
}

// checkAddition tells whether the account, as it is, can have the credential.
func (s *Sim) checkAddition(add addition) error {
	c := add.credential
	// Only OAUTH credentials have an identity. Of the others this is whether there
	// is one of the kind.
	has := slices.ContainsFunc(c.account.credentials, func(other *credential) bool {
		return other.kind == c.kind && other.identity == c.identity
	})
	switch {
	case c.sendsCodes() && has:
		return contacts[c.kind].exists
	case c.kind == typeOAuth && has:
		return identityExists
	case c.kind == typePasskey && s.hasPasskey(c.passkeyID):
		return passkeyExists
	case c.kind == typePasskey && slices.Contains(s.registrations, add.registration):
		return registrationUsed
	case len(c.account.credentials) >= maxCredentials:
		return credentialsExhausted
	}
	return nil
}

// hasPasskey tells whether any account has the passkey: WebAuthn wants their ids
// to differ between users too.
func (s *Sim) hasPasskey(id string) bool {
	for _, c := range s.credentials {
		if c.passkeyID == id {
			return true
		}
	}
	return false
}

// removeCredential serves DELETE /auth/credentials/{id}. A session of another
// credential of the account must sign, so that what is left is known to work.
func (s *Sim) removeCredential(req request) (operation, error) {
	if err := req.noBody(); err != nil {
		return operation{}, err
	}
	if !isID("AuthMethod", req.id) {
		return operation{}, credentialIDMalformed
	}
	c := s.credentials[req.id]
	if c == nil {
		return operation{}, credentialUnknown
	}
	op := operation{
		account: c.account,
		kind:    c.kind,
		signers: slices.DeleteFunc(slices.Clone(c.account.sessions), func(v *session) bool { return v.issuer == c }),
		check: func(time.Time) error {
			if len(c.account.credentials) == 1 {
				return lastCredential
			}
			return nil
		},
		apply: func(time.Time) (reply, error) {
			s.dropCredential(c)
			return reply{status: http.StatusNoContent}, nil
		},
	}
	op.activity, op.parameters = c.removal()
	op.parameters["userId"] = c.account.userID
	return op, nil
}

// removal is what is signed to remove the credential, but for the userId.
func (c *credential) removal() (activity string, parameters map[string]any) {
	switch c.kind {
	case typeOAuth:
		return "ACTIVITY_TYPE_DELETE_OAUTH_PROVIDERS", map[string]any{"providerIds": []string{c.payloadID}}
	case typePasskey:
		return "ACTIVITY_TYPE_DELETE_AUTHENTICATORS", map[string]any{"authenticatorIds": []string{c.payloadID}}
	}
	contact := contacts[c.kind]
	return contact.activity, map[string]any{contact.parameter: ""}
}

// dropCredential removes a credential, and ends the sessions that it started.
func (s *Sim) dropCredential(c *credential) {
	for _, v := range slices.Clone(c.account.sessions) {
		if v.issuer == c {
			s.endSession(v)
		}
	}
	delete(s.credentials, c.id)
	c.account.credentials = slices.DeleteFunc(c.account.credentials, func(other *credential) bool { return other == c })
	s.challenges.forget(resource{http.MethodDelete + " /auth/credentials/" + c.id, c.account})
	s.challenges.forget(resource{verifyTarget(c.id), c.account})
}
