package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// process is a command that runs through run, as main would start it.
type process struct {
	t      *testing.T
	lines  *bufio.Reader // of its standard output
	stderr lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a command until the test ends, and checks that it then stops in
// an orderly way.
func start(t *testing.T, env map[string]string, args ...string) *process {
	t.Helper()
	out, in := io.Pipe()
	p := &process{t: t, lines: bufio.NewReader(out)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := run(ctx, args, func(name string) string { return env[name] }, in, &p.stderr)
		in.CloseWithError(err)
		done <- err
	}()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		cancel()
		out.Close()
		if err := <-done; err != nil {
			t.Errorf("gridbridge %s: %v", strings.Join(args, " "), err)
		}
	})
	return p
}

// line waits for the next line of standard output.
func (p *process) line() string {
	p.t.Helper()
	line, err := p.lines.ReadString('\n')
	if err != nil {
		p.t.Fatalf("standard output: %v; standard error: %s", err, p.stderr.String())
	}
	return strings.TrimSuffix(line, "\n")
}

// ready decodes the line that --json prints.
func (p *process) ready() (r ready) {
	p.t.Helper()
	if err := json.Unmarshal([]byte(p.line()), &r); err != nil {
		p.t.Fatal(err)
	}
	return r
}

func TestCommandLine(t *testing.T) {
	none := func(string) string { return "" }
	tests := []struct {
		name   string
		args   []string
		err    string // "" for success
		stdout string
	}{
		{"nothing", nil, "no command", ""},
		{"unknown command", []string{"fly"}, `no command "fly"`, ""},
		{"help", []string{"-h"}, "", "simulate"},
		{"help of serve", []string{"serve", "-h"}, "", "-accounts-claim"},
		{"help of simulate", []string{"simulate", "--help"}, "", "-challenge-ttl"},
		{"simulate with fewer than no replies", []string{"simulate", "--processing-replies", "-1"}, "processing replies", ""},
		{"simulate with a negative limit", []string{"simulate", "--rate-limit", "-1"}, "rate limit", ""},
		{"simulate with passkeys for an address", []string{"simulate", "--rp-id", "127.0.0.1"}, "is an address", ""},
		{"simulate with codes that never were good", []string{"simulate", "--otp-ttl", "-1s"}, "negative", ""},
		{"help of demo", []string{"demo", "-h"}, "", "-web"},
		{"unknown flag", []string{"simulate", "--fly"}, "-fly", ""},
		{"argument", []string{"simulate", "now"}, "no argument beside its flags", ""},
		{"unknown profile", []string{"simulate", "--profile", "future"}, "future", ""},
		{"simulate beyond loopback", []string{"simulate", "--listen", "0.0.0.0:0"}, "not a loopback address", ""},
		{"simulate on every address", []string{"simulate", "--listen", ":0"}, "not a loopback address", ""},
		{"demo beyond loopback", []string{"demo", "--web", ".", "--listen", "192.0.2.1:0"}, "not a loopback address", ""},
		{"demo without files", []string{"demo", "--web", "testdata/none"}, "no built web files", ""},
		{"serve without users", []string{"serve"}, "no way to know the users", ""},
		{"serve with two ways to know them", []string{"serve", "--forward-auth", "https://a.example", "--issuer", "https://b.example"}, "two ways to know the users", ""},
		{"serve without an audience", []string{"serve", "--jwks", "none", "--issuer", "i"}, "audience is not set", ""},
		{"serve with an issuer that is no URL", []string{"serve", "--issuer", "i", "--audience", "a"}, "not an absolute URL", ""},
		{"serve with plain http to the app", []string{"serve", "--forward-auth", "http://app.example/"}, "must be https", ""},
		{"serve with unknown payloads", []string{"serve", "--payloads", "some"}, `payloads: "some" is neither all nor activities`, ""},
		{"demo with unknown payloads", []string{"demo", "--web", ".", "--listen", "127.0.0.1:0", "--payloads", "some"}, `payloads: "some" is neither all nor activities`, ""},
		{"serve without credentials", []string{"serve"}, "GRID_CLIENT_SECRET", ""},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			err := run(t.Context(), v.args, none, &stdout, &stderr)
			if (err == nil) != (v.err == "") || err != nil && !strings.Contains(err.Error(), v.err) {
				t.Errorf("error = %v, want one with %q", err, v.err)
			}
			if !strings.Contains(stdout.String(), v.stdout) {
				t.Errorf("standard output = %q, want %q in it", stdout.String(), v.stdout)
			}
		})
	}
}

func TestSimulateForPeople(t *testing.T) {
	p := start(t, nil, "simulate", "--listen", "localhost:0")
	first := p.line()
	fields := strings.Fields(first)
	url := fields[len(fields)-1]
	if !strings.HasPrefix(url, "http://127.0.0.1:") && !strings.HasPrefix(url, "http://[::1]:") || !strings.HasSuffix(url, gridPath) {
		t.Errorf("first line = %q, want the URL", first)
	}
	resp, err := http.Get(url + "/auth/sessions")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("status without credentials = %d, want 401", resp.StatusCode)
	}
}

// TestSimulateOutsideItsPath wants the error envelope of a Grid that has nothing
// there, also for what would be a route below the version path.
func TestSimulateOutsideItsPath(t *testing.T) {
	r := start(t, nil, "simulate", "--json").ready()
	origin := strings.TrimSuffix(r.URL, gridPath)
	for _, path := range []string{"", "/", "/auth/sessions", "/grid", "/grid/2024-01-01/auth/sessions", gridPath, gridPath + "x/auth/sessions", gridPath + "/none", "/grid%2F2025-10-13/auth/sessions"} {
		resp, body := fetch(t, "GET", origin+path, "", nil)
		var e struct {
			Status        int
			Code, Message string
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || resp.StatusCode != 404 || e.Status != 404 || e.Code == "" || e.Message == "" || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s = %d %s %q, want a 404 in an error envelope", path, resp.StatusCode, resp.Header.Get("Content-Type"), body)
		}
	}
}
