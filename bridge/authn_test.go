package bridge_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gridsigner/bridge"
)

var b64 = base64.RawURLEncoding

// issuerKey is a key of a token issuer, on either side of the wire.
type issuerKey struct {
	id  string
	alg string
	key crypto.Signer
}

func newES256(t testing.TB, id string) issuerKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuerKey{id, "ES256", key}
}

func (k issuerKey) jwk() map[string]string {
	switch pub := k.key.Public().(type) {
	case *ecdsa.PublicKey:
		point, _ := pub.Bytes()
		return map[string]string{"kty": "EC", "crv": "P-256", "kid": k.id, "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:])}
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": k.id, "n": b64.EncodeToString(pub.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(pub.E)).Bytes())}
	}
	return nil
}

func jwks(keys ...issuerKey) []byte {
	list := []map[string]string{}
	for _, k := range keys {
		list = append(list, k.jwk())
	}
	set, _ := json.Marshal(map[string]any{"keys": list})
	return set
}

// token signs claims under a header with the given alg and kid.
func (k issuerKey) token(t testing.TB, header, claims map[string]any) string {
	t.Helper()
	h, _ := json.Marshal(header)
	p, _ := json.Marshal(claims)
	signed := b64.EncodeToString(h) + "." + b64.EncodeToString(p)
	digest := sha256.Sum256([]byte(signed))
	var sig []byte
	switch key := k.key.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		sig = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case *rsa.PrivateKey:
		var err error
		if sig, err = rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	return signed + "." + b64.EncodeToString(sig)
}

// fresh is a token of its own: no other has been checked that is the same.
func (k issuerKey) fresh(t testing.TB) string {
	t.Helper()
	return k.token(t, map[string]any{"alg": k.alg, "kid": k.id}, map[string]any{"iss": "i", "aud": "a", "sub": "u", "exp": time.Now().Unix() + 60})
}

func bearerRequest(token string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func TestOIDC(t *testing.T) {
	now := time.Unix(1_775_681_700, 0)
	es, other := newES256(t, "es"), newES256(t, "es")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rs := issuerKey{"rs", "RS256", rsaKey}
	set := jwks(es, rs)
	authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
		Issuer: "https://id.example", Audience: "grid", AccountsClaim: "grid_accounts", Now: func() time.Time { return now },
		Keys: func(context.Context) ([]byte, error) { return set, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := func(change map[string]any) map[string]any {
		c := map[string]any{
			"iss": "https://id.example", "aud": "grid", "sub": "u1", "exp": now.Unix() + 60,
			"grid_accounts": []string{alice, aliceToo},
		}
		for name, value := range change {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
		return c
	}
	signed := func(k issuerKey, change map[string]any) string {
		return k.token(t, map[string]any{"alg": k.alg, "kid": k.id}, claims(change))
	}
	hmacToken := func() string {
		h, _ := json.Marshal(map[string]any{"alg": "HS256", "kid": "es"})
		p, _ := json.Marshal(claims(nil))
		text := b64.EncodeToString(h) + "." + b64.EncodeToString(p)
		point, _ := es.key.Public().(*ecdsa.PublicKey).Bytes()
		mac := hmac.New(sha256.New, point)
		mac.Write([]byte(text))
		return text + "." + b64.EncodeToString(mac.Sum(nil))
	}
	unsigned := func() string {
		token := es.token(t, map[string]any{"alg": "none"}, claims(nil))
		return token[:strings.LastIndex(token, ".")+1]
	}
	good := signed(es, nil)
	parts := strings.Split(good, ".")

	both := []string{alice, aliceToo}
	tests := []struct {
		name          string
		authorization []string
		accounts      []string // nil and no error: a user with no accounts
		ok            bool
	}{
		{"ES256", []string{"Bearer " + good}, both, true},
		{"RS256", []string{"Bearer " + signed(rs, nil)}, both, true},
		{"scheme in lower case", []string{"bearer " + good}, both, true},
		{"audience in a list", []string{"Bearer " + signed(es, map[string]any{"aud": []string{"a", "grid"}})}, both, true},
		{"one account as a string", []string{"Bearer " + signed(es, map[string]any{"grid_accounts": alice})}, []string{alice}, true},
		{"no accounts claim", []string{"Bearer " + signed(es, map[string]any{"grid_accounts": nil})}, nil, true},
		{"at its expiry", []string{"Bearer " + signed(es, map[string]any{"exp": now.Unix()})}, both, true},

		{"no header", nil, nil, false},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, nil, false},
		{"Basic", []string{"Basic " + good}, nil, false},
		{"scheme only", []string{"Bearer"}, nil, false},
		{"two spaces", []string{"Bearer  " + good}, nil, false},
		{"two tokens", []string{"Bearer " + good + "," + good}, nil, false},
		{"not a JWT", []string{"Bearer abc"}, nil, false},
		{"JSON serialisation", []string{`Bearer {"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`}, nil, false},
		{"over 8 KiB", []string{"Bearer " + signed(es, map[string]any{"x": strings.Repeat("x", 8<<10)})}, nil, false},
		{"alg none", []string{"Bearer " + unsigned()}, nil, false},
		{"HMAC under the public key", []string{"Bearer " + hmacToken()}, nil, false},
		{"alg of another key", []string{"Bearer " + es.token(t, map[string]any{"alg": "RS256", "kid": "es"}, claims(nil))}, nil, false},
		{"alg not in the list", []string{"Bearer " + rs.token(t, map[string]any{"alg": "RS512", "kid": "rs"}, claims(nil))}, nil, false},
		{"another key of the same id", []string{"Bearer " + signed(other, nil)}, nil, false},
		{"key in the header", []string{"Bearer " + other.token(t, map[string]any{"alg": "ES256", "jwk": other.jwk()}, claims(nil))}, nil, false},
		{"changed payload", []string{"Bearer " + parts[0] + "." + strings.Split(signed(es, map[string]any{"sub": "u2"}), ".")[1] + "." + parts[2]}, nil, false},
		{"another issuer", []string{"Bearer " + signed(es, map[string]any{"iss": "https://id.example/"})}, nil, false},
		{"another audience", []string{"Bearer " + signed(es, map[string]any{"aud": "grid2"})}, nil, false},
		{"no audience", []string{"Bearer " + signed(es, map[string]any{"aud": nil})}, nil, false},
		{"expired", []string{"Bearer " + signed(es, map[string]any{"exp": now.Unix() - 1})}, nil, false},
		{"no expiry", []string{"Bearer " + signed(es, map[string]any{"exp": nil})}, nil, false},
		{"from the future", []string{"Bearer " + signed(es, map[string]any{"nbf": now.Unix() + 600})}, nil, false},
		{"accounts not strings", []string{"Bearer " + signed(es, map[string]any{"grid_accounts": []any{alice, 1}})}, nil, false},
		{"accounts an object", []string{"Bearer " + signed(es, map[string]any{"grid_accounts": map[string]any{"a": alice}})}, nil, false},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Authorization"] = v.authorization
			user, err := authenticate(r)
			if (err == nil) != v.ok {
				t.Fatalf("error = %v, want ok %t", err, v.ok)
			}
			if v.ok && (user.ID != "u1" || !slices.Equal(user.Accounts, v.accounts)) {
				t.Errorf("user = %+v, want u1 with %v", user, v.accounts)
			}
		})
	}
}

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own, which Sleep moves
		first, second := newES256(t, "first"), newES256(t, "second")
		set, reads := jwks(first), 0
		var down error
		authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
			Issuer: "i", Audience: "a", AccountsClaim: "c",
			Keys: func(context.Context) ([]byte, error) { reads++; return set, down },
		})
		if err != nil {
			t.Fatal(err)
		}
		assert := func(step string, k issuerKey, want bool, wantReads int) {
			t.Helper()
			_, err := authenticate(bearerRequest(k.fresh(t)))
			if (err == nil) != want || reads != wantReads {
				t.Errorf("%s: error %v after %d reads, want ok %t after %d", step, err, reads, want, wantReads)
			}
		}
		assert("first key", first, true, 1)
		set = jwks(first, second)
		for range 50 {
			assert("unknown key, at once", second, false, 1)
		}
		time.Sleep(10 * time.Second)
		assert("second key, later", second, true, 2)
		down = errors.New("the issuer is down")
		time.Sleep(time.Hour)
		assert("unknown key, issuer down", newES256(t, "third"), false, 3)
		assert("known key, issuer down", first, true, 3)
	})
}

