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

// maxEnded is how many ended sessions are remembered, to tell them from those
// that never were.
const maxEnded = 512

// account is an embedded wallet and what hangs on it.
type account struct {
	id, organizationID, userID string
	walletID                   string // its wallet's name in payloads
	mnemonic                   string

	credentials []*credential
	sessions    []*session // active ones, oldest first
}

// session is a session: an active one of its account, or one that ended and is
// remembered.
type session struct {
	id        string
	apiKeyID  string // its name in payloads
	account   *account
	issuer    *credential
	key       compressedKey
	unmatched bool      // its key is never found: see Config.ProdStrict
	created   time.Time // of the session that it goes back to by refreshes
	updated   time.Time
	expires   time.Time
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
			UpdatedAt: timestamp(v.updated),
		},
		ExpiresAt: timestamp(v.expires),
	}
}

// startedSession is the answer to what starts a session. Lists never have the
// key.
type startedSession struct {
	authSession
	SealedKey string `json:"encryptedSessionSigningKey,omitempty"`
}

// addAccount registers an account without credentials.
func (s *Sim) addAccount(id, organizationID, userID string) *account {
	a := &account{
		id: id, organizationID: organizationID, userID: userID,
		walletID: payloadID("wallet_"), mnemonic: mnemonics[len(s.accounts)%len(mnemonics)],
	}
	s.accounts[id] = a
	return a
}

// checkRoom tells whether the account can have another session.
func (a *account) checkRoom(now time.Time) error {
	if len(a.sessions) < maxSessions {
		return nil
	}
	// All sessions live equally long, so the oldest is the next to expire.
	return retryLater{sessionsExhausted, a.sessions[0].expires.Sub(now)}
}

// startSession starts a session for which there is room.
func (s *Sim) startSession(now, created time.Time, issuer *credential, key clientKey) (startedSession, error) {
	signing, sealed := key.held, ""
	if key.sealTo != nil {
		var err error
		if signing, sealed, err = newSealedKey(key.sealTo); err != nil {
			return startedSession{}, err
		}
	}
	v := &session{
		id:        "Session:" + uuid.NewString(),
		apiKeyID:  payloadID("api_key_"),
		account:   issuer.account,
		issuer:    issuer,
		key:       signing,
		unmatched: key.unmatched,
		created:   created,
		updated:   now,
		expires:   expiry(now, s.cfg.SessionTTL),
	}
	s.sessions[v.id] = v
	v.account.sessions = append(v.account.sessions, v)
	return startedSession{v.wire(), sealed}, nil
}

// payloadID makes a name that payloads have for a thing.
func payloadID(prefix string) string {
	return prefix + strings.ReplaceAll(uuid.NewString(), "-", "")
}

// endSession ends a session. Challenges to revoke it go with it. Those to
// refresh it go when it is forgotten: until then they are refused for the right
// reason.
func (s *Sim) endSession(v *session) {
	delete(s.sessions, v.id)
	v.account.sessions = slices.DeleteFunc(v.account.sessions, func(other *session) bool { return other == v })
	s.challenges.forget(resource{http.MethodDelete + " /auth/sessions/" + v.id, v.account})

	s.ended = append(s.ended, v)
	if len(s.ended) > maxEnded {
		oldest := s.ended[0]
		s.ended = slices.Delete(s.ended, 0, 1)
		s.challenges.forget(resource{http.MethodPost + " " + strings.Replace(refreshPath, "{id}", oldest.id, 1), oldest.account})
	}
}

// dropExpired ends the sessions that are at or past their expiry, before a
// request can meet them: they are neither listed nor found, and cannot sign.
func (s *Sim) dropExpired(now time.Time) {
	for _, v := range s.sessions {
		if !now.Before(v.expires) {
			s.endSession(v)
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
func (s *Sim) revokeSession(req request) (operation, error) {
	if err := req.noBody(); err != nil {
		return operation{}, err
	}
	if !isID("Session", req.id) {
		return operation{}, sessionIDMalformed
	}
	target := s.sessions[req.id]
	if target == nil {
		return operation{}, sessionNotActive
	}
	return operation{
		account:    target.account,
		kind:       target.issuer.kind,
		activity:   "ACTIVITY_TYPE_DELETE_API_KEYS",
		parameters: map[string]any{"apiKeyIds": []string{target.apiKeyID}, "userId": target.account.userID},
		signers:    target.account.sessions,
		apply: func(time.Time) (reply, error) {
			s.endSession(target)
			return reply{status: http.StatusNoContent}, nil
		},
	}, nil
}

// refreshSession serves POST /auth/sessions/{id}/refresh: another session of the
// same credential, for a key of the client's. The key of the session itself must
// sign. The session lives on until its own expiry.
func (s *Sim) refreshSession(req request) (operation, error) {
	text, key, err := s.submittedKey(req)
	if err != nil {
		return operation{}, err
	}
	if !isID("Session", req.id) {
		return operation{}, sessionIDMalformed
	}
	target := s.sessions[req.id]
	if target == nil {
		i := slices.IndexFunc(s.ended, func(v *session) bool { return v.id == req.id })
		if i < 0 {
			return operation{}, sessionUnknown
		}
		target = s.ended[i]
	}
	return operation{
		account:    target.account,
		activity:   "ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2",
		parameters: map[string]any{"targetPublicKey": text},
		signers:    []*session{target},
		check: func(now time.Time) error {
			if s.sessions[target.id] == nil {
				return sessionEnded
			}
			return target.account.checkRoom(now)
		},
		apply: func(now time.Time) (reply, error) {
			started, err := s.startSession(now, target.created, target.issuer, key)
			return reply{http.StatusCreated, started}, err
		},
	}, nil
}
