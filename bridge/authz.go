package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"gridsigner/signer"
)

// authorize lets c pass only if all that it names belongs to user, and sets the
// account that it is about. It returns nil, nil if so; [errNotFound] if not; or
// an answer of Grid's to relay if the owner could not be looked up (429 and 5xx,
// which the client retries).
//
// A user without any account is more likely one of a bridge that is set up
// wrongly, and is told so: a client takes [errNotFound] as "already revoked".
//
// What is another user's and what does not exist are refused alike, and after
// the same look-ups, so that ids cannot be probed.
func (b *bridge) authorize(ctx context.Context, user User, c *call) (*answer, error) {
	if len(user.Accounts) == 0 {
		return nil, errNoAccounts
	}
	for _, name := range c.route.query {
		if c.account = c.query.Get(name); !slices.Contains(user.Accounts, c.account) {
			return nil, errNotFound
		}
	}
	if !ownsBody(user, c) {
		return nil, errNotFound
	}
	if c.id == "" {
		return nil, nil
	}
	for _, account := range user.Accounts {
		if _, ok := b.store.load(ctx, ownerKey(account, c.id)); ok {
			c.account = account
			return nil, nil
		}
	}
	for _, account := range user.Accounts {
		a, err := b.do(ctx, c.list(account))
		if err != nil {
			return nil, err
		}
		if a.status == http.StatusTooManyRequests || a.status >= 500 {
			return a, nil
		}
		things, ok := a.things()
		if a.status != http.StatusOK || !ok {
			return nil, errUpstreamInvalid
		}
		for _, thing := range things {
			// The account is held against the row as well: a filter that
			// upstream ignored must not give away everybody's sessions.
			if thing.ID == c.id && thing.AccountID == account {
				b.store.save(ctx, ownerKey(account, c.id), nil, ownerLife)
				c.account = account
				return nil, nil
			}
		}
	}
	return nil, errNotFound
}

// list is the call that lists, of account, the things which c's id is one of.
func (c *call) list(account string) *call {
	return &call{
		route: &route{method: http.MethodGet, template: c.route.collection()},
		query: url.Values{"accountId": {account}},
	}
}

// thing is what the rows of all lists have.
type thing struct{ ID, AccountID string }

// things are the rows of an answer that is a list.
func (a *answer) things() (list []thing, ok bool) {
	var body struct{ Data []thing }
	err := json.Unmarshal(a.body, &body)
	return body.Data, err == nil && body.Data != nil
}

// isOf reports whether a is a list of things of account and of no other. Grid is
// asked for such a list; a filter that it ignored must not show a user
// everybody's sessions.
func (a *answer) isOf(account string) bool {
	list, ok := a.things()
	return ok && !slices.ContainsFunc(list, func(t thing) bool { return t.AccountID != account })
}

// ownsBody reports whether every id in c's body is the user's: of accounts, or
// the thing that the path names, which is looked up. It reads every string of
// the body and not fields by name, so a name spelled differently, given twice
// or nested deeper, which Grid might read and the bridge not, makes no hole.
func ownsBody(user User, c *call) bool {
	if len(c.body) == 0 {
		return true
	}
	tokens := json.NewDecoder(bytes.NewReader(c.body))
	for {
		token, err := tokens.Token()
		if err != nil {
			return err == io.EOF
		}
		text, ok := token.(string)
		if !ok || text == c.id || slices.Contains(user.Accounts, text) {
			continue
		}
		for _, kind := range []string{"InternalAccount", "Session", "AuthMethod"} {
			if signer.ValidID(kind, text) {
				return false
			}
		}
	}
}

// ownerLife is how long it is remembered that an id was seen on an account. An
// id never moves to another account, so an entry never goes stale: a revoked
// session still has its owner, who gets Grid's own 404. Only presence is
// remembered, and per account, because an answer from "this belongs to somebody
// else" would be faster than one from "this does not exist".
const ownerLife = time.Hour

func ownerKey(account, id string) string { return "owner:" + account + "/" + id }
