package bridge_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus"

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
	t.Run("cross-site requests cost the user nothing", func(t *testing.T) {
		c := newClient(t, newUpstream(t, answer).URL, limit(func(l *bridge.Limits) { l.Address = few }))
		c.passes(9, "DELETE", "/auth/sessions/"+session, "", "Sec-Fetch-Site: cross-site")
		if got := c.passes(3, "GET", anyGet, ""); got != 3 {
			t.Errorf("%d requests passed, want 3", got)
		}
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
		"": false, "10": false, "10/1s": false, "0/1s,1": false, "1/0s,1": false, "1/1s,0": false, "-1/1s,1": false, "1/-1s,1": false, "a/1s,1": false, "1/1,1": false,
	} {
		var l bridge.Limit
		if err := l.UnmarshalText([]byte(text)); (err == nil) != ok || ok && l.String() != text {
			t.Errorf("%q: limit = %s, error = %v, want ok %t", text, l, err, ok)
		}
	}
}

func openRedis(t *testing.T, address string) *bridge.Redis {
	t.Helper()
	r, err := bridge.OpenPatientRedis("redis://" + address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// metric reads one metric without labels.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestReplicas runs two bridges on one Redis: what one has seen the other knows.
func TestReplicas(t *testing.T) {
	shared := miniredis.RunT(t)
	var now clock
	later := func(d time.Duration) { // for the bridges, and for Redis, which has the buckets
		now.advance(d)
		shared.SetTime(now.time())
	}
	later(0)
	registry := prometheus.NewRegistry()
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	replica := func(change ...func(*bridge.Config)) *client {
		return newClient(t, u.URL, append(change, func(c *bridge.Config) {
			c.Redis, c.Now = openRedis(t, shared.Addr()), now.time
			c.Limits.User = bridge.Limit{Rate: 1, Per: time.Minute, Burst: 10}
		})...)
	}
	a, b := replica(func(c *bridge.Config) { c.Metrics = registry }), replica()

	signed := a.firstLeg(u, requestID) // 1 token
	if got := b.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("signed leg at the other replica = %d %s, want 204", got.status, got.body)
	}
	if sent := u.tap.received(); strings.Contains(sent, "accountId") {
		t.Errorf("the other replica looked up the owner again:\n%s", sent)
	}
	assertRefused(t, u, a.send("DELETE", "/auth/sessions/"+session, "", signed...), 409, "BRIDGE_SIGNATURE_REPLAYED")
	if passed := a.passes(6, "GET", anyGet, "") + b.passes(6, "GET", anyGet, ""); passed != 7 {
		t.Errorf("%d requests passed at both replicas, want the 7 left of 10", passed)
	}
	if got := metric(t, registry, "gridbridge_shared_up"); got != 1 {
		t.Errorf("gridbridge_shared_up = %v, want 1", got)
	}

	shared.Close()
	if got := a.passes(12, "GET", anyGet, ""); got != 10 {
		t.Errorf("%d requests passed without Redis, want the replica's own 10", got)
	}
	if up, failures := metric(t, registry, "gridbridge_shared_up"), metric(t, registry, "gridbridge_shared_failures_total"); up != 0 || failures != 1 {
		t.Errorf("gridbridge_shared_up = %v, failures = %v, want 0 and 1: Redis is left alone after a failure", up, failures)
	}
	later(time.Hour) // both the tokens' and Redis's rest
	signed = a.firstLeg(u, requestID)
	if got := a.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("signed leg without Redis = %d %s, want 204", got.status, got.body)
	}
	u.tap.received()
	assertRefused(t, u, a.send("DELETE", "/auth/sessions/"+session, "", signed...), 409, "BRIDGE_SIGNATURE_REPLAYED")
	b.send("GET", anyGet, "") // by which it learns that Redis is gone
	signed = a.firstLeg(u, strings.Replace(requestID, "7c4a", "0000", 1))
	if got := b.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("signed leg at the other replica without Redis = %d %s, want 204: it may be good", got.status, got.body)
	}
	u.tap.received()
	if got := b.send("DELETE", "/auth/sessions/"+session, "", "Grid-Wallet-Signature: AAAA", signed[1]); got.code != "BRIDGE_SIGNATURE_MALFORMED" {
		t.Errorf("nonsense at the other replica without Redis = %d %s, want BRIDGE_SIGNATURE_MALFORMED", got.status, got.code)
	}

	if err := shared.Restart(); err != nil {
		t.Fatal(err)
	}
	later(time.Hour)
	a.send("GET", anyGet, "")
	if got := metric(t, registry, "gridbridge_shared_up"); got != 1 {
		t.Errorf("gridbridge_shared_up = %v after Redis came back, want 1", got)
	}
	if log := a.log.String(); strings.Count(log, "Redis does not answer") != 1 || strings.Count(log, "Redis answers again") != 1 {
		t.Errorf("the log does not tell the story:\n%s", log)
	}
}

// dumpOf is all that a Redis holds, whole: its own Dump cuts long values.
func dumpOf(t *testing.T, shared *miniredis.Miniredis) (dump string) {
	t.Helper()
	for _, key := range shared.Keys() {
		value, err := shared.Get(key)
		if err != nil {
			t.Fatal(err)
		}
		dump += key + ": " + value + "\n"
	}
	return dump
}

// TestRedisHoldsNoCredential reads what Redis holds after a revocation.
func TestRedisHoldsNoCredential(t *testing.T) {
	shared := miniredis.RunT(t)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(c *bridge.Config) { c.Redis = openRedis(t, shared.Addr()) })
	signed := c.firstLeg(u, requestID)
	c.send("DELETE", "/auth/sessions/"+session, "", signed...)
	dump := dumpOf(t, shared)
	_, signatureValue, _ := strings.Cut(signed[0], ": ")
	for _, secret := range []string{requestID, signatureValue, "user-alice", "Bearer"} {
		if strings.Contains(dump, secret) {
			t.Errorf("Redis holds %q:\n%s", secret, dump)
		}
	}
	assertNoCanary(t, "Redis", dump)
}

func TestRedisURL(t *testing.T) {
	for _, url := range []string{"", "localhost:6379", "http://localhost", "redis://:" + canary + "@[", "%" + canary} {
		_, err := bridge.OpenRedis(url)
		if err == nil {
			t.Errorf("%q: error = nil, want one", url)
			continue
		}
		assertNoCanary(t, "the error", err.Error())
	}
}
