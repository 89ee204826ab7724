package gridsim

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// The age that a token may have and by how much two clocks may differ, in
// seconds.
const (
	maxTokenAge = 60
	clockSkew   = 5
)

// providers is Grid's sandbox list of issuers, as far as it is published, with
// the names that payloads have for them.
var providers = map[string]string{
	"https://accounts.google.com": "google",
	"accounts.google.com":         "google",
	"https://appleid.apple.com":   "apple",
}

// oidcClaims is what a token claims. Nobody vouches for it: like Grid's sandbox,
// the simulator does not look at the token's signature.
type oidcClaims struct {
	identity          OIDCIdentity
	email             string // or ""
	nonce             string
	hasNonce          bool
	issuedAt, expires float64 // seconds since 1970, perhaps with a fraction
}

// parseOIDCToken reads a JWT. What it refuses is malformed, whatever credential
// it is for.
func parseOIDCToken(token string) (oidcClaims, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return oidcClaims{}, tokenMalformed
	}
	if _, err := parseTokenPart(parts[0]); err != nil {
		return oidcClaims{}, err
	}
	fields, err := parseTokenPart(parts[1])
	if err != nil {
		return oidcClaims{}, err
	}
	var claims oidcClaims
	claims.identity.Issuer, _ = stringField(fields, "iss")
	if providers[claims.identity.Issuer] == "" {
		return oidcClaims{}, issuerUnsupported
	}
	claims.identity.Audience = audience(fields)
	claims.identity.Subject, _ = stringField(fields, "sub")
	var numeric [2]bool
	claims.issuedAt, numeric[0] = numberField(fields, "iat")
	claims.expires, numeric[1] = numberField(fields, "exp")
	if claims.identity.Audience == "" || claims.identity.Subject == "" || !numeric[0] || !numeric[1] {
		return oidcClaims{}, tokenClaimMalformed
	}
	claims.email, _ = stringField(fields, "email")
	claims.nonce, claims.hasNonce = stringField(fields, "nonce")
	return claims, nil
}

// parseTokenPart decodes the header or the claims of a JWT.
func parseTokenPart(part string) (map[string]json.RawMessage, error) {
	text, err := decodeBase64(base64.RawURLEncoding, part)
	if err != nil {
		return nil, tokenMalformed
	}
	return parseObject(text, tokenMalformed, tokenMalformed)
}

// audience returns aud, a string or a list of exactly one, or "".
func audience(fields map[string]json.RawMessage) string {
	if aud, ok := stringField(fields, "aud"); ok {
		return aud
	}
	var list []string
	if json.Unmarshal(fields["aud"], &list) != nil || len(list) != 1 {
		return ""
	}
	return list[0]
}

// numberField returns a field that is a JSON number.
func numberField(fields map[string]json.RawMessage, name string) (value float64, ok bool) {
	var number *float64 // null leaves it nil
	if json.Unmarshal(fields[name], &number) != nil || number == nil {
		return 0, false
	}
	return *number, true
}

// check tells whether the token signs in the identity now, and was made for
// this very client key: the nonce is the lower-case hex SHA-256 of the ASCII
// text of the key as it was sent, so a token that leaks is of no use with
// another key.
func (c oidcClaims) check(want OIDCIdentity, clientPublicKey string, now time.Time) error {
	nonce := sha256.Sum256([]byte(clientPublicKey))
	switch {
	case c.identity.Issuer != want.Issuer:
		return issuerMismatch
	case c.identity.Audience != want.Audience:
		return audienceMismatch
	case c.identity.Subject != want.Subject:
		return subjectMismatch
	}
	if err := c.checkAge(now); err != nil {
		return err
	}
	switch {
	case !c.hasNonce:
		return nonceMissing
	case c.nonce != hex.EncodeToString(nonce[:]):
		return nonceMismatch
	}
	return nil
}

// checkAge tells whether the token is of now.
func (c oidcClaims) checkAge(now time.Time) error {
	seconds := float64(now.UnixMilli()) / 1000
	switch {
	case c.issuedAt < seconds-maxTokenAge-clockSkew:
		return tokenStale
	case c.issuedAt > seconds+clockSkew:
		return tokenFromFuture
	case c.expires <= seconds:
		return tokenExpired
	}
	return nil
}
