package gridsim

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// maxSessions is how many sessions an account can have at once. Sign-ins beyond
// are 429 until one expires or is revoked.
const maxSessions = 256

// account is an embedded wallet and what hangs on it.
type account struct {
	id, organizationID, userID string

	credentials []*credential
	sessions    []*session // active ones, oldest first
}

// session is an active session: one that ends is dropped.
type session struct {
	id       string
	apiKeyID string // its name in payloads
	account  *account
	issuer   *credential
	key      compressedKey
	created  time.Time
	expires  time.Time
}

// authSession is a session on the wire.
type authSession struct {
	authMethod
	ExpiresAt string `json:"expiresAt"`
}

func (v *session) wire() authSession {
	return authSession{
		authMethod: authMethod{
			ID:        v.id,
			AccountID: v.account.id,
			Type:      v.issuer.kind,
			Nickname:  v.issuer.nickname,
			CreatedAt: timestamp(v.created),
			UpdatedAt: timestamp(v.created),
		},
		ExpiresAt: timestamp(v.expires),
	}
}

// resource names what a challenge to revoke the session is bound to.
func (v *session) resource() string { return http.MethodDelete + " /auth/sessions/" + v.id }

// addAccount registers an account without credentials.
func (s *Sim) addAccount(id, organizationID, userID string) *account {
	a := &account{id: id, organizationID: organizationID, userID: userID}
	s.accounts[id] = a
	return a
}

// addSession starts a session whose signing key is the client's.
func (s *Sim) addSession(now time.Time, issuer *credential, key compressedKey) *session {
	id := uuid.NewString()
	v := &session{
		id:       "Session:" + id,
		apiKeyID: "api_key_" + strings.ReplaceAll(uuid.NewString(), "-", ""),
		account:  issuer.account,
		issuer:   issuer,
		key:      key,
		created:  now,
		expires:  expiry(now, s.cfg.SessionTTL),
	}
	s.sessions[v.id] = v
	v.account.sessions = append(v.account.sessions, v)
	return v
}

// dropSession ends a session and with it every challenge to revoke it.
func (s *Sim) dropSession(v *session) {
	delete(s.sessions, v.id)
	v.account.sessions = slices.DeleteFunc(v.account.sessions, func(other *session) bool { return other == v })
	s.challenges.forget(v.resource())
}

// dropExpired ends the sessions that are at or past their expiry, before a
// request can meet them: they are neither listed nor found, and cannot sign.
func (s *Sim) dropExpired(now time.Time) {
	for _, v := range s.sessions {
		if !now.Before(v.expires) {
			s.dropSession(v)
		}
	}
}

// listSessions serves GET /auth/sessions. An unknown account has no sessions;
// it is not an error.
func (s *Sim) listSessions(req request) (reply, error) {
	id, err := req.accountID()
	if err != nil {
		return reply{}, err
	}
	list := []authSession{} // never null
	if a := s.accounts[id]; a != nil {
		for _, v := range a.sessions {
			list = append(list, v.wire())
		}
	}
	return reply{http.StatusOK, map[string]any{"data": list}}, nil
}

// revokeSession serves DELETE /auth/sessions/{id}. Any active session of the
// account may sign, the one to be revoked included.
func (s *Sim) revokeSession(req request) (reply, error) {
	headers, err := readSignatureHeaders(req.header)
	if err != nil {
		return reply{}, err
	}
	if headers.absent() && len(req.body) > 0 { // on leg 2 it is a body that differs
		return reply{}, bodyUnexpected
	}
	if !isID("Session", req.id) {
		return reply{}, sessionIDMalformed
	}
	target := s.sessions[req.id]
	if target == nil {
		return reply{}, sessionNotActive
	}
	return s.signedRetry(req, headers, operation{
		resource: target.resource(),
		kind:     target.issuer.kind,
		account:  target.account,
		activity: "ACTIVITY_TYPE_DELETE_API_KEYS",
		parameters: struct {
			APIKeyIDs []string `json:"apiKeyIds"`
			UserID    string   `json:"userId"`
		}{[]string{target.apiKeyID}, target.account.userID},
		signers: target.account.sessions,
		apply: func() reply {
			s.dropSession(target)
			return reply{status: http.StatusNoContent}
		},
	})
}
