package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"regexp"
	"time"

	"gridsigner/bridge/gridsim"
)

const (
	demoAudience  = "gridbridge-demo"
	demoKeyID     = "demo"
	demoTokenLife = time.Hour
	maxLogin      = 4 << 10
)

// What the page asks for beside the login.
const (
	configPath = "/demo/config"
	inboxPath  = "/demo/inbox"
)

// The simulator's customer, as an app knows its own.
const (
	demoEmail = "ada@example.com"
	demoPhone = "+12025550123"
)

// clientKey is the grammar of clientPublicKey (Grid's schema
// AuthSessionRefreshRequest), and keyHash that of a nonce, which is the hash of one.
var (
	clientKey = regexp.MustCompile(`^(0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128})$`)
	keyHash   = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// identityProvider stands in for the two parties that know a user in the real
// world: the OpenID provider that Grid trusts, and the app's own login, whose
// tokens the bridge trusts. It lets everybody in as the one seeded user, so it
// belongs in the demo and nowhere else.
type identityProvider struct {
	issuer  string
	seed    gridsim.Seed
	key     *ecdsa.PrivateKey
	gridNow func() time.Time // Grid's clock, which a test may have moved
}

func newIdentityProvider(issuer string, seed gridsim.Seed, gridNow func() time.Time) (*identityProvider, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &identityProvider{issuer, seed, key, gridNow}, err
}

// keys is the provider's [identity.KeySource].
func (p *identityProvider) keys(context.Context) ([]byte, error) {
	point, err := p.key.PublicKey.Bytes() // 0x04 || x || y
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": demoKeyID,
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]),
		"y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
}

// token signs claims as a compact JWS with ES256 (RFC 7518, 3.4).
func (p *identityProvider) token(claims map[string]any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "ES256", "kid": demoKeyID, "typ": "JWT"})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, p.key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte // r || s, each of 32 bytes
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}

// session is the answer to a login.
type session struct {
	AccountID    string    `json:"accountId"`
	CredentialID string    `json:"credentialId"`
	OIDCToken    string    `json:"oidcToken"`   // for Grid: proves the identity of the credential
	AccessToken  string    `json:"accessToken"` // for the bridge: says which accounts are the user's
	ExpiresAt    time.Time `json:"expiresAt"`   // of the access token
}

// login makes the two tokens for a page whose key is publicKey. The first is
// bound to the key by its nonce: the hash of the key's hex text, not of its
// bytes (Grid's guide Sandbox testing).
func (p *identityProvider) login(publicKey string) (session, error) {
	nonce := sha256.Sum256([]byte(publicKey))
	return p.loginWith(hex.EncodeToString(nonce[:]))
}

// loginWith is login for who has the nonce, as providers are given it. Without
// one the first token signs no key in.
func (p *identityProvider) loginWith(nonce string) (session, error) {
	now, gridNow := time.Now(), p.gridNow()
	expires := now.Add(demoTokenLife).UTC().Truncate(time.Second)
	claims := map[string]any{
		"iss": p.seed.OIDC.Issuer, "aud": p.seed.OIDC.Audience, "sub": p.seed.OIDC.Subject,
		"iat": gridNow.Unix(), "exp": gridNow.Add(5 * time.Minute).Unix(), "email": demoEmail,
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	oidcToken, err := p.token(claims)
	if err != nil {
		return session{}, err
	}
	accessToken, err := p.token(map[string]any{
		"iss": p.issuer, "aud": demoAudience, "sub": "demo-user", "iat": now.Unix(), "exp": expires.Unix(),
		"grid_accounts": []string{p.seed.AccountID},
	})
	return session{p.seed.AccountID, p.seed.CredentialID, oidcToken, accessToken, expires}, err
}

// ServeHTTP answers POST {"nonce"}, or {"publicKey"}, or {} with a [session]. It
// wants JSON, which a page of another site cannot send without a CORS preflight.
func (p *identityProvider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	if typ, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || typ != "application/json" {
		http.Error(w, "application/json only", http.StatusUnsupportedMediaType)
		return
	}
	var input struct{ PublicKey, Nonce string }
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxLogin))
	isJSON := err == nil && json.Unmarshal(body, &input) == nil
	var s session
	switch {
	case isJSON && clientKey.MatchString(input.PublicKey) && input.Nonce == "":
		s, err = p.login(input.PublicKey)
	case isJSON && input.PublicKey == "" && (input.Nonce == "" || keyHash.MatchString(input.Nonce)):
		s, err = p.loginWith(input.Nonce)
	default:
		http.Error(w, `want {"nonce":"<64 hex digits>"} or {"publicKey":"<hex>"}`, http.StatusBadRequest)
		return
	}
	if err != nil {
		http.Error(w, "login failed", http.StatusInternalServerError)
		return
	}
	writeJSON(w, s)
}

// pageData serves what the demo page has to know: the keys to pin, where codes
// go, and the simulated inbox, which in the real world is a person's own.
func pageData(sim *gridsim.Sim) http.Handler {
	seed := sim.Seed()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch {
		case r.Method != http.MethodGet:
			w.Header().Set("Allow", http.MethodGet)
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
		case r.URL.Path == inboxPath:
			writeJSON(w, map[string]any{"data": sim.Inbox()})
		default:
			writeJSON(w, map[string]any{
				"otpSigners": []string{seed.OTPSigner}, "exportSigners": []string{seed.ExportSigner},
				"email": demoEmail, "phoneNumber": demoPhone,
			})
		}
	})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	json.NewEncoder(w).Encode(v) // the page may be gone: nothing to do about it
}