// TestKeysAge has an issuer withdraw a key, go down, and answer with what is no
// key set: only the first makes a difference to its users.
func TestKeysAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, withdrawn := newES256(t, "good"), newES256(t, "withdrawn")
		set, down := jwks(good, withdrawn), error(nil)
		log := &lockedBuffer{}
		authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
			Issuer: "i", Audience: "a", AccountsClaim: "c", Log: slog.New(slog.NewTextHandler(log, nil)),
			Keys: func(context.Context) ([]byte, error) { return set, down },
		})
		if err != nil {
			t.Fatal(err)
		}
		assert := func(step string, k issuerKey, want bool) {
			t.Helper()
			if _, err := authenticate(bearerRequest(k.fresh(t))); (err == nil) != want {
				t.Errorf("%s: error %v, want ok %t", step, err, want)
			}
		}
		set = jwks(good)
		assert("just withdrawn", withdrawn, true)
		time.Sleep(5 * time.Minute)
		assert("withdrawn", withdrawn, false)
		assert("not withdrawn", good, true)
		for _, text := range []string{"", "<html>", "{}", "null", `{"keys":[]}`, `{"keys":[{}]}`, `{"keys":[1]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`} {
			set = []byte(text)
			time.Sleep(time.Hour)
			assert("key set "+text, good, true)
			if log.take() == "" {
				t.Errorf("key set %s: nothing in the log", text)
			}
		}
		down = errors.New("refused with " + canary)
		time.Sleep(time.Hour)
		assert("issuer down", good, true)
		if text := log.take(); !strings.Contains(text, "key set not read") {
			t.Errorf("the log holds %q, want that the key set was not read", text)
		} else {
			assertNoCanary(t, "the log", text)
		}
		set, down = append([]byte(`{"keys":[{"kty":"new"},`), jwks(withdrawn)[len(`{"keys":[`):]...), nil
		time.Sleep(time.Hour)
		assert("beside a key of a kind to come", withdrawn, true)
	})
}

