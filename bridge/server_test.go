package bridge_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
)

// TestServerLimitsSlowClients wants a limit on each thing that a client can do
// slowly. That they work is shown by gridbridge check.
func TestServerLimitsSlowClients(t *testing.T) {
	s := bridge.NewServer(nil)
	for name, limit := range map[string]time.Duration{"header": s.ReadHeaderTimeout, "read": s.ReadTimeout, "write": s.WriteTimeout, "idle": s.IdleTimeout} {
		if limit <= 0 || limit > time.Minute {
			t.Errorf("%s timeout = %s, want one of at most a minute", name, limit)
		}
	}
	if s.MaxHeaderBytes <= 0 || s.MaxHeaderBytes > 64<<10 {
		t.Errorf("at most %d bytes of header, want at most 64 KiB", s.MaxHeaderBytes)
	}
	if bridge.DefaultTimeout >= s.WriteTimeout-s.ReadTimeout {
		t.Errorf("Grid has %s to answer, which with reading leaves nothing of %s to write it", bridge.DefaultTimeout, s.WriteTimeout)
	}
}

// deadlines is a ResponseWriter that keeps the deadlines it is given.
type deadlines struct {
	*httptest.ResponseRecorder
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = t; return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = t; return nil }

// TestHandlerMakesItsDeadlines serves on servers that have none, or too short ones.
func TestHandlerMakesItsDeadlines(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	for _, v := range []struct {
		name         string
		server       *http.Server
		timeout      time.Duration
		method, path string
		body         string
		read, write  time.Duration // from now, 0 for none
	}{
		{"a body", &http.Server{}, 0, "POST", "/auth/credentials", `{"type":"EMAIL_OTP","accountId":"` + alice + `"}`, 15 * time.Second, 0},
		{"no body", &http.Server{}, 0, "GET", anyGet, "", 0, 0},
		{"NewServer's", bridge.NewServer(nil), 0, "GET", anyGet, "", 0, 0},
		{"NewServer's, and a Grid that takes longer", bridge.NewServer(nil), time.Minute, "GET", anyGet, "", 0, 90 * time.Second},
		{"one that is short", &http.Server{WriteTimeout: time.Second}, 0, "GET", anyGet, "", 0, 45 * time.Second},
	} {
		c := newClient(t, u.URL, func(config *bridge.Config) { config.Timeout = v.timeout })
		r := httptest.NewRequest(v.method, "/api/grid"+v.path, strings.NewReader(v.body))
		r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, v.server))
		r.Header.Set("Authorization", "Bearer alice")
		r.Header.Set("X-Gridsigner", "1")
		r.Header.Set("Content-Type", "application/json")
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		begin := time.Now()
		c.server.Config.Handler.ServeHTTP(w, r)
		if w.Code >= 300 {
			t.Errorf("%s: answer = %d %s", v.name, w.Code, w.Body)
		}
		took := time.Since(begin)
		for what, d := range map[string]struct {
			got  time.Time
			want time.Duration
		}{"read": {w.read, v.read}, "write": {w.write, v.write}} {
			switch in := d.got.Sub(begin); {
			case d.want == 0 && !d.got.IsZero():
				t.Errorf("%s: a deadline to %s in %s, want none", v.name, what, in)
			case d.want > 0 && (in < d.want || in > d.want+took):
				t.Errorf("%s: the deadline to %s is in %s, want %s", v.name, what, in, d.want)
			}
		}
	}
}

// TestApp has an app's own router answer all but what is below the prefix, whose paths it must
// not touch.
func TestApp(t *testing.T) {
	u := newUpstream(t, nil)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "the app: "+r.URL.Path) })
	c := newClient(t, u.URL, func(config *bridge.Config) { config.App = mux })
	for path, want := range map[string]int{
		"/": 200, "/api/gridlock": 200, "/api": 200, "/api/other/x": 200, "//api/grid/auth/sessions": 307,
		"/api/grid": 404, "/api/grid/": 404, "/api/grid//auth/sessions": 404, "/api/grid/../x": 404, "/api/grid/%2e%2e/x": 404, "/api/grid/auth/sessions/..%2fx": 405, "/api/grid" + anyGet: 200,
	} {
		got := c.raw("GET " + path + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\n\r\n")
		ours := got.header.Get("X-Correlation-Id") != ""
		if got.status != want || ours != (strings.HasPrefix(path, "/api/grid") && path != "/api/gridlock") {
			t.Errorf("%s = %d %q by the bridge %t, want %d", path, got.status, got.body, ours, want)
		}
	}
}
