package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gridsigner/bridge"
	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
)

// passes checks the bridge at url, with what is to be answered at once in six
// seconds: a busy machine may stall for some. It believes certificates of ca, a file, if there
// is one.
func passes(t *testing.T, url, account, token, ca string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t), "check", "--account", account, "--patience", "1m", "--json", url)
	cmd.Env = append(os.Environ(), "RUN_AS_GRIDBRIDGE=1", "GRIDBRIDGE_HEADER=Authorization: Bearer "+token, "SSL_CERT_FILE="+ca)
	var out, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		t.Errorf("%v: %s", err, &stderr)
	}
	var results []conformance.Result
	if err := json.Unmarshal([]byte(out.String()), &results); err != nil || len(results) < 100 {
		t.Errorf("%d results, %v", len(results), err)
	}
	tokens := 0
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s: %s", r.Group, r.Name, r.Detail)
		}
		if r.Group == "tokens" {
			tokens++
		}
	}
	if tokens < 15 {
		t.Errorf("%d checks of spoilt tokens, want at least 15", tokens)
	}
}

// TestCheck checks the bridge of this program, on the server of this program,
// and then something that is no bridge at all.
func TestCheck(t *testing.T) {
	t.Parallel() // it mostly waits for slow clients to be cut off
	r := start(t, nil, "demo", "--json", "--listen", "127.0.0.1:0", "--web", writeSite(t)).ready()
	resp, body := fetch(t, "POST", r.Page+"login", `{"publicKey":"`+strings.Repeat("02", 33)+`"}`, map[string]string{"Content-Type": "application/json"})
	var login session
	if err := json.Unmarshal([]byte(body), &login); err != nil || resp.StatusCode != 200 {
		t.Fatalf("login = %d %q, %v", resp.StatusCode, body, err)
	}
	passes(t, strings.TrimSuffix(r.Page, "/demo/")+bridge.DefaultPrefix, r.AccountID, login.AccessToken, "")

	sim, err := gridsim.New(gridsim.Config{ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	defer server.Close()
	env := map[string]string{"GRIDBRIDGE_HEADER": "Authorization: Basic aWQ6c2VjcmV0"}
	var out, stderr strings.Builder
	err = run(t.Context(), []string{"check", "--account", sim.Seed().AccountID, "--patience", "1s", server.URL}, func(name string) string { return env[name] }, &out, &stderr)
	if err == nil || !strings.Contains(err.Error(), "checks failed") || !strings.Contains(out.String(), "FAILED  cross-site") {
		t.Errorf("error = %v\n%s", err, out.String())
	}
}

// publicConfig is nginx as the README wants it in front of a bridge, but for TLS,
// and no more patient or talkative than the bridge.
const publicConfig = `daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events { worker_connections 512; }
http {
	access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
	server_tokens off;
	client_header_timeout 15s; proxy_request_buffering off;
	upstream bridge { server %s; keepalive 16; }
	server {
		listen %s;
		location / {
			%s
			proxy_pass http://bridge; proxy_http_version 1.1; proxy_next_upstream off;
			proxy_set_header Connection ""; proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
}
`

// behindNginx has nginx serve a bridge, and returns its address. bind is another host than the
// client's, which is not to be believed; "" for none, as by a socket.
func behindNginx(t *testing.T, bridge, bind string) (public string) {
	t.Helper()
	nginx := tool(t, "nginx", "nginx-light")
	dir, public := t.TempDir(), freeAddresses(t, 1)[0]
	config := filepath.Join(dir, "nginx.conf")
	if bind != "" {
		bind = "proxy_bind " + bind + ";"
	}
	if err := os.WriteFile(config, fmt.Appendf(nil, publicConfig, bridge, public, bind), 0o600); err != nil {
		t.Fatal(err)
	}
	newChild(t, public, nil, nginx, "-e", "stderr", "-p", dir, "-c", config)
	return public
}

// TestCheckOfServe checks the bridge in each way that users meet it.
func TestCheckOfServe(t *testing.T) {
	t.Parallel() // each mostly waits for slow clients to be cut off
	sim := start(t, nil, "simulate", "--json").ready()
	idp, jwks := appLogin(t, sim.Seed)
	login, err := idp.login(strings.Repeat("02", 33))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(t *testing.T, args ...string) (at string) {
		t.Helper()
		p := start(t, map[string]string{"GRID_BASE_URL": sim.URL, "GRID_CLIENT_ID": sim.ClientID, "GRID_CLIENT_SECRET": sim.ClientSecret},
			append([]string{"serve", "--jwks", jwks, "--issuer", "https://id.example", "--audience", demoAudience}, args...)...)
		return strings.TrimPrefix(p.line(), "bridge listening on ")
	}
	t.Run("ways", func(t *testing.T) { // the simulator outlives them
		for name, check := range map[string]func(t *testing.T){
			"alone": func(t *testing.T) {
				passes(t, serve(t, "--listen", "127.0.0.1:0"), sim.AccountID, login.AccessToken, "")
			},
			"behind nginx": func(t *testing.T) {
				at := serve(t, "--listen", "127.0.0.1:0", "--trusted-proxy", "127.0.0.2")
				address, path, _ := strings.Cut(strings.TrimPrefix(at, "http://"), "/")
				passes(t, "http://"+behindNginx(t, address, "127.0.0.2")+"/"+path, sim.AccountID, login.AccessToken, "")
			},
			"TLS": func(t *testing.T) {
				cert, key := newPair(t, "first")
				at := serve(t, "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key, "--prefix", "/wallet/grid")
				if !strings.HasPrefix(at, "https://127.0.0.1:") || !strings.HasSuffix(at, "/wallet/grid") {
					t.Errorf("listening on %s", at)
				}
				passes(t, at, sim.AccountID, login.AccessToken, cert)
			},
			"on a socket behind nginx": func(t *testing.T) {
				socket := filepath.Join(t.TempDir(), "s")
				at := serve(t, "--listen", "unix:"+socket, "--trusted-proxy", "unix")
				if at != "unix:"+socket+", below /api/grid" {
					t.Errorf("listening on %s", at)
				}
				passes(t, "http://"+behindNginx(t, "unix:"+socket, "")+bridge.DefaultPrefix, sim.AccountID, login.AccessToken, "")
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				check(t)
			})
		}
	})
}

// TestCheckLooksForCredentials finds the credentials in a file, and then in an
// answer.
func TestCheckLooksForCredentials(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("canary-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"GRID_CLIENT_ID": "id", "GRID_CLIENT_SECRET_FILE": file}
	for leak, want := range map[string]bool{"": false, "id": false, "canary-secret": true, "aWQ6Y2FuYXJ5LXNlY3JldA==": true, "63616e6172792d736563726574": true} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, leak) }))
		var out, stderr strings.Builder
		run(t.Context(), []string{"check", "--account", "InternalAccount:1", "--patience", "1ms", server.URL}, func(name string) string { return env[name] }, &out, &stderr)
		server.Close()
		found := regexp.MustCompile(`FAILED +every answer +no answer holds a credential`).MatchString(out.String())
		if found != want || out.Len() == 0 {
			t.Errorf("%q in every answer: found %t, want %t\n%s", leak, found, want, out.String())
		}
	}
}
