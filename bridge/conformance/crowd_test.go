package conformance

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMadeUpAddresses limits nobody, everybody alike, and everybody by an address
// that they say is theirs.
func TestMadeUpAddresses(t *testing.T) {
	accidents := 0
	for name, v := range map[string]struct {
		client func(*http.Request) string // "" is not limited
		status int
		ok     bool
		detail string
	}{
		"no limit":             {func(r *http.Request) string { return "" }, 429, true, "no limit seen"},
		"of the connection":    {func(r *http.Request) string { return "peer" }, 429, true, ""},
		"of a server in front": {func(r *http.Request) string { return "peer" }, 503, true, ""},
		"of a header":          {func(r *http.Request) string { return "address " + r.Header.Get("X-Forwarded-For") }, 429, false, "made-up"},
		"that was an accident": {func(r *http.Request) string {
			if accidents++; accidents > 101 {
				return ""
			}
			return "peer"
		}, 503, true, "no steady limit"},
		"of another header": {func(r *http.Request) string { return "address " + r.Header.Get("Forwarded") }, 429, false, "made-up"},
	} {
		var mu sync.Mutex
		asked := map[string]int{}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			client := v.client(r)
			if asked[client]++; client != "" && asked[client] > 100 {
				w.WriteHeader(v.status)
				return
			}
			w.WriteHeader(401)
		}))
		target, err := newTarget(Options{URL: server.URL, Account: "InternalAccount:x"})
		if err != nil {
			t.Fatal(err)
		}
		got := target.madeUpAddresses(t.Context())
		server.Close()
		if got.OK != v.ok || !strings.Contains(got.Detail, v.detail) || v.detail == "" && got.Detail != "" {
			t.Errorf("a limit %s: %+v, want ok %t", name, got, v.ok)
		}
		total := 0
		for _, n := range asked {
			total += n
		}
		if total > 3*burst {
			t.Errorf("a limit %s: %d requests, want no more than %d", name, total, 3*burst)
		}
	}
}

// TestSlowIsNoLimit has the time run out before any answer.
func TestSlowIsNoLimit(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer server.Close()
	target, err := newTarget(Options{URL: server.URL, Account: "InternalAccount:x"})
	if err != nil {
		t.Fatal(err)
	}
	target.answerTimeout = 50 * time.Millisecond
	if got := target.madeUpAddresses(t.Context()); !got.OK || got.Detail != "no limit seen at 0 requests" {
		t.Errorf("%+v, want no limit seen", got)
	}
}

// TestAtOnce has some of the same requests fail.
func TestAtOnce(t *testing.T) {
	for name, v := range map[string]struct {
		answer func(n int) int
		ok     bool
	}{
		"answers all alike":      {func(n int) int { return 404 }, true},
		"fails at the second":    {func(n int) int { return 404 + 96*(n&1) }, false},
		"answers in two ways":    {func(n int) int { return 404 - 4*(n&1) }, false},
		"fails at all":           {func(n int) int { return 500 }, false},
		"is too busy for all":    {func(n int) int { return 429 }, false},
		"limits":                 {func(n int) int { return 404 + 25*(n&1) }, true},
		"gives what nobody owns": {func(n int) int { return 204 }, false},
	} {
		var mu sync.Mutex
		n := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			w.WriteHeader(v.answer(n))
			n++
		}))
		target, err := newTarget(Options{URL: server.URL, Account: "InternalAccount:x"})
		if err != nil {
			t.Fatal(err)
		}
		if got := target.atOnce(t.Context()); got.OK != v.ok || got.OK != (got.Detail == "") || n != alike {
			t.Errorf("a bridge that %s: %+v after %d requests, want ok %t after %d", name, got, n, v.ok, alike)
		}
		server.Close()
	}
}