// TestIssuerHangs has strangers make up tokens, each of which asks for a newer
// key set, while the issuer does not answer: they wait for it together, and
// only once.
func TestIssuerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, unknown := newES256(t, "good"), newES256(t, "unknown")
		var reads atomic.Int32
		authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
			Issuer: "i", Audience: "a", AccountsClaim: "c",
			Keys: func(ctx context.Context) ([]byte, error) {
				if reads.Add(1) == 1 {
					return jwks(good), nil
				}
				<-ctx.Done()
				return nil, ctx.Err()
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		assert := func(step string, k issuerKey, ok bool, at time.Duration, wantReads int32) {
			t.Helper()
			_, err := authenticate(bearerRequest(k.fresh(t)))
			if took := time.Since(start); (err == nil) != ok || took != at || reads.Load() != wantReads {
				t.Errorf("%s: error %v at %s after %d reads, want ok %t at %s after %d", step, err, took, reads.Load(), ok, at, wantReads)
			}
		}
		time.Sleep(10 * time.Second)
		var all sync.WaitGroup
		for range 9 {
			all.Go(func() { assert("stranger", unknown, false, 12*time.Second, 2) })
		}
		synctest.Wait() // for all of them to wait
		assert("user", good, true, 10*time.Second, 2)
		all.Wait()
		assert("a later stranger", unknown, false, 12*time.Second, 2)
		time.Sleep(18 * time.Second) // to the end of the read
		synctest.Wait()
		assert("a stranger after the read", unknown, false, 30*time.Second, 2)
		time.Sleep(5 * time.Minute)
		assert("a user of an old set", good, true, 332*time.Second, 3)
		assert("another user of an old set", good, true, 332*time.Second, 3)
		time.Sleep(time.Minute) // to the end of the read
	})
}

func TestKeysFrom(t *testing.T) {
	set := jwks(newES256(t, "k"))
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/keys":
			w.Write(set)
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/empty":
			w.Write([]byte(`{"keys":[]}`))
		case "/garbage":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "HTTP/1.1 "+canary+"\r\n\r\n")
			conn.Close()
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	tests := []struct {
		name, location string
		ok             bool
	}{
		{"file", file, true},
		{"URL", server.URL + "/keys", true},
		{"URL with a query", server.URL + "/keys?p=1", true},
		{"nothing", "", false},
		{"no file", file + "x", false},
		{"not found", server.URL + "/nothing", false},
		{"redirect", server.URL + "/moved", false},
		{"no keys", server.URL + "/empty", false},
		{"garbage", server.URL + "/garbage", false},
		{"not loopback", "http://keys.example/keys", false},
		{"scheme", "file:///etc/passwd", false},
		{"with a password", "https://user:" + url.QueryEscape(canary) + "@keys.example/", false},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			_, err := bridge.NewOIDC(t.Context(), bridge.OIDC{Issuer: "i", Audience: "a", AccountsClaim: "c", Keys: bridge.KeysFrom(v.location)})
			if (err == nil) != v.ok {
				t.Errorf("error = %v, want ok %t", err, v.ok)
			}
			if err != nil {
				assertNoCanary(t, "the error", err.Error())
			}
		})
	}
}

// TestKnownTokenExpires checks a token twice, so that the second answer comes
// from memory, and then at its expiry.
func TestKnownTokenExpires(t *testing.T) {
	var now clock
	key := newES256(t, "k")
	authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
		Issuer: "i", Audience: "a", AccountsClaim: "c", Now: now.time,
		Keys: func(context.Context) ([]byte, error) { return jwks(key), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+key.token(t, map[string]any{"alg": "ES256", "kid": "k"}, map[string]any{
		"iss": "i", "aud": "a", "sub": "u", "exp": now.time().Add(10 * time.Second).Unix(), "c": alice}))
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {0, true}, {9 * time.Second, true}, {2 * time.Second, false}, {0, false}} {
		now.advance(step.after)
		if user, err := authenticate(r); (err == nil) != step.ok || step.ok && (user.ID != "u" || !slices.Equal(user.Accounts, []string{alice})) {
			t.Errorf("at %s: user = %+v, %v; want ok %t", now.time().Format(time.TimeOnly), user, err, step.ok)
		}
	}
	r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-1])
	if _, err := authenticate(r); err == nil {
		t.Error("a token cut by one character is believed")
	}
}
