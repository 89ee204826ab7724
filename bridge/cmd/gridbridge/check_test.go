package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gridsigner/bridge"
	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
)

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
	env := map[string]string{"GRIDBRIDGE_HEADER": "Authorization: Bearer " + login.AccessToken}
	getenv := func(name string) string { return env[name] }
	var out, stderr strings.Builder
	url := strings.TrimSuffix(r.Page, "/demo/") + bridge.DefaultPrefix
	if err := run(t.Context(), []string{"check", "--account", r.AccountID, "--json", url}, getenv, &out, &stderr); err != nil {
		t.Errorf("error = %v\n%s", err, out.String())
	}
	var results []conformance.Result
	if err := json.Unmarshal([]byte(out.String()), &results); err != nil || len(results) < 100 {
		t.Errorf("%d results, %v", len(results), err)
	}

	sim, err := gridsim.New(gridsim.Config{ClientID: "id", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	defer server.Close()
	env = map[string]string{"GRIDBRIDGE_HEADER": "Authorization: Basic aWQ6c2VjcmV0"}
	out.Reset()
	err = run(t.Context(), []string{"check", "--account", sim.Seed().AccountID, "--patience", "1s", server.URL}, getenv, &out, &stderr)
	if err == nil || !strings.Contains(err.Error(), "checks failed") || !strings.Contains(out.String(), "FAILED  cross-site") {
		t.Errorf("error = %v\n%s", err, out.String())
	}
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
