package identity_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

const (
	alice    = "InternalAccount:019542f5-b3e7-1d02-0000-00000000000a"
	aliceToo = "InternalAccount:019542f5-b3e7-1d02-0000-0000000000aa"
	mallory  = "InternalAccount:019542f5-b3e7-1d02-0000-00000000000b"

	canary     = canaryPart + "/+ %&51f2~?" // what nothing may quote: it reads differently in every form
	canaryPart = "canary-of-a-secret"       // what no escaping changes
)

func assertNoCanary(t testing.TB, where, text string) {
	t.Helper()
	for _, form := range []string{canaryPart, base64.RawURLEncoding.EncodeToString([]byte(canaryPart))[:20], url.QueryEscape(canary)} {
		if strings.Contains(text, form) {
			t.Errorf("%s holds a secret:\n%s", where, text)
		}
	}
}

// assertReason wants the reason of a refusal, or no error.
func assertReason(t testing.TB, err error, want bridge.Reason) {
	t.Helper()
	got, ok := errors.AsType[bridge.Reason](err)
	if got != want || ok != (err != nil) {
		t.Errorf("error = %v, want the reason %q", err, want)
	}
}

// clock is a clock that stands still until it is moved.
type clock struct{ moved atomic.Int64 }

func (c *clock) time() time.Time {
	return time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Add(time.Duration(c.moved.Load()))
}

func (c *clock) advance(d time.Duration) { c.moved.Add(int64(d)) }

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// take returns what was written since the last call.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.Buffer.Reset()
	return b.Buffer.String()
}

func newLogger(out io.Writer) *log.Logger { return log.New(out, "", 0) }

// events are what was observed.
type events struct {
	mu   sync.Mutex
	list []bridge.Event
}

func (e *events) observe(happened bridge.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, happened)
}

// take returns the events since the last call.
func (e *events) take() []bridge.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	defer func() { e.list = nil }()
	return e.list
}

var b64 = base64.RawURLEncoding

// issuerKey is a key of a token issuer, on either side of the wire.
type issuerKey struct {
	id  string
	alg string
	key crypto.Signer
}

func newEC(t testing.TB, id, alg string, curve elliptic.Curve) issuerKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{id, alg, key}
}

func newES256(t testing.TB, id string) issuerKey {
	t.Helper()
	return newEC(t, id, "ES256", elliptic.P256())
}

func newRS256(t testing.TB, id string, bits int) issuerKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{id, "RS256", key}
}

func newEdDSA(t testing.TB, id string) issuerKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{id, "EdDSA", key}
}

// jwk is the public key, with further members or others in place of its own.
func (k issuerKey) jwk(members ...map[string]any) map[string]any {
	jwk := map[string]any{}
	switch public := k.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, _ := public.Bytes()
		half := len(point) / 2
		jwk = map[string]any{"kty": "EC", "crv": public.Params().Name, "x": b64.EncodeToString(point[1 : half+1]), "y": b64.EncodeToString(point[half+1:])}
	case *rsa.PublicKey:
		jwk = map[string]any{"kty": "RSA", "n": b64.EncodeToString(public.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(public.E)).Bytes())}
	case ed25519.PublicKey:
		jwk = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(public)}
	}
	if k.id != "" {
		jwk["kid"] = k.id
	}
	for _, more := range members {
		maps.Copy(jwk, more)
	}
	return jwk
}

func jwks(keys ...issuerKey) []byte {
	list := []map[string]any{}
	for _, k := range keys {
		list = append(list, k.jwk())
	}
	return setOf(list...)
}

func setOf(keys ...map[string]any) []byte {
	set, _ := json.Marshal(map[string]any{"keys": keys})
	return set
}

// token signs claims under a header with the given alg and kid.
func (k issuerKey) token(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(header)
	p, _ := json.Marshal(claims)
	return k.sign(t, string(h), string(p))
}

// sign signs texts that need not be JSON.
func (k issuerKey) sign(t testing.TB, header, payload string) string {
	t.Helper()
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	hash := crypto.SHA256
	if k.alg == "ES384" {
		hash = crypto.SHA384
	}
	digest := hash.New()
	digest.Write([]byte(signed))
	var sig []byte
	var err error
	switch key := k.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, errSign := ecdsa.Sign(rand.Reader, key, digest.Sum(nil))
		size := (key.Params().BitSize + 7) / 8
		sig, err = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...), errSign
	case *rsa.PrivateKey:
		sig, err = rsa.SignPKCS1v15(rand.Reader, key, hash, digest.Sum(nil))
	case ed25519.PrivateKey:
		sig = ed25519.Sign(key, []byte(signed))
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + b64.EncodeToString(sig)
}

// header is that of a token signed by k.
func (k issuerKey) header() map[string]any {
	h := map[string]any{"alg": k.alg}
	if k.id != "" {
		h["kid"] = k.id
	}
	return h
}

// fresh is a token of its own: no other has been checked that is the same.
func (k issuerKey) fresh(t testing.TB) string {
	t.Helper()
	return k.token(t, k.header(), map[string]any{"iss": "i", "aud": "a", "sub": "u", "exp": time.Now().Unix() + 60})
}

func bearerRequest(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// one is a single issuer "i" for the audience "a".
func one(keys identity.KeySource) identity.OIDC {
	return identity.OIDC{Issuers: []identity.Issuer{{Issuer: "i", Audience: "a", Keys: keys}}, AccountsClaim: "c"}
}
