package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"time"

	"gridsigner/signer"
)

// authorize lets c pass only if all that it names belongs to user, and sets what
// Grid lists of it: its account and, of a credential, the type, which its removal
// is held to. It returns nil, nil if so; [errNotFound] if not; or an answer of
// Grid's to relay if the owner could not be looked up (429 and 5xx, which the
// client retries).
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
	if c.account != "" && !slices.Contains(user.Accounts, c.account) || !ownsBody(user, c.body) {
		return nil, errNotFound
	}
	if c.id == "" || c.id == c.account {
		return nil, nil
	}
	for _, account := range user.Accounts {
		if typ, ok := b.store.load(ctx, ownerKey(account, c.id)); ok {
			c.account, c.intent.Credential = account, signer.CredentialType(typ)
			return nil, nil
		}
	}
	for _, account := range user.Accounts {
		a, err := b.do(ctx, &call{route: lists[c.route.idKind], id: account})
		if err != nil {
			return nil, err
		}
		if a.status == http.StatusTooManyRequests || a.status >= 500 {
			return a, nil
		}
		list, ok := a.read()
		if a.status != http.StatusOK || !ok || list.Data == nil {
			return nil, errUpstreamInvalid
		}
		for _, thing := range list.Data {
			// The account is held against the row as well: a filter that
			// upstream ignored must not give away everybody's sessions.
			if thing.ID == c.id && thing.AccountID == account {
				b.store.save(ctx, ownerKey(account, c.id), []byte(thing.Type), ownerLife)
				c.account, c.intent.Credential = account, thing.Type
				return nil, nil
			}
		}
	}
	return nil, errNotFound
}

// thing is what the rows of all lists have, and what is answered by itself.
type thing struct {
	ID, AccountID string
	Type          signer.CredentialType
}

// content is what the bridge reads of a success: a thing, or a list of things,
// or that the operation goes on.
type content struct {
	thing
	Data   []thing
	Status string

	RequestID, ExpiresAt       string // of the challenge for a passkey
	EncryptedWalletCredentials string // of an exported wallet
}

func (a *answer) read() (content, bool) {
	var c content
	err := json.Unmarshal(a.body, &c)
	return c, err == nil
}

// isOf reports whether a says that it is of the account that c is about and of no
// other, or that Grid is not done. A filter that Grid ignored, or a cache that took
// one user for another, must not show somebody else's. A challenge must be for the
// very credential, or a person would sign in elsewhere than they think.
func (a *answer) isOf(c *call) bool {
	got, ok := a.read()
	others := got.AccountID != "" && got.AccountID != c.account ||
		slices.ContainsFunc(got.Data, func(t thing) bool { return t.AccountID != c.account })
	switch {
	case !ok || others:
		return false
	case a.isProcessing():
		return got.EncryptedWalletCredentials == ""
	case c.route.op == signer.OpExportWallet: // whose id is the account's
		return got.ID == c.account && got.EncryptedWalletCredentials != ""
	case c.route.op == signer.OpChallengeCredential:
		return got.AccountID == c.account && got.ID == c.id && got.Type == c.intent.Credential
	}
	return got.AccountID == c.account || got.Data != nil
}

// isProcessing reports whether Grid asks for the identical request once more:
// 200 {"status":"PROCESSING"} (contract 2.16).
func (a *answer) isProcessing() bool {
	c, ok := a.read()
	return ok && a.status == http.StatusOK && c.Status == "PROCESSING"
}

// ownsBody reports whether body names no id but those of the user's accounts. It
// reads every string and not fields by name, so what Grid may take for an id in
// a place where the table has a text makes no hole.
func ownsBody(user User, body []byte) bool {
	tokens := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := tokens.Token()
		if err != nil {
			return err == io.EOF
		}
		text, ok := token.(string)
		if !ok || slices.Contains(user.Accounts, text) {
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
