package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"gridsigner/bridge/internal/bounded"
	"gridsigner/signer"
)

// kept is what earlier requests have left behind for a call.
type kept struct {
	owners    [][]byte // one for each of the user's accounts, nil where the call's id was not seen on it
	at        Key      // of the challenge that a signed leg answers
	challenge []byte   // nil if there is none
	whole     bool     // what is not here no replica has
}

// consult takes the tokens that a request costs its user, and loads what is kept for it.
func (b *bridge) consult(ctx context.Context, user User, c *call) (kept, error) {
	var k kept
	var keys []Key
	looksUp := c.id != "" && !sameID(c.id, c.account)
	if looksUp {
		for _, account := range user.Accounts {
			keys = append(keys, ownerKey(account, c.id))
		}
	}
	if len(c.headers) > 0 {
		k.at = c.challengeKey(user)
		keys = append(keys, k.at)
	}
	takes := b.takesOfUser(ctx, user, c)
	got := b.Store.Consult(ctx, takes, keys)
	if got.Refused >= 0 {
		return k, errRateLimited.because(limitReasons[takes[got.Refused].Key.Part]).after(got.Wait)
	}
	k.whole = got.Whole
	if len(c.headers) > 0 {
		k.challenge = got.Values[len(keys)-1]
	}
	if looksUp {
		k.owners = got.Values[:len(user.Accounts)]
	}
	return k, nil
}

// authorize lets c pass only if all that it names belongs to user, and sets what
// Grid lists of it: its account and, of a credential, the type, which its removal
// is held to. Its error is a refusal or, if the owner could not be looked up, Grid's
// answer to that (429 and 5xx, which the client retries).
//
// A user without any account is more likely one of a bridge that is set up
// wrongly, and is told so: a client takes [errNotFound] as "already revoked".
//
// What is another user's and what does not exist are refused alike, and after
// the same look-ups, so that ids cannot be probed.
func (b *bridge) authorize(ctx context.Context, v *visit, user User, c *call, k kept) error {
	notNamed := b.Owns != nil && c.account == "" && c.named == "" // it may be on one that only Owns knows
	switch {
	case len(user.Accounts) > 0:
	case notNamed:
		return errNoAccounts.because(reasonNotNamed)
	default:
		return errNoAccounts
	}
	if c.account != "" && !owns(user, c.account) || !ownsBody(user, c.body) {
		return errNotFound
	}
	if c.id == "" || sameID(c.id, c.account) {
		return nil
	}
	for i, account := range user.Accounts {
		if typ, ok := bytes.CutPrefix(k.owners[i], ownerMark); ok {
			c.account, c.intent.Credential = account, signer.CredentialType(typ)
			return nil
		}
	}
	var notFound error = errNotFound
	if notNamed {
		notFound = errNoAccounts.because(reasonNotNamed)
	}
	for _, account := range user.Accounts {
		found, rows, err := b.lookUp(ctx, v, user, c.route.idKind, account, c.id)
		if err == nil && rows == 0 {
			err = b.expectCredential(ctx, v, user, account)
		}
		switch {
		case errors.Is(err, errUpstreamInvalid): // it may be another's of the user's all the same
			notFound = err
		case err != nil:
			return err
		case found != nil:
			c.account, c.intent.Credential = account, found.Type
			return nil
		}
	}
	return notFound
}

// expectCredential is for an account that Grid lists nothing of. It lists no more of one
// that the API credentials do not see (its API reference, GET /auth/sessions), as after a
// change to those of another environment; but of one that they see the last credential
// cannot be removed. Without any it is not known that a session is over.
func (b *bridge) expectCredential(ctx context.Context, v *visit, user User, account string) error {
	_, rows, err := b.lookUp(ctx, v, user, "AuthMethod", account, "")
	if err == nil && rows == 0 {
		err = errUpstreamInvalid.because(reasonNoCredential)
	}
	return err
}

// lookUp asks Grid for the thing with id among those of a kind that user's account has, and
// remembers all of them. It returns nil if it is not there, and how many there are. Requests
// that ask at once ask together; the one that asks is charged for it.
//
// A list that was asked for before this request came may be without what was made
// since: to be on it is enough, not to be on it is not.
func (b *bridge) lookUp(ctx context.Context, v *visit, user User, kind, account, id string) (found *row, rows int, err error) {
	key := kind + strings.ToLower(account)
	for older := true; ; older = false {
		l, mine := b.lookups.join(key)
		if mine {
			b.lookups.make(key, l, func() ([]row, error) {
				ctx, cancel := detached(ctx) // others may wait for it
				defer cancel()
				return b.list(ctx, v, user, kind, account)
			})
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, 0, upstreamError(ctx, ctx.Err())
		}
		i := slices.IndexFunc(l.rows, func(r row) bool { return sameID(r.ID, id) })
		switch {
		case !mine && errors.Is(l.err, errRateLimited): // which is another user's limit
		case l.err != nil:
			return nil, 0, l.err
		case i >= 0:
			return &l.rows[i], len(l.rows), nil
		case mine || !older:
			return nil, len(l.rows), nil
		}
	}
}

