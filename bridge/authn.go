package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"gridsigner/signer"
)

const (
	maxAccounts = 16  // of a user: each may cost a look-up at Grid
	maxUserID   = 255 // what OpenID Connect Core 1.0, 2 gives sub; it is in every log line
)

// User is who is calling.
type User struct {
	ID       string   // stable, at most 255 bytes, and written to the log: not an e-mail address
	Accounts []string // the InternalAccount ids they own, at most 16
}

// check refuses a user that no request should act for. It guards against an
// Authenticate function that returns an empty or careless User without an error.
func (u User) check() error {
	if u.ID == "" {
		return errors.New("bridge: a user without an id")
	}
	if len(u.ID) > maxUserID {
		return errors.New("bridge: a user with too long an id")
	}
	if len(u.Accounts) > maxAccounts {
		return errors.New("bridge: a user with too many accounts")
	}
	for _, account := range u.Accounts {
		if !signer.ValidID("InternalAccount", account) {
			return errors.New("bridge: an account id that is not InternalAccount:<uuid>")
		}
	}
	return nil
}

// maxToken bounds a bearer token: room for a few dozen claims.
const maxToken = 8 << 10

// tokenLife is how long a token that was checked is believed without checking
// it again, though never past its expiry. A token of a key that the issuer
// withdrew is believed for as long after [keysMaxAge], within which that is seen.
const tokenLife = 30 * time.Second

// signingAlgorithms are those of asymmetric keys. An HMAC would make the public
// key set a list of secrets, and "none" is what it says.
var signingAlgorithms = []string{oidc.ES256, oidc.ES384, oidc.RS256, oidc.PS256, oidc.EdDSA}

// OIDC says whose bearer tokens to believe.
type OIDC struct {
	Issuer        string    // the iss claim, exactly
	Audience      string    // one of the aud claim
	AccountsClaim string    // the claim with the user's accounts: a string, or an array of them
	Keys          KeySource // the issuer's public keys

	Log *slog.Logger     // told when Keys fails after the start; nil for none
	Now func() time.Time // nil = time.Now
}

// NewOIDC returns a function for [Config.Authenticate] that takes JWTs from
// Authorization: Bearer and checks signature, algorithm, issuer, audience,
// expiry and not-before. The user's ID is the sub claim. A token without the
// accounts claim is a user with no accounts; a claim that holds anything but
// account ids refuses the token, because such an issuer is set up wrongly.
//
// It reads the keys once before it returns, so a wrong file or URL fails here
// and not at the first user. Errors of every field are reported together.
func NewOIDC(ctx context.Context, o OIDC) (func(*http.Request) (User, error), error) {
	var errs []error
	if o.Issuer == "" {
		errs = append(errs, errors.New("bridge: the token issuer is not set"))
	}
	if o.Audience == "" {
		errs = append(errs, errors.New("bridge: the token audience is not set"))
	}
	if o.AccountsClaim == "" {
		errs = append(errs, errors.New("bridge: the accounts claim is not set"))
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	keys, err := newKeySet(ctx, o)
	if err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	verifier := oidc.NewVerifier(o.Issuer, keys, &oidc.Config{
		ClientID: o.Audience, SupportedSigningAlgs: signingAlgorithms, Now: o.Now,
	})
	known := knownUsers{now: o.Now}
	return func(r *http.Request) (User, error) {
		raw, err := bearer(r.Header["Authorization"])
		if err != nil {
			return User{}, err
		}
		key := digest(raw)
		if user, ok := known.get(key); ok {
			return user, nil
		}
		token, err := verifier.Verify(r.Context(), raw)
		if err != nil {
			return User{}, fmt.Errorf("bridge: token refused: %w", err)
		}
		var claims map[string]any
		if err := token.Claims(&claims); err != nil {
			return User{}, fmt.Errorf("bridge: claims of a token: %w", err)
		}
		accounts, err := accountsOf(claims[o.AccountsClaim])
		if err != nil {
			return User{}, err
		}
		user := User{ID: token.Subject, Accounts: accounts}
		until := o.Now().Add(tokenLife)
		if token.Expiry.Before(until) {
			until = token.Expiry
		}
		known.put(key, user, until)
		return user, nil
	}, nil
}

// compactJWS are the characters of a JWS in its compact form (RFC 7515, 7.1).
const compactJWS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// bearer returns the token of the one Authorization header. Only the compact
// form passes: the JSON forms of a JWS have unprotected headers, several
// signatures, and no place in an HTTP header.
func bearer(authorization []string) (string, error) {
	if len(authorization) != 1 {
		return "", errors.New("bridge: not exactly one Authorization header")
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	if !strings.EqualFold(scheme, "Bearer") || len(token) > maxToken || strings.Trim(token, compactJWS) != "" {
		return "", errors.New("bridge: not a bearer token")
	}
	return token, nil
}

// accountsOf reads the accounts claim. [User.check] judges the ids themselves.
func accountsOf(claim any) ([]string, error) {
	switch v := claim.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		accounts := make([]string, len(v))
		for i := range v {
			account, ok := v[i].(string)
			if !ok {
				return nil, errors.New("bridge: an account in the token is not a string")
			}
			accounts[i] = account
		}
		return accounts, nil
	}
	return nil, errors.New("bridge: the accounts claim is neither a string nor an array")
}
