package main

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
	"gridsigner/signer"
)

// TestNothingLeaks runs a whole session and some mischief through a bridge that writes
// to everything it can write to, and looks there for all that is secret, and for all ids.
func TestNothingLeaks(t *testing.T) {
	const canary = "c4n4ry-c4n4ry"
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	token, err := idp.token(map[string]any{"iss": idp.issuer, "aud": demoAudience, "sub": "user-1", "exp": time.Now().Add(time.Hour).Unix(),
		"grid_accounts": []string{sim.AccountID}})
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{
		"the API secret": sim.ClientSecret, "Basic": base64.StdEncoding.EncodeToString([]byte(sim.ClientID + ":" + sim.ClientSecret)),
		"the app's token": token, "its signature": token[strings.LastIndexByte(token, '.')+1:], "a canary": canary,
	}
	grid := newTap(t, sim.URL, func(r *http.Request, body string) {
		for _, name := range []string{signer.HeaderSignature, signer.HeaderRequestID} {
			if v := r.Header.Get(name); v != "" {
				secrets[name] = v
			}
		}
		if _, token, ok := strings.Cut(body, `"oidcToken":"`); ok {
			secrets["the OIDC token"], _, _ = strings.Cut(token, `"`)
		}
	})
	var spans lockedBuffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(&spans, r.Body)
	}))
	defer collector.Close()
	shared := redistest.Start(t)
	auditFile := filepath.Join(t.TempDir(), "audit")
	var serve *process
	var metrics, session string
	t.Run("session", func(t *testing.T) {
		serve = start(t, map[string]string{
			"GRID_BASE_URL": grid + gridPath, "GRID_CLIENT_ID": sim.ClientID, "GRID_CLIENT_SECRET": sim.ClientSecret, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=" + canary,
		}, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay", "0s", "--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience,
			"--otlp", collector.URL, "--trace-state", "--audit-log", auditFile, "--redis-url", "redis://"+shared.Addr, "--log-address", "whole")
		base := strings.TrimPrefix(serve.line(), "bridge listening on ")
		admin := strings.TrimPrefix(serve.line(), "metrics and health on ")
		a := api{t, base, token}
		key, err := signer.GenerateP256()
		if err != nil {
			t.Fatal(err)
		}
		session = a.signIn(idp, sim.CredentialID, key)
		if got, err := a.revoke(session, key); got != signer.Revoked || err != nil {
			t.Fatalf("revocation = %s, %v", got, err)
		}
		for _, header := range []string{"Cookie", "Traceparent", "Tracestate", "Baggage", "Origin", "X-Forwarded-For", "User-Agent", canary, signer.HeaderRequestID} {
			a.call("DELETE", "/auth/sessions/"+canary+"?"+canary, nil, map[string]string{header: canary}, nil)
			a.call("POST", "/auth/credentials/"+sim.CredentialID+"/verify", map[string]string{canary: canary}, map[string]string{header: canary}, nil)
		}
		a.token = canary
		a.call("GET", "/auth/sessions?accountId="+canary, nil, nil, nil)
		_, metrics = fetch(t, "GET", admin+"/metrics", "", nil)
	})
	audit, err := os.ReadFile(auditFile)
	if err != nil {
		t.Fatal(err)
	}
	secrets["the session"] = strings.TrimPrefix(session, "Session:")
	for where, text := range map[string]string{"the log": serve.stderr.String(), "the audit": string(audit), "metrics": metrics, "spans": spans.String()} {
		if !strings.Contains(text, "/auth/sessions/{id}") {
			t.Errorf("%s: nothing of a revocation is there:\n%.2000s", where, text)
		}
		for name, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s: holds %s", where, name)
			}
		}
	}
	if len(secrets) != 9 {
		t.Errorf("looked for %d secrets only", len(secrets))
	}
	if hash := bridge.AuditHash(bridge.NewSecret(sim.ClientSecret), session); strings.Count(string(audit), hash) != 2 {
		t.Errorf("the audit has not the session's hash in two lines:\n%s", audit)
	}
}

// newTap is a server before grid that shows see each request.
func newTap(t *testing.T, grid string, see func(r *http.Request, body string)) (url string) {
	t.Helper()
	var mu sync.Mutex
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		see(r, string(body))
		mu.Unlock()
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		forward(t, grid).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