// list makes the call of a look-up. A list that cannot be trusted is an error, and
// not one that the id is not on: a client takes that as "already revoked".
func (b *bridge) list(ctx context.Context, v *visit, user User, kind, account string) ([]row, error) {
	if err := b.chargeUser(ctx, user); err != nil {
		return nil, err
	}
	if err := b.flood.grid(); err != nil {
		return nil, err
	}
	a, err := b.send(ctx, v, &call{route: lists[kind], id: account})
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return nil, a
	case a.status != http.StatusOK:
		return nil, errUpstreamInvalid.because(reasonUnexpected)
	}
	if !a.fits || a.said.Data == nil {
		return nil, errUpstreamInvalid.because(reasonUnexpected)
	}
	var seen []Entry
	for _, r := range a.said.Data {
		switch {
		case !signer.ValidID(kind, r.ID): // that of the request might be there, and not be found
			return nil, errUpstreamInvalid.because(reasonUnexpected)
		case !sameID(r.AccountID, account): // a filter that Grid ignored must not give away everybody's
			return nil, errUpstreamInvalid.because(reasonOtherAccount)
		}
		seen = append(seen, Entry{ownerKey(account, r.ID), append(slices.Clone(ownerMark), r.Type...), ownerLife})
	}
	if len(seen) > 0 {
		b.Store.Save(ctx, seen...)
	}
	return a.said.Data, nil
}

// row is what the rows of all lists have, and what is answered by itself.
type row struct {
	ID, AccountID string
	Type          signer.CredentialType
}

// content is what the bridge reads of a success: a row, or a list of rows,
// or that the operation goes on.
type content struct {
	row
	Data   []row
	Status string

	RequestID, ExpiresAt       string // of the challenge for a passkey
	EncryptedWalletCredentials string // of an exported wallet
}

// read reads the body, once for all who ask what it says, and reports whether it is JSON.
// The form of a challenge package signer knows, and nobody reads a refusal.
func (a *answer) read() (isJSON bool) {
	if a.status >= 300 || a.status == http.StatusAccepted {
		return json.Valid(a.body)
	}
	err := json.Unmarshal(a.body, &a.said)
	a.fits = err == nil
	_, broken := errors.AsType[*json.SyntaxError](err) // which is found before anything is read
	return !broken
}

// isOf reports whether a says that it is of the account that c is about and of no
// other, or that Grid is not done. A filter that Grid ignored, or a cache that took
// one user for another, must not show somebody else's. A challenge must be for the
// very credential, or a person would sign in elsewhere than they think.
func (a *answer) isOf(c *call) bool {
	got := &a.said
	others := got.AccountID != "" && !sameID(got.AccountID, c.account) ||
		slices.ContainsFunc(got.Data, func(r row) bool { return !sameID(r.AccountID, c.account) })
	switch {
	case !a.fits || others:
		return false
	case a.isProcessing():
		return got.EncryptedWalletCredentials == ""
	case c.route.op == signer.OpExportWallet: // whose id is the account's
		return sameID(got.ID, c.account) && got.EncryptedWalletCredentials != ""
	case c.route.op == signer.OpChallengeCredential:
		return sameID(got.AccountID, c.account) && sameID(got.ID, c.id) && got.Type == c.intent.Credential
	}
	return sameID(got.AccountID, c.account) || got.Data != nil
}

// isProcessing reports whether Grid asks for the identical request once more:
// 200 {"status":"PROCESSING"} (its schema WalletOperationProcessing).
func (a *answer) isProcessing() bool {
	return a.fits && a.status == http.StatusOK && a.said.Status == "PROCESSING"
}

// owns reports whether account is one of user's.
func owns(user User, account string) bool {
	return slices.ContainsFunc(user.Accounts, func(own string) bool { return sameID(own, account) })
}

// sameID reports whether a and b are one id. Its digits may be of either case, and whoever
// writes them the other way means the same thing: to find it missing would say of a
// session that it is over.
func sameID(a, b string) bool { return strings.EqualFold(a, b) }

// ownsBody reports whether body names no id but those of the user's accounts. It
// reads every string and not fields by name, so what Grid may take for an id in
// a place where the table has a text makes no hole.
func ownsBody(user User, body []byte) bool {
	if len(body) == 0 {
		return true
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := tokens.Token()
		if err != nil {
			return err == io.EOF
		}
		text, ok := token.(string)
		if !ok || owns(user, text) {
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

// ownerMark is what the value of an owner's key begins with. The type of a credential follows.
var ownerMark = []byte("seen ")

func ownerKey(account, id string) Key {
	return Key{PartOwners, bounded.Key(strings.ToLower(account), strings.ToLower(id))}
}
