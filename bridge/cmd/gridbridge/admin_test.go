package main

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
)

// serveEnv is a configuration that is good, of a Grid that is not there.
var serveEnv = map[string]string{"GRID_BASE_URL": "https://grid.example/grid/2025-10-13", "GRID_CLIENT_ID": "id", "GRID_CLIENT_SECRET": "canary-secret"}

func TestServeForOperators(t *testing.T) {
	p := start(t, serveEnv, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay", "0s", "--forward-auth", "https://app.example/whoami")
	base := strings.TrimPrefix(p.line(), "bridge listening on ")
	admin := strings.TrimPrefix(p.line(), "metrics and health on ")
	fetch(t, "GET", base+"/auth/sessions", "", nil)
	for path, want := range map[string]string{
		"/healthz": "ok\n", "/readyz": "ok\n",
		"/metrics": `gridbridge_requests_total{code="BRIDGE_UNAUTHENTICATED",method="GET",reason="no-token",route="/auth/sessions",status="401"} 1`,
	} {
		resp, body := fetch(t, "GET", admin+path, "", nil)
		if resp.StatusCode != 200 || !strings.Contains(body, want) || strings.Contains(body, "canary-secret") {
			t.Errorf("%s = %d %q, want %q", path, resp.StatusCode, body, want)
		}
		if resp, _ := fetch(t, "GET", strings.TrimSuffix(base, "/api/grid")+path, "", nil); resp.StatusCode != 404 {
			t.Errorf("%s for users = %d, want 404", path, resp.StatusCode)
		}
	}
	// Packages that the program has in it register some of these with
	// http.DefaultServeMux, whoever imports them.
	for _, path := range []string{
		"/debug/pprof/", "/debug/pprof/heap?debug=1", "/debug/pprof/goroutine?debug=2", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1", "/debug/pprof/trace",
		"/debug/vars", "/debug/requests", "/debug/events", "/debug", "/", "/config", "/env", "/quit",
	} {
		for _, listener := range []string{admin, strings.TrimSuffix(base, "/api/grid"), base} {
			resp, body := fetch(t, "GET", listener+path, "", nil)
			if resp.StatusCode != 404 || strings.Contains(body, "canary-secret") {
				t.Errorf("%s%s = %d %q, want 404", listener, path, resp.StatusCode, body)
			}
		}
	}
}

// TestServerLogHasNoAddresses has a server say what it says of clients.
func TestServerLogHasNoAddresses(t *testing.T) {
	var out lockedBuffer
	log := serverLog(slog.New(slog.NewTextHandler(&out, nil)))
	log.Print("http: TLS handshake error from 192.0.2.1:5: EOF")
	log.Print("http: panic serving [2001:db8::1]:5: it was\ngoroutine 1")
	log.Print("http: Accept error: too many open files")
	got := out.String()
	if strings.Contains(got, "192.0.2.1") || strings.Contains(got, "2001") || !strings.Contains(got, "panic serving it was") || !strings.Contains(got, "too many open files") {
		t.Errorf("log = %s", got)
	}
}

func TestConfigCheck(t *testing.T) {
	var out strings.Builder
	getenv := func(env map[string]string) func(string) string { return func(n string) string { return env[n] } }
	err := run(t.Context(), []string{"serve", "--config-check", "--forward-auth", newApp(t)}, getenv(serveEnv), &out, io.Discard)
	if err != nil || !strings.Contains(out.String(), "good") {
		t.Errorf("output = %q, error = %v", out.String(), err)
	}
	err = run(t.Context(), []string{"serve", "--config-check", "--allow-origin", "*", "--redis-url", "x", "--limit-address", "many", "--max-in-flight", "few",
		"--trusted-proxy", "nobody", "--drain-delay", "-1s", "--listen", "8080", "--admin-listen", "localhost"}, getenv(map[string]string{
		"GRID_BASE_URL": "http://grid.example", "GRIDBRIDGE_LIMIT_USER": "x",
	}), &out, io.Discard)
	for _, want := range []string{"no way to know the users", "is not an origin", "Redis URL", "upstream", "GRIDBRIDGE_LIMIT_USER", "GRID_CLIENT_ID", "GRID_CLIENT_SECRET",
		"--limit-address", "--max-in-flight", "--trusted-proxy", "--drain-delay", "--listen", "--admin-listen"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q in it", err, want)
		}
	}
	// What is missing once is one thing to mend.
	err = run(t.Context(), []string{"serve", "--config-check", "--forward-auth", "https://app.example/", "--redis-url", "redis://localhost"}, getenv(nil), &out, io.Discard)
	if err == nil || strings.Contains(err.Error(), "redisstore") {
		t.Errorf("error = %v, want that the credentials are missing, and nothing of Redis", err)
	}
}

