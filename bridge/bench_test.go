package bridge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
	"gridsigner/signer"
)

// BenchmarkForward is the signed leg of a revocation with every check on, from
// the handler to an upstream on loopback and back.
func BenchmarkForward(b *testing.B) {
	u := newUpstream(b, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"PROCESSING"}`) // the one answer that lets a signed leg pass again
	})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	signer256, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		b.Fatal(err)
	}
	token, err := jwt.Signed(signer256).Claims(map[string]any{
		"iss": "i", "aud": "a", "sub": "u", "exp": time.Now().Add(time.Hour).Unix(), "c": []string{alice},
	}).Serialize()
	if err != nil {
		b.Fatal(err)
	}
	authenticate, err := identity.NewOIDC(b.Context(), identity.OIDC{
		Issuers: []identity.Issuer{{Issuer: "i", Audience: "a", Keys: func(context.Context) ([]byte, error) {
			return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public()}}})
		}}}, AccountsClaim: "c",
	})
	if err != nil {
		b.Fatal(err)
	}
	handler := newClient(b, u.URL, func(c *bridge.Config) { c.Authenticate = authenticate }).server.Config.Handler
	challenge := challengeOf(payload, requestID)
	u.challenge.Store(&challenge)
	signed := sign(b, challenge, signer.FormatAuto)
	send := func(headers []string) int {
		r := httptest.NewRequest("DELETE", "/api/grid/auth/sessions/"+session, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("X-Gridsigner", "1")
		for _, line := range headers {
			name, value, _ := strings.Cut(line, ": ")
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w.Code
	}
	if got := send(nil); got != 202 {
		b.Fatalf("first leg = %d, want 202", got)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := send(signed); got != 200 {
			b.Fatalf("signed leg = %d, want 200", got)
		}
	}
}
