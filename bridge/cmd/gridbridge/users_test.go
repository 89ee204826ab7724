package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gridsigner/bridge"
)

// TestUsersConfig wants errors in words for flags that do not belong together.
func TestUsersConfig(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}})
	if err != nil {
		t.Fatal(err)
	}
	jwks := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(jwks, set, 0o600); err != nil {
		t.Fatal(err)
	}
	two := []string{"--issuer", "a", "--issuer", "b", "--jwks", jwks, "--jwks", jwks}
	for _, v := range []struct {
		name string
		args []string
		want []string // nil for a good configuration
	}{
		{"two-issuers", append(two, "--audience", "x"), nil},
		{"two-audiences", append(two, "--audience", "x", "--audience", "y"), nil},
		{"three-audiences", append(two, "--audience", "x", "--audience", "y", "--audience", "z"), []string{"--audience is there 3 times, and --issuer 2 times"}},
		{"no-audience", two, []string{"issuer 1: the token audience is not set", "issuer 2: the token audience is not set"}},
		{"one-jwks-of-two", []string{"--issuer", "a", "--issuer", "b", "--audience", "x", "--jwks", jwks}, []string{"--jwks is there 1 times, and --issuer 2 times"}},
		{"both-counts", []string{"--issuer", "a", "--audience", "x", "--audience", "y", "--jwks", jwks, "--jwks", jwks}, []string{"--audience is there 2 times", "--jwks is there 2 times"}},
		{"no-issuer", []string{"--audience", "a", "--jwks", jwks}, []string{"--issuer is not set"}},
		{"issuer-twice", []string{"--issuer", "a", "--issuer", "a", "--audience", "x", "--jwks", jwks, "--jwks", jwks}, []string{"issuer 2: it is there twice"}},
		{"internal-app-not-allowed", []string{"--forward-auth", "http://app.internal:3000/", "--allow-insecure-host", "other.internal"}, []string{"must be https"}},
		{"host-with-port", []string{"--forward-auth", "https://app.example/", "--allow-insecure-host", "app.internal:3000"}, []string{"--allow-insecure-host: not a host"}},
		{"host-that-is-a-url", []string{"--forward-auth", "https://app.example/", "--allow-insecure-host", "http://app.internal"}, []string{"--allow-insecure-host: not a host"}},
		{"host-that-is-a-pattern", []string{"--forward-auth", "https://app.example/", "--allow-insecure-host", "*.internal"}, []string{"--allow-insecure-host: not a host"}},
		{"ca-that-is-none", []string{"--forward-auth", "https://app.example/", "--identity-ca", jwks}, []string{jwks + " holds no certificate"}},
		{"key-without-certificate", append(two, "--audience", "x", "--identity-key", jwks), []string{"issuer 1: reading the key set (JWKS): identity: client certificate", "only of use together"}},
	} {
		t.Run(v.name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"serve", "--config-check"}, v.args...), func(n string) string { return serveEnv[n] }, io.Discard, io.Discard)
			if (err == nil) != (v.want == nil) {
				t.Fatalf("error = %v, want one with %q", err, v.want)
			}
			for _, want := range v.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error = %v, want one with %q", err, want)
				}
			}
		})
	}
}

// TestInsecureHost has the app be called with http where that is allowed.
func TestInsecureHost(t *testing.T) {
	for _, v := range []struct{ url, host string }{{"http://app.internal:3000/", "app.internal"}, {"http://[fd00::1]/", "fd00::1"}} {
		var s settings
		err := s.flags().Parse([]string{"--forward-auth", v.url, "--allow-insecure-host", v.host})
		if err == nil {
			_, err = s.users(t.Context(), nil, time.Now, func(bridge.Event) {})
		}
		if err != nil {
			t.Errorf("%s: %v", v.url, err)
		}
	}
}

// TestIssuersKeepTheirOrder has each issuer get its own audience and key set.
func TestIssuersKeepTheirOrder(t *testing.T) {
	var s userSettings
	tokens := map[string]string{}
	for _, name := range []string{"a", "b"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}})
		if err != nil {
			t.Fatal(err)
		}
		jwks := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(jwks, set, 0o600); err != nil {
			t.Fatal(err)
		}
		s.issuers, s.audiences, s.jwks = append(s.issuers, name), append(s.audiences, "for-"+name), append(s.jwks, jwks)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tokens[name], err = jwt.Signed(signer).Claims(map[string]any{"iss": name, "aud": "for-" + name, "sub": "u", "exp": time.Now().Unix() + 60}).Serialize(); err != nil {
			t.Fatal(err)
		}
	}
	s.claim = "c"
	authenticate, err := s.users(t.Context(), nil, time.Now, func(bridge.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range tokens {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		if user, err := authenticate(r); err != nil || user.ID != name+" u" {
			t.Errorf("user = %+v, %v; want %s u", user, err, name)
		}
	}
}
