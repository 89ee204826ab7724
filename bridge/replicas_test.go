package bridge_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
	"gridsigner/bridge/redisstore"
)

// openRedis returns the store of a bridge with config, on the Redis at address. Only one that is
// gone fails it: the machine may be busy.
func openRedis(t testing.TB, address string, config *bridge.Config) bridge.Store {
	t.Helper()
	now := config.Now
	if now == nil {
		now = time.Now
	}
	s, err := redisstore.Open(redisstore.Options{
		URL: "redis://" + address, Timeout: time.Minute, Key: bridge.NewSecret(canary), Local: bridge.NewLocalStore(now), Log: config.Log, Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestReplicas runs two bridges on one Redis: what one has seen the other knows.
func TestReplicas(t *testing.T) {
	shared := redistest.Start(t)
	var now clock
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	replica := func() *client {
		return newClient(t, u.URL, func(c *bridge.Config) {
			c.Now = now.time
			c.Store = openRedis(t, shared.Addr, c)
			c.Limits.User = bridge.Limit{Rate: 1, Per: time.Minute, Burst: 10} // by the clock of Redis, which is real: the next one is long after the test
		})
	}
	a, b := replica(), replica()

	signed := a.firstLeg(u, requestID) // 1 token
	if got := b.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("signed leg at the other replica = %d %s, want 204", got.status, got.body)
	}
	if sent := u.tap.received(); strings.Contains(sent, "accountId") {
		t.Errorf("the other replica looked up the owner again:\n%s", sent)
	}
	assertRefused(t, u, a.send("DELETE", "/auth/sessions/"+session, "", signed...), 409, "BRIDGE_SIGNATURE_REPLAYED")
	if passed := a.passes(6, "GET", anyGet, "") + b.passes(6, "GET", anyGet, ""); passed != 6 { // the look-up of the owner took one
		t.Errorf("%d requests passed at both replicas, want the 6 left of 10", passed)
	}
	shared.Kill()
	if got := a.passes(12, "GET", anyGet, ""); got != 10 {
		t.Errorf("%d requests passed without Redis, want the replica's own 10", got)
	}
	now.advance(time.Hour) // both the tokens' and Redis's rest
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
}

// dumpOf is all that a Redis holds.
func dumpOf(t *testing.T, shared *redistest.Redis) (dump string) {
	t.Helper()
	for _, key := range shared.Keys(t.Context(), "*").Val() {
		value, err := shared.Get(t.Context(), key).Result()
		if err != nil {
			t.Fatal(err)
		}
		dump += key + ": " + value + "\n"
	}
	return dump
}

// TestRedisHoldsNoCredential reads what Redis holds after a revocation.
func TestRedisHoldsNoCredential(t *testing.T) {
	shared := redistest.Start(t)
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(c *bridge.Config) { c.Store = openRedis(t, shared.Addr, c) })
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
