package conformance_test

import (
	"cmp"
	"encoding/base64"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gridsigner/bridge"
	"gridsigner/bridge/conformance"
	"gridsigner/bridge/gridsim"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// token is a JWT by its looks: the suite spoils it.
var token = "Bearer " + base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." +
	base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"alice"}`)) + "." + strings.Repeat("A", 86)

// grid starts a simulator.
func grid(t *testing.T) (string, gridsim.Seed) {
	t.Helper()
	sim, err := gridsim.New(gridsim.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	return server.URL, sim.Seed()
}

// front starts a server with the limits on slow and large requests that a
// bridge should have, if careful. They hold for every probe, so they are no
// shorter than a busy machine may stall; the tests wait for them side by side.
func front(t *testing.T, careful bool, h http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if careful {
		server.Config.ReadTimeout = 15 * time.Second // more than what is to be answered at once may take
		server.Config.MaxHeaderBytes = 32 << 10
	} else {
		server.Listener = &crowded{Listener: server.Listener, places: make(chan struct{}, 40)}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.URL
}

// crowded lets in so many at a time, and has all others wait.
type crowded struct {
	net.Listener
	places chan struct{}
}

func (l *crowded) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &guest{Conn: conn, leave: sync.OnceFunc(func() { <-l.places })}, nil
}

type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	g.leave()
	return g.Conn.Close()
}

func options(url string, seed gridsim.Seed) conformance.Options {
	return conformance.Options{
		URL: url + "/api/grid", Headers: []string{"Authorization: " + token}, Account: seed.AccountID,
		Secrets: []string{seed.ClientSecret}, Patience: time.Minute,
	}
}

// ourBridge is ours, with limits that the suite has to wait for now and then.
func ourBridge(t *testing.T, upstream string, seed gridsim.Seed) http.Handler {
	t.Helper()
	handler, err := bridge.New(bridge.Config{
		Upstream: upstream, ClientID: seed.ClientID, ClientSecret: bridge.NewSecret(seed.ClientSecret),
		Authenticate: func(r *http.Request) (bridge.User, error) {
			if !slices.Equal(r.Header["Authorization"], []string{token}) {
				return bridge.User{}, io.EOF
			}
			return bridge.User{ID: "alice", Accounts: []string{seed.AccountID}}, nil
		},
		AllowOrigins: []string{"https://friend.example"},
		Limits: bridge.Limits{
			User: bridge.Limit{Rate: 200, Per: time.Second, Burst: 50}, Address: bridge.Limit{Rate: 200, Per: time.Second, Burst: 200},
			SignIn: bridge.Limit{Rate: 20, Per: time.Second, Burst: 20},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func TestOurBridgePasses(t *testing.T) {
	t.Parallel()
	upstream, seed := grid(t)
	results, err := conformance.Run(t.Context(), options(front(t, true, ourBridge(t, upstream, seed)), seed))
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 100 {
		t.Errorf("%d checks, want at least 100", len(results))
	}
	for _, r := range results {
		if !r.OK {
			t.Errorf("%s: %s: %s", r.Group, r.Name, r.Detail)
		}
	}
}

// weakProxy is the proxy that samples show: it adds the credentials to whatever
// comes, for whoever comes, reflects origins, and is easy to debug.
func weakProxy(t *testing.T, upstream string, seed gridsim.Seed) http.Handler {
	t.Helper()
	target, err := url.Parse(upstream)
	if err != nil {
		t.Fatal(err)
	}
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	credentials := "Basic " + base64.StdEncoding.EncodeToString([]byte(seed.ClientID+":"+seed.ClientSecret))
	proxy := &httputil.ReverseProxy{
		ErrorLog: log.New(io.Discard, "", 0), Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Header.Set("Authorization", credentials)
		},
		ModifyResponse: func(r *http.Response) error { r.Header.Del("Date"); return nil },
	}
	mux := http.NewServeMux() // which cleans paths by redirects
	mux.Handle("/api/grid/", http.StripPrefix("/api/grid", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := strings.Join(r.Header["Origin"], ", "); origin != "" {
			w.Header().Set("Access-Control-Allow-Origin", origin)
			w.Header().Set("Access-Control-Allow-Credentials", "true")
			w.Header().Set("Access-Control-Allow-Private-Network", "true")
		}
		if len(r.Header["Traceparent"])+len(r.Header["Tracestate"])+len(r.Header["Baggage"]) > 0 {
			http.Error(w, "no trace is wanted here", http.StatusBadRequest)
			return
		}
		for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
			r.Method = cmp.Or(r.Header.Get(name), r.Method)
		}
		r.Method = cmp.Or(r.FormValue("_method"), r.Method)
		w.Header().Set("X-Powered-By", "proxy/1.0")
		w.Header()["Date"] = nil // none
		w.Header().Set("X-Debug", credentials+r.Header.Get("X-Probe"))
		proxy.ServeHTTP(w, r)
	})))
	for path, text := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/vars": "memstats", "/metrics": "# HELP", "/actuator/env": "propertySources", "/server-status": "Server Status", "/.env": "GRID_",
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, text) })
	}
	return mux
}

// TestWeakProxyFails wants every check to fail on a proxy that does everything
// wrong: one that cannot fail proves nothing. The exceptions are what Go's own
// server refuses before any proxy sees it, what Grid answers well, and a limit,
// which cannot be evaded where there is none.
func TestWeakProxyFails(t *testing.T) {
	t.Parallel()
	upstream, seed := grid(t)
	o := options(front(t, false, weakProxy(t, upstream, seed)), seed)
	o.Patience = time.Second
	results, err := conformance.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	good := []string{
		"malformed: a header name with space", "malformed: a header with NUL", "malformed: a header with a bare CR", "malformed: an escape that is none",
		"malformed: chunks of another name", "malformed: two Hosts", "malformed: two lengths",
		"trace: control characters in Baggage", "trace: control characters in Traceparent", "trace: control characters in Tracestate",
		"cross-site: reading, no site", "cross-site: reading, the app's own site", "headers: body where none belongs, GET",
		"crowd: 20 times the same at once", "crowd: a limit holds although addresses are made up",
		"ownership: ids that nobody has are answered alike", "ownership: ids that nobody has are answered alike, refreshing",
	}
	for _, r := range results {
		name := r.Group + ": " + r.Name
		if r.OK != slices.Contains(good, name) {
			t.Errorf("%s: ok %t: %s", name, r.OK, r.Detail)
		}
		if !r.OK && r.Detail == "" {
			t.Errorf("%s failed without saying why", name)
		}
	}
}

// TestForeignSession gives the suite an id of somebody else's, which Grid has.
func TestForeignSession(t *testing.T) {
	t.Parallel()
	const foreign = "Session:019542f5-b3e7-7d02-8000-000000000009"
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method != "GET" && !strings.Contains(r.URL.Path, foreign) {
			w.WriteHeader(404)
		}
		io.WriteString(w, `{"data":[]}`)
	}))
	t.Cleanup(upstream.Close)
	seed := gridsim.Seed{ClientID: "id", ClientSecret: "canary-secret", AccountID: "InternalAccount:019542f5-b3e7-7d02-8000-000000000001"}
	for name, v := range map[string]struct {
		bridge http.Handler
		ok     bool
	}{"ours": {ourBridge(t, upstream.URL, seed), true}, "weak": {weakProxy(t, upstream.URL, seed), false}} {
		o := options(front(t, false, v.bridge), seed)
		o.Foreign, o.Patience = foreign, time.Millisecond
		results, err := conformance.Run(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		asked := 0
		for _, r := range results {
			if strings.HasPrefix(r.Name, "another user's session") {
				asked++
				if r.OK != v.ok {
					t.Errorf("%s: %+v, want ok %t", name, r, v.ok)
				}
			}
		}
		if asked != 2 {
			t.Errorf("%s: %d checks of another user's session, want 2", name, asked)
		}
	}
}

// TestRateLimitedIsNotTested wants no check to pass because of a 429.
func TestRateLimitedIsNotTested(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 { // the first request is the one that has to work
			w.WriteHeader(429)
		}
	})
	o := options(front(t, false, busy), gridsim.Seed{ClientSecret: "canary-secret", AccountID: "InternalAccount:x"})
	o.Patience = time.Millisecond
	results, err := conformance.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.OK && (r.Group == "users" || r.Group == "traversal" || r.Group == "CORS") {
			t.Errorf("%s: %s passed on a bridge that only ever says 429", r.Group, r.Name)
		}
	}
}

func TestCannotRun(t *testing.T) {
	upstream, seed := grid(t)
	for name, change := range map[string]func(*conformance.Options){
		"wrong user":    func(o *conformance.Options) { o.Headers = nil },
		"no URL":        func(o *conformance.Options) { o.URL = "127.0.0.1" },
		"wrong session": func(o *conformance.Options) { o.Foreign = "1" },
		"no account":    func(o *conformance.Options) { o.Account = "" },
		"broken header": func(o *conformance.Options) { o.Headers = []string{"Authorization"} },
		"nobody there":  func(o *conformance.Options) { o.URL = "http://127.0.0.1:1" },
	} {
		o := options(upstream, seed) // without a bridge: needs other credentials
		change(&o)
		if results, err := conformance.Run(t.Context(), o); err == nil {
			t.Errorf("%s: %d results, want an error", name, len(results))
		}
	}
}
