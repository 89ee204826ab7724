package bridge

import (
	"errors"

	"gridsigner/signer"
)

const (
	maxAccounts = 16  // of a user: each may cost a look-up at Grid
	maxUserID   = 255 // what OpenID Connect Core 1.0, 2 gives sub; it is in every log line
)

// ErrAuthUnavailable reports that nobody can say at the moment who is calling.
// The bridge answers an error that wraps it with 503 and not 401, which would
// make apps sign their users out.
var ErrAuthUnavailable = errors.New("bridge: the users cannot be asked for")

// User is who is calling.
type User struct {
	ID       string   // stable, at most 255 bytes, and written to the log: not an e-mail address
	Accounts []string // the InternalAccount ids they own, at most 16
}

// Check refuses a user that no request should act for, with a [Reason]. The bridge asks it
// of what an Authenticate function returns, which it refuses as nobody's.
func (u User) Check() error {
	if u.ID == "" || len(u.ID) > maxUserID {
		return ReasonUserID
	}
	if len(u.Accounts) > maxAccounts {
		return ReasonTooManyAccounts
	}
	for _, account := range u.Accounts {
		if !signer.ValidID("InternalAccount", account) {
			return ReasonClaimForm
		}
	}
	return nil
}
