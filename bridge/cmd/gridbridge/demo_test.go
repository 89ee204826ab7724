package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// siteFiles is a built site in small.
var siteFiles = map[string]string{
	"demo/index.html": "<!doctype html>page",
	"demo/demo.js":    "demo",
	"worker.js":       "worker",
	"signer.wasm":     "\x00asm",
	"signer.wasm.br":  "brotli",
	"signer.wasm.gz":  "gzip",
}

func writeSite(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "demo"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range siteFiles {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// fetch sends a request without following redirects or touching encodings.
func fetch(t *testing.T, method, url, body string, headers map[string]string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range headers {
		req.Header.Set(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	req.Close = true
	resp, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// signInAndRevoke does what the demo page does.
func signInAndRevoke(t *testing.T, r ready, profile string, key signingKey) {
	t.Helper()
	resp, body := fetch(t, "POST", r.Page+"login", `{"publicKey":"`+key.public+`"}`, map[string]string{"Content-Type": "application/json"})
	var login session
	if err := json.Unmarshal([]byte(body), &login); err != nil || resp.StatusCode != 200 {
		t.Fatalf("login = %d %q, %v", resp.StatusCode, body, err)
	}
	if login.AccountID != r.AccountID || login.CredentialID != r.CredentialID {
		t.Errorf("login = %+v, want the seeded account and credential", login)
	}
	base := strings.TrimSuffix(r.Page, "/demo/") + "/api/grid"
	api{t, base, login.AccessToken}.revokeOwnSession(profile, key, login.AccountID, login.CredentialID, login.OIDCToken)
}

func TestDemoRevokes(t *testing.T) {
	dir := writeSite(t)
	eachGeneration(t, func(t *testing.T, profile, curve string) {
		p := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", dir, "--profile", profile)
		r := p.ready()
		signInAndRevoke(t, r, profile, newKey(t, curve))
		if strings.Contains(p.stderr.String(), r.ClientSecret) {
			t.Errorf("the log holds the client secret:\n%s", p.stderr.String())
		}
	})
}

// TestDemoFollowsTheSimulatedClock signs in after the simulator's clock was
// moved by more than an OIDC token may be old.
func TestDemoFollowsTheSimulatedClock(t *testing.T) {
	r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", writeSite(t), "--control").ready()
	json := map[string]string{"Content-Type": "application/json"}
	clock := maps.Clone(json)
	clock["Authorization"] = "Basic " + base64.StdEncoding.EncodeToString([]byte(r.ClientID+":"+r.ClientSecret))
	if resp, body := fetch(t, "POST", r.URL+"/_sim/clock", `{"advanceSeconds":7200}`, clock); resp.StatusCode != 204 {
		t.Fatalf("clock = %d %q, want 204", resp.StatusCode, body)
	}
	signInAndRevoke(t, r, "modern", newKey(t, "P-256"))
}

func TestDemoSite(t *testing.T) {
	r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", writeSite(t)).ready()
	origin := strings.TrimSuffix(r.Page, "/demo/")
	_, port, err := net.SplitHostPort(strings.TrimPrefix(origin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, method, path string
		request            map[string]string
		status             int
		body               string            // "" for any
		want               map[string]string // response headers
	}{
		{"root", "GET", "/", nil, 302, "", map[string]string{"Location": "/demo/"}},
		{"page", "GET", "/demo/", nil, 200, siteFiles["demo/index.html"], map[string]string{
			"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": pagePolicy, "Cache-Control": "no-cache",
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
		}},
		{"worker", "GET", "/worker.js", nil, 200, "worker", map[string]string{
			"Content-Type": "text/javascript; charset=utf-8", "Content-Security-Policy": workerPolicy,
		}},
		{"wasm", "GET", "/signer.wasm", nil, 200, "\x00asm", map[string]string{
			"Content-Type": "application/wasm", "Content-Encoding": "", "Vary": "Accept-Encoding", "Content-Length": "4",
		}},
		{"wasm by brotli", "GET", "/signer.wasm", map[string]string{"Accept-Encoding": "gzip, deflate, br, zstd"}, 200, "brotli", map[string]string{
			"Content-Type": "application/wasm", "Content-Encoding": "br", "Vary": "Accept-Encoding", "Content-Length": "6",
		}},
		{"wasm by gzip", "GET", "/signer.wasm", map[string]string{"Accept-Encoding": "gzip;q=0.5, br;q=0"}, 200, "gzip", map[string]string{
			"Content-Type": "application/wasm", "Content-Encoding": "gzip",
		}},
		{"HEAD", "HEAD", "/demo/demo.js", nil, 200, "", map[string]string{"Content-Length": "4"}},
		{"POST", "POST", "/demo/", nil, 405, "", map[string]string{"Allow": "GET, HEAD"}},
		{"no file", "GET", "/nothing", nil, 404, "", nil},
		{"directory", "GET", "/demo", nil, 302, "", nil},
		{"upwards", "GET", "/../main.go", nil, 404, "", nil},
		{"upwards by escape", "GET", "/%2e%2e/%2e%2e%2fetc/passwd", nil, 404, "", nil},
		{"absolute", "GET", "//etc/passwd", nil, 404, "", nil},
		{"bridge without a user", "GET", "/api/grid/auth/sessions", nil, 401, "", nil},
		{"bridge, no route", "GET", "/api/grid", nil, 404, "", nil},
		{"simulator not in reach", "GET", gridPath + "/auth/sessions", nil, 404, "", nil},
		{"localhost", "GET", "/demo/", map[string]string{"Host": "localhost:" + port}, 200, "", nil},
		{"IPv6", "GET", "/demo/", map[string]string{"Host": "[::1]:" + port}, 200, "", nil},
		{"rebound name", "GET", "/demo/", map[string]string{"Host": "evil.example:" + port}, 421, "", nil},
		{"rebound name at the bridge", "GET", "/api/grid/auth/sessions", map[string]string{"Host": "evil.example"}, 421, "", nil},
		{"inbox", "GET", "/demo/inbox", nil, 200, `{"data":[]}` + "\n", map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store"}},
		{"config", "GET", "/demo/config", nil, 200, "", map[string]string{"Content-Type": "application/json"}},
		{"POST to the inbox", "POST", "/demo/inbox", nil, 405, "", map[string]string{"Allow": "GET"}},
		{"rebound name at the inbox", "GET", "/demo/inbox", map[string]string{"Host": "evil.example"}, 421, "", nil},
		{"rebound look-alike", "POST", "/demo/login", map[string]string{"Host": "localhost.evil.example"}, 421, "", nil},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			resp, body := fetch(t, v.method, origin+v.path, "", v.request)
			if resp.StatusCode != v.status || v.body != "" && body != v.body {
				t.Errorf("answer = %d %q, want %d %q", resp.StatusCode, body, v.status, v.body)
			}
			for name, want := range v.want {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}

	resp, _ := fetch(t, "GET", origin+"/signer.wasm", "", map[string]string{"Accept-Encoding": "br"})
	resp, body := fetch(t, "GET", origin+"/signer.wasm", "", map[string]string{"Accept-Encoding": "br", "If-None-Match": resp.Header.Get("ETag")})
	if resp.StatusCode != 304 || body != "" {
		t.Errorf("unchanged file = %d %q, want 304", resp.StatusCode, body)
	}
}

func TestDemoLoginRefuses(t *testing.T) {
	r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", writeSite(t)).ready()
	key := strings.Repeat("02", 33)
	json := map[string]string{"Content-Type": "application/json"}
	tests := []struct {
		name, method, body string
		headers            map[string]string
		status             int
	}{
		{"good", "POST", `{"publicKey":"` + key + `"}`, json, 200},
		{"GET", "GET", "", nil, 405},
		{"form", "POST", `{"publicKey":"` + key + `"}`, map[string]string{"Content-Type": "text/plain"}, 415},
		{"nonce", "POST", `{"nonce":"` + strings.Repeat("0a", 32) + `"}`, json, 200},
		{"no key", "POST", `{}`, json, 200},
		{"nonce in upper case", "POST", `{"nonce":"` + strings.Repeat("0A", 32) + `"}`, json, 400},
		{"key and nonce", "POST", `{"publicKey":"` + key + `","nonce":"` + strings.Repeat("0a", 32) + `"}`, json, 400},
		{"not hex", "POST", `{"publicKey":"` + key[1:] + `g"}`, json, 400},
		{"not JSON", "POST", `publicKey`, json, 400},
		{"too large", "POST", `{"publicKey":"` + key + `"` + strings.Repeat(" ", maxLogin) + `}`, json, 400},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			resp, body := fetch(t, v.method, r.Page+"login", v.body, v.headers)
			if resp.StatusCode != v.status {
				t.Errorf("answer = %d %q, want %d", resp.StatusCode, body, v.status)
			}
		})
	}
}

func TestDemoChoosesPort(t *testing.T) {
	taken, err := net.Listen("tcp", demoAddress)
	if err == nil {
		defer taken.Close() // else somebody else has it, which serves as well
	}
	r := start(t, nil, "demo", "--json", "--web", writeSite(t)).ready()
	if strings.HasSuffix(r.Page, ":8787/demo/") || !strings.HasPrefix(r.Page, "http://localhost:") {
		t.Errorf("page = %s, want a free port of localhost", r.Page)
	}
	var out bytes.Buffer
	address := strings.TrimSuffix(strings.TrimPrefix(r.Page, "http://"), "/demo/")
	err = run(t.Context(), []string{"demo", "--web", writeSite(t), "--listen", address}, func(string) string { return "" }, &out, &out)
	if err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("error with a taken port that was asked for = %v, want one", err)
	}
}
