package bridge_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// few lets three requests through, and one more a minute.
var few = bridge.Limit{Rate: 1, Per: time.Minute, Burst: 3}

// passes counts how many of n identical requests are not limited, and checks
// the refusals.
func (c *client) passes(n int, methodName, path, body string, lines ...string) (passed int) {
	c.t.Helper()
	for range n {
		got := c.send(methodName, path, body, lines...)
		if got.status != 429 {
			passed++
			continue
		}
		after, err := strconv.Atoi(got.header.Get("Retry-After"))
		if got.code != "BRIDGE_RATE_LIMITED" || err != nil || after < 1 || after > 60 {
			c.t.Errorf("refusal = %s with Retry-After %q, want BRIDGE_RATE_LIMITED with 1 to 60", got.code, got.header.Get("Retry-After"))
		}
	}
	return passed
}

const anyGet = "/auth/sessions?accountId=" + alice

func TestLimits(t *testing.T) {
	answer := respondJSON(200, `{}`)
	var now clock // stands still: what is spent does not come back
	limit := func(f func(*bridge.Limits)) func(*bridge.Config) {
		return func(c *bridge.Config) { f(&c.Limits); c.Now = now.time }
	}
	t.Run("address", func(t *testing.T) {
		c := newClient(t, newUpstream(t, answer).URL, limit(func(l *bridge.Limits) { l.Address = few }))
		if got := c.passes(5, "GET", anyGet, "", "Authorization: Bearer nobody"); got != 3 {
			t.Errorf("%d requests passed, want 3", got)
		}
	})
	t.Run("user", func(t *testing.T) {
		c := newClient(t, newUpstream(t, answer).URL, twoUsers, limit(func(l *bridge.Limits) { l.User = few }))
		if got := c.passes(5, "GET", anyGet, ""); got != 3 {
			t.Errorf("%d requests of Alice passed, want 3", got)
		}
		if got := c.passes(5, "GET", anyGet, "", "X-User: mallory"); got != 3 {
			t.Errorf("%d requests of Mallory passed, want 3", got)
		}
		now.advance(2 * time.Minute)
		if got := c.passes(5, "GET", anyGet, ""); got != 2 {
			t.Errorf("%d requests passed two minutes later, want 2", got)
		}
	})
	t.Run("sign-in", func(t *testing.T) {
		everyGuarded(t, func(t *testing.T, s sample) {
			c := newClient(t, newUpstream(t, answer).URL, limit(func(l *bridge.Limits) { l.SignIn = few }))
			if got := c.passes(5, "POST", s.path(s.id), s.body); got != 3 {
				t.Errorf("%d passed, want 3", got)
			}
			if got := c.passes(5, "GET", anyGet, ""); got != 5 {
				t.Errorf("%d other requests passed, want 5", got)
			}
		})
	})
	t.Run("sign-in, many addresses", func(t *testing.T) {
		c := newClient(t, newUpstream(t, answer).URL, twoUsers, limit(func(l *bridge.Limits) { l.SignIn = few }),
			func(c *bridge.Config) { c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
		passed := 0
		for i := range 5 {
			passed += c.passes(1, "POST", "/auth/credentials/"+email+"/challenge", "{}", "X-Forwarded-For: 192.0.2."+strconv.Itoa(i))
		}
		if passed != 3 {
			t.Errorf("%d requests of Alice passed, want 3", passed)
		}
		if got := c.passes(5, "POST", "/auth/credentials/"+email+"/challenge", "{}", "X-User: mallory", "X-Forwarded-For: 192.0.2.9"); got != 3 {
			t.Errorf("%d requests of Mallory passed, want 3", got)
		}
	})
	t.Run("sign-in, one address", func(t *testing.T) {
		c := newClient(t, newUpstream(t, answer).URL, twoUsers, limit(func(l *bridge.Limits) { l.SignIn, l.SignIns = few, bridge.Limit{Rate: 1, Per: time.Minute, Burst: 5} }))
		path := "/auth/credentials/" + email + "/challenge"
		if got := c.passes(9, "POST", path, "{}", "X-User: mallory"); got != 3 {
			t.Errorf("%d requests of Mallory passed, want 3", got)
		}
		if got := c.passes(9, "POST", path, "{}"); got != 2 { // what Mallory was refused did not cost the address
			t.Errorf("%d requests of Alice passed, want the 2 left of the address's 5", got)
		}
	})
	t.Run("attempts", func(t *testing.T) {
		everyGuarded(t, func(t *testing.T, s sample) {
			u := newUpstream(t, answer)
			c := newClient(t, u.URL, func(c *bridge.Config) {
				c.Authenticate = func(r *http.Request) (bridge.User, error) {
					own := map[string][]string{"": {alice, aliceToo}, "mallory": {mallory}, "bob": {alice}}
					return bridge.User{ID: "user-" + r.Header.Get("X-User"), Accounts: own[r.Header.Get("X-User")]}, nil
				}
			}, limit(func(l *bridge.Limits) { l.Attempts = few }))
			if got := c.passes(9, "POST", s.path(s.id), s.body, "X-User: mallory"); got != 9 {
				t.Errorf("%d of a stranger were not limited, want 9: they must not tell the owner's tokens", got)
			}
			if got := c.passes(2, "POST", s.path(s.id), s.body) + c.passes(2, "POST", s.path(s.id), s.body, "X-User: bob"); got != 3 {
				t.Errorf("%d of two owners passed, want 3", got)
			}
			u.tap.received()
			assertRefused(t, u, c.send("POST", s.path(s.id), s.body), 429, "BRIDGE_RATE_LIMITED")
			for _, id := range []string{email, method, alice, aliceToo} {
				if kind, _, _ := strings.Cut(s.id, ":"); id != s.id && strings.HasPrefix(id, kind) && c.passes(1, "POST", s.path(id), s.body) != 1 {
					t.Errorf("%s: limited, too", id)
				}
			}
			if got := c.passes(5, "GET", anyGet, ""); got != 5 {
				t.Errorf("%d other requests passed, want 5", got)
			}
		})
	})
}

// everyGuarded walks the requests that are limited more than others.
func everyGuarded(t *testing.T, f func(t *testing.T, s sample)) {
	everySample(t, func(t *testing.T, s sample) {
		if s.op == signer.OpChallengeCredential || s.op == signer.OpVerifyCredential && s.issued == "" || s.op == signer.OpExportWallet {
			f(t, s)
		}
	})
}

func TestAddress(t *testing.T) {
	handler := newClient(t, newUpstream(t, respondJSON(200, `{}`)).URL, func(c *bridge.Config) {
		c.Limits.Address, c.Now = bridge.Limit{Rate: 1, Per: time.Hour, Burst: 1}, new(clock).time
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48")}
	}).server.Config.Handler
	// Each request takes the one token of its address: fresh says whether it
	// was still there.
	for _, v := range []struct {
		name, remote string
		forwarded    []string
		fresh        bool
	}{
		{"first", "192.0.2.1:1", nil, true},
		{"other port", "192.0.2.1:2", nil, false},
		{"forwarded by a stranger", "192.0.2.1:1", []string{"192.0.2.2"}, false},
		{"other address", "192.0.2.2:1", nil, true},
		{"mapped", "[::ffff:192.0.2.2]:1", nil, false},
		{"behind a proxy", "10.0.0.1:1", []string{"192.0.2.3"}, true},
		{"behind another proxy", "10.0.0.2:1", []string{"192.0.2.3"}, false},
		{"what the client wrote first", "10.0.0.1:1", []string{"1.1.1.1, 192.0.2.3"}, false},
		{"in a line of its own", "10.0.0.1:1", []string{"1.1.1.2", "192.0.2.3"}, false},
		{"behind two proxies", "10.0.0.1:1", []string{"1.1.1.3, 192.0.2.3, 10.0.0.9"}, false},
		{"with a port", "10.0.0.1:1", []string{"192.0.2.3:567"}, false},
		{"with a port, fresh", "10.0.0.1:1", []string{"1.1.1.4, 192.0.2.4:567, 10.0.0.9:80"}, true},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db8:2::1]:5"}, true},
		{"behind a proxy, IPv6", "[2001:db8:f::1]:1", []string{"2001:db8:1::1"}, true},
		{"same /64", "[2001:db8:1::2]:1", nil, false},
		{"same /64, with a zone", "[2001:db8:1::3%eth0]:1", nil, false},
		{"other /64", "[2001:db8:1:1::1]:1", nil, true},
		{"proxy itself", "10.0.0.1:1", nil, true},
		{"proxy that sends nonsense", "10.0.0.1:1", []string{"unknown"}, false},
		{"no address", "@", nil, true},
		{"no address either", "", nil, false},
	} {
		r := httptest.NewRequest("GET", "/api/grid"+anyGet, nil)
		r.RemoteAddr = v.remote
		r.Header["X-Forwarded-For"] = v.forwarded
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if got := w.Code != 429; got != v.fresh {
			t.Errorf("%s: answer = %d, want a token left: %t", v.name, w.Code, v.fresh)
		}
	}
}

func TestLoadIsShed(t *testing.T) {
	reached, proceed := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-proceed
		w.WriteHeader(204)
	})
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Limits.InFlight = 2 })
	c.send("DELETE", "/auth/sessions/"+session+"0", "") // leaves its place when it is refused
	done := make(chan int)
	for range 2 {
		go func() { done <- c.send("DELETE", "/auth/sessions/"+session, "").status }()
		<-reached
	}
	if got := c.send("GET", anyGet, ""); got.status != 503 || got.code != "BRIDGE_OVERLOADED" || got.header.Get("Retry-After") == "" {
		t.Errorf("third request = %d %s, want 503 BRIDGE_OVERLOADED with Retry-After", got.status, got.code)
	}
	close(proceed)
	if a, b := <-done, <-done; a != 204 || b != 204 {
		t.Errorf("requests in flight = %d and %d, want 204", a, b)
	}
	if got := c.send("GET", anyGet, ""); got.status != 200 {
		t.Errorf("request afterwards = %d, want 200", got.status)
	}
}

