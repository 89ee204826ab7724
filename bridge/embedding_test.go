package bridge_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
)

const cookie = "app-session=of-alice"

// simulateGrid starts what the examples talk to, with Alice signed in to their app.
func simulateGrid() (seed gridsim.Seed, stop func()) {
	sim, err := gridsim.New(gridsim.Config{ClientSecret: canary})
	if err != nil {
		panic(err)
	}
	seed = sim.Seed()
	grid := httptest.NewServer(sim)
	for name, value := range map[string]string{"GRID_BASE_URL": grid.URL, "GRID_CLIENT_ID": seed.ClientID, "GRID_CLIENT_SECRET": canary} {
		os.Setenv(name, value)
	}
	_, value, _ := strings.Cut(cookie, "=")
	sessions[value] = bridge.User{ID: "alice", Accounts: []string{seed.AccountID}}
	return seed, func() {
		for _, name := range []string{"GRID_BASE_URL", "GRID_CLIENT_ID", "GRID_CLIENT_SECRET"} {
			os.Unsetenv(name)
		}
		grid.Close()
	}
}

// show asks an example's server three things.
func show(server *http.Server, seed gridsim.Seed) (answers string) {
	list := "/api/grid/auth/sessions?accountId=" + seed.AccountID
	for _, v := range []struct{ who, path, cookie string }{{"nobody", list, ""}, {"alice", list, cookie}, {"the app's page", "/", ""}} {
		r, w := httptest.NewRequest("GET", v.path, nil), httptest.NewRecorder()
		r.Header.Set("Cookie", v.cookie)
		server.Handler.ServeHTTP(w, r)
		text := strings.TrimSpace(w.Body.String())
		if _, code, ok := strings.Cut(text, `"code":"`); ok {
			text, _, _ = strings.Cut(code, `"`)
		}
		answers += fmt.Sprintf("%s: %d %s\n", v.who, w.Code, text)
	}
	return answers
}

// TestEmbedding holds both examples against the conformance suite, as they stand.
func TestEmbedding(t *testing.T) {
	seed, stop := simulateGrid()
	defer stop()
	t.Run("examples", func(t *testing.T) {
		for name, example := range map[string]func() (*http.Server, error){"alone": serveAlone, "with the app": serveWithApp} {
			server, err := example()
			if err != nil {
				t.Fatal(err)
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel() // it mostly waits for slow clients to be cut off
				ln, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				server.ErrorLog = discard
				go server.Serve(ln)
				defer server.Close()
				defer bridge.CloseIdle(server.Handler)
				results, err := conformance.Run(t.Context(), conformance.Options{
					URL: "http://" + ln.Addr().String() + "/api/grid", Headers: []string{"Cookie: " + cookie}, Account: seed.AccountID,
					Secrets: []string{canary}, Patience: time.Minute,
				})
				if err != nil || len(results) < 200 {
					t.Fatalf("%d results, %v", len(results), err)
				}
				for _, r := range results {
					if !r.OK {
						t.Errorf("%s: %s: %s", r.Group, r.Name, r.Detail)
					}
				}
			})
		}
	})
}

// TestEmbeddersProgram looks at what a backend is linked with that has a bridge in it, and
// how large that is.
func TestEmbeddersProgram(t *testing.T) {
	const most = 12_000_000
	program := filepath.Join(t.TempDir(), "embedder")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/embedder").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(program)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= most {
		t.Errorf("%d bytes, want fewer than %d", info.Size(), most)
	}
	out, err := exec.Command("go", "list", "-deps", "./testdata/embedder").Output()
	if err != nil || !strings.Contains(string(out), "gridsigner/bridge\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, part := range []string{"redis", "prometheus", "opentelemetry", "jose", "identity", "telemetry"} {
		if strings.Contains(string(out), part) {
			t.Errorf("linked with something of %s", part)
		}
	}
	t.Logf("%d bytes", info.Size())
}
