package bridge_test

import ()

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
			c.Now = now.time
			c.Store = openRedis(t, shared.Addr(), c)
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
	c := newClient(t, u.URL, func(c *bridge.Config) { c.Store = openRedis(t, shared.Addr(), c) })
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
