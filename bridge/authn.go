package bridge

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

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

// WWWAuthenticate is the value of the header of that name in a 401, which says how to show who
// one is (RFC 9110, 11.6.1). An error of an Authenticate function that wraps one
// chooses it; for others it is "Bearer". Browsers ask for a password on "Basic".
type WWWAuthenticate string

// Error says no more than that: w is for the header.
func (w WWWAuthenticate) Error() string { return "bridge: not authenticated" }

// valid reports whether w is one line of characters that a header may have.
func (w WWWAuthenticate) valid() bool {
	other := func(r rune) bool { return r < ' ' || r > '~' }
	return w != "" && len(w) <= 256 && strings.IndexFunc(string(w), other) < 0
}

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

// HeaderAccount names, for [Config.Owns], the InternalAccount that the id in a request's path is
// on. Where the request itself names an account it is not read.
const HeaderAccount = "X-Gridsigner-Account"

// withNamed is user with the account that c names, if it is not on the list and the app says
// that it is theirs all the same.
func (b *bridge) withNamed(ctx context.Context, user User, c *call) (User, error) {
	account := c.account
	if account == "" {
		account = c.named
	}
	kind, id, _ := strings.Cut(account, ":")
	account = kind + ":" + strings.ToLower(id) // as the app has it
	if b.Owns == nil || id == "" || owns(user, account) {
		return user, nil
	}
	ok, err := b.Owns(ctx, user, account)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return user, errClientGone
	case err != nil:
		return user, errAuthUnavailable.because(reasonOwnership).after(time.Second)
	case ok:
		user.Accounts = slices.Insert(slices.Clone(user.Accounts), 0, account) // where it is looked for first
	default:
		c.named = "" // nothing is said of an account that is another's
	}
	return user, nil
}
