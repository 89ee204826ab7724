// Package identity says who is calling a bridge: the holder of a bearer token of an
// OpenID Connect issuer's ([NewOIDC]), or whom an app in any language names
// ([NewForwardAuth]). What they return is for [bridge.Config]'s Authenticate.
//
// Every refusal is a [bridge.Reason], or wraps one, and none quotes a token, a
// cookie, a URL or what the other side sent.
package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/bounded"
)

const (
	maxToken = 8 << 10 // room for a few dozen claims

	// tokenLife is how long a token that was checked is believed without checking
	// it again, though never past its expiry. A token of a key that the issuer
	// withdrew is believed for as long after [keysMaxAge], within which that is seen.
	tokenLife = 30 * time.Second

	// maxSkew is how far the issuer's clock may be ahead of this one.
	maxSkew = time.Minute
)

// signingAlgorithms are those of asymmetric keys. An HMAC would make the public
// key set a list of secrets, and "none" is what it says.
var signingAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.RS256, jose.PS256, jose.EdDSA}

// tokenTypes are the values of typ that an access token or an ID token has. Others
// are signed by the same key for something else: a logout token, a DPoP proof
// (RFC 8725, 3.11).
var tokenTypes = []string{"JWT", "at+jwt", "application/at+jwt"}

// Issuer is one whose tokens are believed.
type Issuer struct {
	Issuer   string    // the iss claim, exactly
	Audience string    // one of the aud claim
	Keys     KeySource // the issuer's public keys: they verify no token of another
}

// OIDC says whose bearer tokens to believe.
type OIDC struct {
	Issuers       []Issuer // each once
	AccountsClaim string   // the claim with the user's accounts: a string, or an array of them

	Log     *slog.Logger       // told when keys cannot be read after the start; nil for none
	Observe func(bridge.Event) // told of each time that keys were read after the start; nil for none
	Now     func() time.Time   // nil = time.Now
}

// NewOIDC returns a function for [bridge.Config] that takes JWTs from
// Authorization: Bearer and checks their type, algorithm, issuer, signature,
// audience, expiry and not-before. A token without the accounts claim is a user
// with no accounts; a claim that holds anything but account ids refuses the token,
// because such an issuer is set up wrongly. So is refused a token that is bound to a
// key of its holder's (the cnf claim), of which nobody here sees a proof.
//
// The user's ID is the sub claim if there is one issuer. If there are several, who
// may all call a user "1", it is the iss claim, a space and the sub claim: no issuer
// has a space in it, so what stands before the first is the issuer. A token with
// more than the 255 bytes of an ID is refused.
//
// It reads all keys once before it returns, so a wrong file or URL fails here and
// not at the first user. Errors of every field and issuer are reported together.
// They name an issuer by its number in Issuers, since its text may be a URL with a
// password.
func NewOIDC(ctx context.Context, o OIDC) (func(*http.Request) (bridge.User, error), error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(bridge.Event) {}
	}
	keys, err := o.readAll(ctx)
	if err = errors.Join(o.check(), err); err != nil {
		return nil, err
	}
	t := &tokens{OIDC: o, keys: keys, known: newKnownUsers(o.Now)}
	return t.authenticate, nil
}

func (o *OIDC) check() error {
	var errs []error
	if len(o.Issuers) == 0 {
		errs = append(errs, errors.New("identity: no token issuer is set"))
	}
	for i, issuer := range o.Issuers {
		wrong := func(what string) { errs = append(errs, fmt.Errorf("identity: issuer %d: %s", i+1, what)) }
		if issuer.Issuer == "" {
			wrong("the token issuer is not set")
		}
		if len(o.Issuers) > 1 && strings.Contains(issuer.Issuer, " ") {
			wrong("there is a space in it")
		}
		if slices.ContainsFunc(o.Issuers[:i], func(other Issuer) bool { return other.Issuer == issuer.Issuer }) {
			wrong("it is there twice")
		}
		if issuer.Audience == "" {
			wrong("the token audience is not set")
		}
	}
	if o.AccountsClaim == "" {
		errs = append(errs, errors.New("identity: the accounts claim is not set"))
	}
	return errors.Join(errs...)
}

// readAll reads the keys of all issuers at once, so that those that hang do so
// together.
func (o *OIDC) readAll(ctx context.Context) ([]*keySet, error) {
	sets, errs := make([]*keySet, len(o.Issuers)), make([]error, len(o.Issuers))
	var all sync.WaitGroup
	for i := range o.Issuers {
		all.Go(func() { sets[i], errs[i] = newKeySet(ctx, o, i) })
	}
	all.Wait()
	return sets, errors.Join(errs...)
}

// tokens are the users whom bearer tokens name.
type tokens struct {
	OIDC
	keys  []*keySet // of the issuers, in their order
	known *knownUsers
}

// authenticate has a token that is refused answered as RFC 6750, 3.1 wants it: none asks for
// one, and a bad one learns that it is bad.
func (t *tokens) authenticate(r *http.Request) (bridge.User, error) {
	user, err := t.user(r)
	if err == nil || errors.Is(err, bridge.ReasonNoToken) || errors.Is(err, bridge.ErrAuthUnavailable) {
		return user, err
	}
	return user, fmt.Errorf("%w: %w", err, bridge.WWWAuthenticate(`Bearer error="invalid_token"`))
}