func TestLimitText(t *testing.T) {
	for text, ok := range map[string]bool{
		"10/1s,30": true, "1/1m0s,1": true, "600/1h0m0s,600": true,
		"": false, "10": false, "10/1s": false, "0/1s,1": false, "1/0s,1": false, "1/1s,0": false, "1/8760h,1000": false, "1000000/1s,1000000": true, "-1/1s,1": false, "1/-1s,1": false, "a/1s,1": false, "1/1,1": false,
	} {
		var l bridge.Limit
		if err := l.UnmarshalText([]byte(text)); (err == nil) != ok || ok && l.String() != text {
			t.Errorf("%q: limit = %s, error = %v, want ok %t", text, l, err, ok)
		}
	}
}

// TestAddressBehindASocket believes X-Forwarded-For from whoever connects to a Unix socket if
// the operator says so, and from no other connection without an address.
func TestAddressBehindASocket(t *testing.T) {
	socket, tcp := &net.UnixAddr{Name: "/run/s", Net: "unix"}, &net.TCPAddr{}
	for _, v := range []struct {
		name      string
		trust     bool
		local     net.Addr
		remote    string
		forwarded []string
		want      string
	}{
		{"trusted", true, socket, "@", []string{"192.0.2.1"}, "192.0.2.1"},
		{"trusted, with what the client wrote first", true, socket, "@", []string{"1.1.1.1, 192.0.2.1"}, "192.0.2.1"},
		{"trusted, behind another proxy", true, socket, "", []string{"192.0.2.1, 10.0.0.1"}, "192.0.2.1"},
		{"trusted, and says nothing", true, socket, "@", nil, "invalid IP"},
		{"trusted, and says nonsense", true, socket, "@", []string{"unknown"}, "invalid IP"},
		{"not trusted", false, socket, "@", []string{"192.0.2.1"}, "invalid IP"},
		{"no socket", true, tcp, "@", []string{"192.0.2.1"}, "invalid IP"},
		{"TCP", true, tcp, "192.0.2.9:1", []string{"192.0.2.1"}, "192.0.2.9"},
	} {
		got := ""
		handler := newClient(t, newUpstream(t, nil).URL, func(c *bridge.Config) {
			c.TrustUnix, c.TrustedProxies = v.trust, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
			c.Authenticate = func(r *http.Request) (bridge.User, error) {
				got = bridge.ClientAddress(r.Context()).String()
				return bridge.User{}, bridge.ReasonNoToken
			}
		}).server.Config.Handler
		r := httptest.NewRequest("GET", "/api/grid"+anyGet, nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, v.local))
		r.RemoteAddr, r.Header["X-Forwarded-For"] = v.remote, v.forwarded
		handler.ServeHTTP(httptest.NewRecorder(), r)
		if got != v.want {
			t.Errorf("%s: the client is %q, want %q", v.name, got, v.want)
		}
	}
}
