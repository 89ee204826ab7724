package bridge_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
	"gridsigner/bridge/internal/readme"
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
				passes(t, ln.Addr().String(), seed.AccountID)
			})
		}
	})
}

// TestEmbeddersProgram follows the README as somebody with a backend and nothing but Go, and
// looks at what comes of it: what the program is linked with, how large it is, and whether the
// conformance suite passes on it.
func TestEmbeddersProgram(t *testing.T) {
	t.Parallel()
	const most = 12_000_000
	source, err := os.ReadFile("testdata/embedder/main.go")
	if err != nil {
		t.Fatal(err)
	}
	readme.Hold(t, "README.md", "<!-- embedder: made by the tests -->\n", "<!-- end of embedder -->", "```go\n"+string(source)+"```\n")
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "<!-- run by bridge/embedding_test.go -->\n```sh\n")
	script, _, ok := strings.Cut(rest, "```")
	clone, err := filepath.Abs("..")
	if err != nil || !ok {
		t.Fatal("the README has no block of commands for a backend", err)
	}
	build, _, ok := strings.Cut(script, "./backend\n")
	if !ok {
		t.Fatalf("the last command does not start the program:\n%s", script)
	}
	dir := t.TempDir()
	in := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GRIDSIGNER="+clone, "GOFLAGS=-trimpath")
		return cmd
	}
	if out, err := in("sh", "-euc", build).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	info, err := os.Stat(filepath.Join(dir, "backend"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= most {
		t.Errorf("%d bytes, want fewer than %d", info.Size(), most)
	}
	out, err := in("go", "list", "-deps", ".").Output()
	if err != nil || !strings.Contains(string(out), "gridsigner/bridge\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, part := range []string{"redis", "prometheus", "opentelemetry", "jose", "identity", "telemetry"} {
		if strings.Contains(string(out), part) {
			t.Errorf("linked with something of %s", part)
		}
	}
	// What scanners of the backend look at: the modules of the program, all that are required, and the sums of what is downloaded.
	modules, err := in("go", "list", "-deps", "-f", "{{with .Module}}{{if not (or .Main .Replace)}}{{.Path}}{{end}}{{end}}", ".").Output()
	if own := slices.Compact(strings.Fields(string(modules))); err != nil || !slices.Equal(own, []string{"github.com/google/uuid", "github.com/decred/dcrd/dcrec/secp256k1/v4"}) {
		t.Errorf("it is linked with %q, %v", own, err)
	}
	required, err := in("go", "list", "-m", "all").Output()
	if err != nil {
		t.Fatal(err)
	}
	sums, err := os.ReadFile(filepath.Join(dir, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tool := range []string{"github.com/evanw/esbuild", "github.com/andybalholm/brotli", "github.com/alicebob/miniredis"} {
		if strings.Contains(string(required)+string(sums), tool) {
			t.Errorf("it sees the tool %s", tool)
		}
	}

	sim, err := gridsim.New(gridsim.Config{ClientSecret: canary})
	if err != nil {
		t.Fatal(err)
	}
	grid, seed := httptest.NewServer(sim), sim.Seed()
	defer grid.Close()
	address := freeAddress(t)
	backend := in("./backend")
	_, session, _ := strings.Cut(cookie, "=")
	backend.Env = append(backend.Env, "LISTEN="+address, "GRID_BASE_URL="+grid.URL, "GRID_CLIENT_ID="+seed.ClientID, "GRID_CLIENT_SECRET="+canary,
		"APP_SESSION="+session, "APP_ACCOUNT="+seed.AccountID)
	var stderr strings.Builder
	backend.Stderr = &stderr
	if err := backend.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		backend.Wait()
	}()
	defer func() {
		backend.Process.Kill()
		<-ended
	}()
	awaits(t, address, ended, &stderr)
	passes(t, address, seed.AccountID)
}

// freeAddress finds an address for a program. Its port is none that the system gives to whoever
// asks for any, as other tests do meanwhile.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		if ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", 20000+rand.IntN(12000))); err == nil {
			defer ln.Close()
			return ln.Addr().String()
		}
	}
	t.Fatal("no free port")
	return ""
}

// awaits returns once a program listens, and fails with what it said where it ended instead.
func awaits(t *testing.T, address string, ended <-chan struct{}, said *strings.Builder) {
	t.Helper()
	again, late := time.NewTicker(10*time.Millisecond), time.After(time.Minute)
	defer again.Stop()
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ended: // and so has whatever wrote to said
			t.Fatalf("it ended:\n%s", said)
		case <-late:
			t.Fatal(err)
		case <-again.C:
		}
	}
}

// passes holds the bridge at address against the conformance suite, as Alice.
func passes(t *testing.T, address, account string) {
	t.Helper()
	results, err := conformance.Run(t.Context(), conformance.Options{
		URL: "http://" + address + "/api/grid", Headers: []string{"Cookie: " + cookie}, Account: account, Secrets: []string{canary}, Patience: time.Minute,
	})
	if err != nil || len(results) < 200 {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s: %s", r.Group, r.Name, r.Detail)
		}
	}
}