func (t *tokens) user(r *http.Request) (bridge.User, error) {
	raw, err := bearer(r.Header["Authorization"])
	if err != nil {
		return bridge.User{}, err
	}
	key := bounded.Key(raw)
	if user, ok := t.known.get(key); ok {
		return user, nil
	}
	user, expiry, err := t.verify(r.Context(), raw)
	if err != nil {
		return bridge.User{}, err
	}
	until := t.Now().Add(tokenLife)
	if expiry.Before(until) {
		until = expiry
	}
	t.known.put(key, user, until)
	return user, nil
}

// verify returns whose token raw is, and when it expires.
func (t *tokens) verify(ctx context.Context, raw string) (user bridge.User, expiry time.Time, err error) {
	token, err := jose.ParseSignedCompact(raw, signingAlgorithms)
	if _, ok := errors.AsType[*jose.ErrUnexpectedSignatureAlgorithm](err); ok {
		return user, expiry, bridge.ReasonTokenAlgorithm
	}
	if err != nil {
		return user, expiry, bridge.ReasonTokenForm
	}
	if err := checkHeader(token.Signatures[0].Protected); err != nil {
		return user, expiry, err
	}
	var unverified struct {
		Issuer string `json:"iss"`
	}
	if decode(token.UnsafePayloadWithoutVerification(), &unverified) != nil {
		return user, expiry, bridge.ReasonTokenForm
	}
	i := slices.IndexFunc(t.Issuers, func(known Issuer) bool { return known.Issuer == unverified.Issuer })
	if i < 0 {
		return user, expiry, bridge.ReasonTokenIssuer
	}
	payload, err := t.keys[i].verify(ctx, token)
	if err != nil {
		return user, expiry, err
	}
	var claims jwt.Claims
	var all map[string]any
	if decode(payload, &claims) != nil || decode(payload, &all) != nil {
		return user, expiry, bridge.ReasonClaimForm
	}
	if err := t.checkClaims(&claims, t.Issuers[i].Audience); err != nil {
		return user, expiry, err
	}
	if _, bound := all["cnf"]; bound { // to a key of the client's (RFC 7800): whoever stole it could use it here
		return user, expiry, bridge.ReasonTokenBound
	}
	user.ID = claims.Subject
	if len(t.Issuers) > 1 {
		user.ID = claims.Issuer + " " + claims.Subject
	}
	if user.Accounts, err = accountsOf(all[t.AccountsClaim]); err == nil {
		err = user.Check()
	}
	if err != nil {
		return bridge.User{}, expiry, err
	}
	return user, claims.Expiry.Time(), nil
}

// checkHeader judges what says how the token is to be read.
func checkHeader(h jose.Header) error {
	if typ, ok := h.ExtraHeaders[jose.HeaderType]; ok {
		text, _ := typ.(string)
		if !slices.ContainsFunc(tokenTypes, func(known string) bool { return strings.EqualFold(known, text) }) {
			return bridge.ReasonTokenType
		}
	}
	if _, ok := h.ExtraHeaders["crit"]; ok { // extensions that must be understood (RFC 7515, 4.1.11): none is
		return bridge.ReasonTokenForm
	}
	return nil
}

func (t *tokens) checkClaims(claims *jwt.Claims, audience string) error {
	now := t.Now()
	switch latest := now.Add(maxSkew); {
	case !claims.Audience.Contains(audience):
		return bridge.ReasonTokenAudience
	case claims.Expiry == nil, claims.Subject == "":
		return bridge.ReasonClaimMissing
	case strings.ContainsRune(claims.Subject, utf8.RuneError): // what is no character reads like any other that is none
		return bridge.ReasonClaimForm
	case claims.Expiry.Time().Before(now):
		return bridge.ReasonTokenExpired
	case claims.NotBefore.Time().After(latest), claims.IssuedAt.Time().After(latest):
		return bridge.ReasonTokenEarly
	}
	return nil
}

// compactJWS are the characters of a JWS in its compact form (RFC 7515, 7.1).
const compactJWS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

// bearer returns the token of the one Authorization header. Only the compact
// form passes: the JSON forms of a JWS have unprotected headers, several
// signatures, and no place in an HTTP header.
func bearer(authorization []string) (string, error) {
	if len(authorization) == 0 {
		return "", bridge.ReasonNoToken
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
	switch {
	case len(authorization) > 1:
		return "", bridge.ReasonTokenForm
	case !strings.EqualFold(scheme, "Bearer"):
		return "", bridge.ReasonNoToken
	case len(token) > maxToken, strings.Trim(token, compactJWS) != "":
		return "", bridge.ReasonTokenForm
	}
	return token, nil
}

// accountsOf reads the accounts claim. The bridge judges the ids themselves.
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
				return nil, bridge.ReasonClaimForm
			}
			accounts[i] = account
		}
		return distinct(accounts), nil
	}
	return nil, bridge.ReasonClaimForm
}

// distinct returns each account once, in their order. Some issuers and apps make
// the list of a join of tables.
func distinct(accounts []string) (once []string) {
	for _, account := range accounts {
		if !slices.Contains(once, account) {
			once = append(once, account)
		}
	}
	return once
}