// TestConfigCheckRefuses spoils a good configuration in one way at a time, and
// wants to read of that alone.
func TestConfigCheckRefuses(t *testing.T) {
	users := []string{"--forward-auth", newApp(t)}
	for _, v := range []struct {
		name string
		args []string
		want string // "" for a good configuration
	}{
		{"port-out-of-range", append(users, "--listen", "127.0.0.1:99999"), "--listen"},
		{"no-host", append(users, "--admin-listen", "no such host:80"), "--admin-listen"},
		{"same-address", append(users, "--listen", "127.0.0.1:8080", "--admin-listen", "127.0.0.1:8080"), "--admin-listen"},
		{"same-port-of-all", append(users, "--listen", ":8080", "--admin-listen", "127.0.0.1:8080"), "--admin-listen"},
		{"same-port-0", append(users, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"), ""},
		{"other-host", append(users, "--listen", "127.0.0.1:8080", "--admin-listen", "127.0.0.2:8080"), ""},
		{"named-port", append(users, "--listen", "localhost:http"), ""},
		{"nothing-in-flight", append(users, "--max-in-flight", "0"), "--max-in-flight"},
		{"less-in-flight", append(users, "--max-in-flight", "-1"), "--max-in-flight"},
		{"negative-connections", append(users, "--max-connections", "-1"), "--max-connections is negative"},
		{"negative-pool", append(users, "--redis-url", "redis://localhost", "--redis-pool", "-1"), "--redis-pool is negative"},
		{"addresses-in-a-form-unknown", append(users, "--log-address", "none"), `--log-address: "none"`},
		{"addresses-hashed", append(users, "--log-address", "hashed"), ""},
		{"no-users", nil, "no way to know the users"},
		{"half-of-oidc", []string{"--issuer", "https://login.example", "--jwks", "admin_test.go"}, "audience is not set"},
		{"app-that-is-no-url", []string{"--forward-auth", "app"}, "forward-auth URL"},
	} {
		t.Run(v.name, func(t *testing.T) {
			err := run(t.Context(), append([]string{"serve", "--config-check"}, v.args...), func(n string) string { return serveEnv[n] }, io.Discard, io.Discard)
			if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
				t.Fatalf("error = %v, want one with %q", err, v.want)
			}
			if err != nil && strings.Contains(err.Error(), "Authenticate is nil") {
				t.Errorf("error = %v, which says more than is wrong", err)
			}
		})
	}
}

// TestShutdownFinishesWhatIsInFlight stops a server while it answers: the
// client gets its answer, operators see that it is stopping, and only then does
// it end.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reached, proceed := make(chan struct{}), make(chan struct{})
	public := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-proceed
		io.WriteString(w, "answer")
	})
	var listeners []listener
	for _, h := range []http.Handler{public, adminHandler(ctx, newRegistry())} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, listener{Listener: ln, handler: h})
	}
	done := make(chan error, 1)
	go func() { done <- serveAll(ctx, slog.New(slog.DiscardHandler), time.Minute, nil, listeners...) }()
	answer := make(chan string, 1)
	go func() {
		_, body := fetch(t, "GET", origin(listeners[0]), "", nil)
		answer <- body
	}()
	<-reached
	if resp, _ := fetch(t, "GET", origin(listeners[1])+"/readyz", "", nil); resp.StatusCode != 200 {
		t.Errorf("readyz = %d, want 200", resp.StatusCode)
	}
	cancel()
	if resp, _ := fetch(t, "GET", origin(listeners[1])+"/readyz", "", nil); resp.StatusCode != 503 {
		t.Errorf("readyz while stopping = %d, want 503", resp.StatusCode)
	}
	select {
	case <-done:
		t.Error("the server ended with a request in flight")
	default:
	}
	close(proceed)
	if got := <-answer; got != "answer" {
		t.Errorf("answer = %q", got)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestDrain stops serve. Until the delay is over operators see that it is
// stopping, users are served, and no connection is kept for a next request.
func TestDrain(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	draining, drained := make(chan time.Duration), make(chan struct{})
	sys := system{func(n string) string { return serveEnv[n] }, in, io.Discard, func(d time.Duration) { draining <- d; <-drained }, time.Now, nil}
	done := make(chan error, 1)
	go func() {
		done <- serve(ctx, sys, []string{"--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay", "7s", "--forward-auth", "https://app.example/whoami"})
	}()
	p := &process{t: t, lines: bufio.NewReader(out)}
	base := strings.TrimPrefix(p.line(), "bridge listening on ")
	admin := strings.TrimPrefix(p.line(), "metrics and health on ")

	// keepAlive sends a request that does not ask for the connection to end.
	transport := new(http.Transport)
	defer transport.CloseIdleConnections()
	keepAlive := func() (status int, ends bool) {
		t.Helper()
		req, err := http.NewRequest("GET", base+"/auth/sessions", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return resp.StatusCode, resp.Close
	}
	if status, ends := keepAlive(); status != 401 || ends {
		t.Errorf("before: answer = %d, connection ends: %t; want 401 and no", status, ends)
	}
	cancel()
	if delay := <-draining; delay != 7*time.Second {
		t.Errorf("delay = %s, want 7s", delay)
	}
	if resp, _ := fetch(t, "GET", admin+"/readyz", "", nil); resp.StatusCode != 503 {
		t.Errorf("readyz while draining = %d, want 503", resp.StatusCode)
	}
	if resp, _ := fetch(t, "GET", admin+"/healthz", "", nil); resp.StatusCode != 200 {
		t.Errorf("healthz while draining = %d, want 200", resp.StatusCode)
	}
	for i, wantStatus := range []int{401, 401} { // on the connection there was, and on a new one
		if status, ends := keepAlive(); status != wantStatus || !ends {
			t.Errorf("draining, request %d: answer = %d, connection ends: %t; want %d and yes", i, status, ends, wantStatus)
		}
	}
	close(drained)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if conn, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(base, "http://"), bridge.DefaultPrefix)); err == nil {
		conn.Close()
		t.Error("it still listens")
	}
}
