package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestServeReadsCredentialsAgain changes the secret's file under a running
// bridge: soon requests carry the new one.
func TestServeReadsCredentialsAgain(t *testing.T) {
	const account = "InternalAccount:019542f5-b3e7-7d02-8000-000000000001"
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"data":[],"seen":"%s:%s"}`, id, secret)
	}))
	defer upstream.Close()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Gridsigner-User", "alice")
		w.Header().Set("X-Gridsigner-Accounts", account)
	}))
	defer app.Close()
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	begin := time.Now()
	var passed atomic.Int64 // on the clock of serve
	env := map[string]string{"GRID_BASE_URL": upstream.URL, "GRID_CLIENT_ID": "id", "GRID_CLIENT_SECRET_FILE": file}
	sys := system{
		getenv: func(name string) string { return env[name] }, stdout: in, stderr: io.Discard, sleep: func(time.Duration) {},
		now: func() time.Time { return begin.Add(time.Duration(passed.Load())) },
	}
	done := make(chan error, 1)
	go func() { done <- serve(ctx, sys, []string{"--listen", "127.0.0.1:0", "--forward-auth", app.URL}) }()
	base := strings.TrimPrefix((&process{t: t, lines: bufio.NewReader(out)}).line(), "bridge listening on ")
	send := func() string {
		t.Helper()
		resp, body := fetch(t, "GET", base+"/auth/sessions?accountId="+account, "", map[string]string{"Cookie": "a=b"})
		if resp.StatusCode != 200 {
			t.Fatalf("answer = %d %s, want 200", resp.StatusCode, body)
		}
		return body
	}
	if got := send(); !strings.Contains(got, `"seen":"id:first"`) {
		t.Errorf("answer = %s, want the first", got)
	}
	write("second")
	passed.Add(int64(time.Minute))
	for deadline := time.Now().Add(time.Minute); !strings.Contains(send(), `"seen":"id:second"`); { // the first request has it read, and does not wait
		passed.Add(int64(time.Second)) // which the limit on requests counts
		if time.Now().After(deadline) {
			t.Fatal("the second is not in force after a minute")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
