package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
)

// TestOutage has Redis go away and come back.
func TestOutage(t *testing.T) {
	shared, now := redistest.Start(t), newClock()
	r := newReplica(t, "redis://"+shared.Addr, now.set)
	ctx := t.Context()
	whole := func() bool { return r.Consult(ctx, []bridge.Take{one("many")}, []bridge.Key{owner("0")}).Whole }
	mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	r.Save(ctx, bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: 24 * time.Hour})
	if !whole() || !r.Claim(ctx, mark, 24*time.Hour) {
		t.Fatal("it does not work to begin with")
	}
	r.awaits("")

	shared.Kill()
	for n := range 5 {
		if got := r.take(one("user")); (got.Refused == -1) != (n < 3) {
			t.Errorf("take %d = %+v, want three of the replica's own", n, got)
		}
	}
	got := r.told()
	if len(got) != 1 || got[0] != bridge.ReasonRefused && got[0] != bridge.ReasonHungUp {
		t.Errorf("events = %q, want one failure: Redis is left alone after it", got)
	}
	if value, ok := r.load(owner("1")); !ok || value != "v" || r.Claim(ctx, mark, time.Hour) {
		t.Error("what was saved here is lost")
	}
	if whole() {
		t.Error("without Redis it claims to know all")
	}
	r.Save(ctx, bridge.Entry{Key: owner("2"), Value: []byte("w"), Life: 24 * time.Hour})
	if value, ok := r.load(owner("2")); !ok || value != "w" {
		t.Error("what is saved without Redis is lost")
	}
	now.advance(time.Hour)
	for range 3 {
		r.take(one("many"))
	}
	r.awaits(bridge.ReasonRefused) // of the probe
	if got := r.told(); len(got) != 0 {
		t.Errorf("events = %q, want one of the probe", got)
	}

	shared.Restart()
	now.advance(restTime)
	whole()
	r.awaits("")
	if whole() {
		t.Error("right after an outage it claims to know all")
	}
	if got := r.take(one("user")); got.Refused != -1 {
		t.Errorf("take = %+v, want a shared one", got)
	}
	now.advance(graceTime)
	if whole() {
		t.Error("within its grace it claims to know all")
	}
	if log := r.log.String(); strings.Contains(log, "answers again") {
		t.Errorf("within its grace the log says\n%s", log)
	}
	now.advance(1)
	if !whole() {
		t.Error("after its grace it does not claim to know all")
	}
	whole()
	if log := r.log.String(); strings.Count(log, "Redis does not answer") != 1 || strings.Count(log, "Redis answers again") != 1 || strings.Count(log, "\n") != 2 {
		t.Errorf("the log does not tell the story:\n%s", log)
	}
	if got := r.told(); len(got) != 0 {
		t.Errorf("events = %q, want none while all is well", got)
	}
}

// TestHungRedis has Redis accept and never answer, and counts who waits for it.
func TestHungRedis(t *testing.T) {
	t.Parallel()
	now := newClock()
	w := newWire(t, redistest.Start(t).Addr)
	const waiting = 4
	r := newReplica(t, w.url, now.set, func(o *Options) { o.Timeout, o.PoolSize = 2*time.Second, 2*waiting })
	many := func() {
		for range 1000 {
			r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("0")})
		}
	}
	w.gate.Lock()
	var all sync.WaitGroup
	for range waiting {
		all.Go(func() { r.take(one("user")) })
		<-w.arrived
	}
	now.advance(2 * time.Second / 10)
	many() // nobody joins them
	if got := w.trips.Load(); got != waiting {
		t.Errorf("%d operations wait while it is not certain that Redis hangs, want %d", got, waiting)
	}
	all.Wait()
	timeouts := 0
	for _, e := range r.told() {
		if e == bridge.ReasonTimeout {
			timeouts++
		} else if e != bridge.ReasonBusy {
			t.Errorf("event = %q, want timeout or busy", e)
		}
	}
	if timeouts != waiting {
		t.Errorf("%d operations timed out, want %d", timeouts, waiting)
	}
	many()
	if got := w.trips.Load(); got != waiting || len(r.told()) != 0 {
		t.Errorf("%d operations wait while Redis hangs, want %d", got, waiting)
	}
	now.advance(restTime)
	many()
	r.awaits(bridge.ReasonTimeout)
	many()
	if got := w.trips.Load(); got != waiting+1 || len(r.told()) != 0 {
		t.Errorf("%d operations wait, want one more: the probe", got)
	}
	w.gate.Unlock()
	now.advance(restTime)
	many()
	r.awaits("")
	if got := r.take(one("fresh")); got.Refused != -1 || len(r.told()) != 0 {
		t.Errorf("take = %+v, want it to be shared again", got)
	}
}

// TestBusy has one connection, which is in use.
func TestBusy(t *testing.T) {
	t.Parallel()
	now := newClock()
	w := newWire(t, redistest.Start(t).Addr)
	r := newReplica(t, w.url, now.set, func(o *Options) { o.Timeout, o.PoolSize = 5*time.Second, 1 })
	r.take(one("user"))
	r.awaits("")
	for len(w.arrived) > 0 {
		<-w.arrived
	}
	w.gate.Lock()
	var all sync.WaitGroup
	all.Go(func() { r.take(one("user")) })
	<-w.arrived
	c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("0")})
	if c.Refused != -1 || c.Whole {
		t.Errorf("answer = %+v, want one of the replica's own, which is not whole", c)
	}
	if got := r.told(); !slices.Equal(got, []bridge.Reason{bridge.ReasonBusy}) {
		t.Errorf("events = %q, want %q", got, bridge.ReasonBusy)
	}
	w.gate.Unlock()
	all.Wait()
	r.awaits("")
	before := w.trips.Load()
	if c := r.take(one("user")); c.Refused != -1 || !c.Whole || w.trips.Load() != before+1 {
		t.Errorf("answer = %+v, want one of Redis's: it never failed", c)
	}
	if log := r.log.String(); log != "" {
		t.Errorf("log = %s, want nothing", log)
	}
}

// TestCrowd has a thousand clients on four connections, and a Redis that pauses.
func TestCrowd(t *testing.T) {
	t.Parallel()
	address := redistest.Start(t).Addr
	r := newReplica(t, "redis://"+address, func(o *Options) { o.Timeout, o.PoolSize = 10*time.Second, 4 })
	operator := redis.NewClient(&redis.Options{Addr: address})
	defer operator.Close()
	if err := operator.Do(t.Context(), "CLIENT", "PAUSE", "2500", "ALL").Err(); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			for j := range 10 {
				key := owner(fmt.Sprint(i, "-", j))
				r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{key})
				r.Save(t.Context(), bridge.Entry{Key: key, Value: []byte("v"), Life: time.Hour})
				if value, ok := r.load(key); !ok || value != "v" {
					t.Errorf("value = %q, want v", value)
				}
			}
		})
	}
	all.Wait()
	busy := 0
	for _, e := range r.told() {
		if e == bridge.ReasonBusy {
			busy++
		} else if e != "" {
			t.Errorf("event = %q, want no failure of Redis", e)
		}
	}
	if busy == 0 {
		t.Error("nobody waited too long: nothing is proven")
	}
	t.Logf("%d of 20,000 operations were done by this replica alone", busy)
	if c := r.take(one("last")); c.Refused != -1 || !c.Whole || r.log.String() != "" {
		t.Errorf("answer = %+v, log = %s; want a whole one, and nothing", c, r.log)
	}
}

// TestHalfARedis has every second operation fail for an hour: the log must not
// be told each time.
func TestHalfARedis(t *testing.T) {
	t.Parallel()
	now := newClock()
	r := newReplica(t, "redis://"+redistest.Start(t).Addr, now.set)
	for range 1800 {
		if !r.health.begin() {
			t.Fatal("Redis is left alone for longer than its rest")
		}
		r.health.end(bridge.ReasonTimeout)
		r.awaits(bridge.ReasonTimeout)
		now.advance(restTime)
		if r.health.begin() {
			t.Fatal("an operation is the probe")
		}
		r.awaits("")
		now.advance(restTime)
	}
	if got := r.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "does not answer") {
		t.Errorf("log =\n%s\nwant one line, that Redis does not answer", got)
	}
	now.advance(graceTime)
	r.take(one("user"))
	if got := r.log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "answers again") {
		t.Errorf("log =\n%s\nwant one more line, that Redis answers again", got)
	}
}

// TestRest has Redis fail: it is left alone for its rest, and then one probe asks it.
func TestRest(t *testing.T) {
	now := newClock()
	probes, goOn := make(chan struct{}, 10), make(chan bridge.Reason)
	r := newReplica(t, "redis://"+nobody(t), now.set)
	r.health.probe = func() bridge.Reason { probes <- struct{}{}; return <-goOn }
	r.health.begin()
	r.health.end(bridge.ReasonTimeout)
	r.awaits(bridge.ReasonTimeout)
	for range 2 {
		now.advance(restTime - 1)
		if r.health.begin() || r.health.probing {
			t.Fatal("Redis is not left alone")
		}
		now.advance(1)
		for range 3 {
			if r.health.begin() || !r.health.probing {
				t.Fatal("want a probe, and nobody else to ask Redis")
			}
		}
		<-probes
		goOn <- bridge.ReasonHungUp
		r.awaits(bridge.ReasonHungUp)
	}
	now.advance(restTime)
	r.health.begin()
	goOn <- ""
	r.awaits("")
	if !r.health.begin() || len(probes) != 1 {
		t.Error("want one probe a rest, and Redis to be asked after the one that succeeded")
	}
	r.health.end("")
}

// TestStall has operations begin while Redis answers nobody.
func TestStall(t *testing.T) {
	now := newClock()
	r := newReplica(t, "redis://"+nobody(t), now.set)
	h := &r.health
	enters := func(after time.Duration, want bool) {
		t.Helper()
		now.advance(after)
		if got := h.begin(); got != want {
			t.Errorf("it may ask Redis: %t, want %t", got, want)
		}
	}
	now.advance(time.Hour) // nobody asked, and nobody was answered
	enters(0, true)
	enters(h.stall-1, true)
	h.end("")
	r.awaits("")
	enters(h.stall-1, true)
	enters(1, false)
	r.awaits(bridge.ReasonBusy)
	h.end(bridge.ReasonBusy) // which found no connection: that is no answer
	r.awaits(bridge.ReasonBusy)
	enters(0, false)
	r.awaits(bridge.ReasonBusy)
	h.end("")
	r.awaits("")
	enters(h.stall, true) // of whom nobody is left
	h.end("")
	if got := r.told(); len(got) != 0 {
		t.Errorf("events = %q, want no more", got)
	}
}

// TestCloseLeavesNothing closes stores whose Redis is gone, and one that hangs.
func TestCloseLeavesNothing(t *testing.T) {
	hung := newWire(t, redistest.Start(t).Addr)
	hung.gate.Lock()
	defer hung.gate.Unlock()
	gone := nobody(t)
	before := goleak.IgnoreCurrent()

	now := newClock()
	r := newReplica(t, "redis://"+gone, now.set, func(o *Options) { o.PoolSize = 2 })
	r.take(one("user"))
	for range 10 { // more often than there are connections
		r.awaits(bridge.ReasonRefused)
		now.advance(restTime)
		r.take(one("user"))
	}
	r.Close()
	goleak.VerifyNone(t, before)

	r = newReplica(t, hung.url, now.set)
	var waiting sync.WaitGroup
	waiting.Go(func() { r.take(one("user")) })
	<-hung.arrived
	r.Close()
	waiting.Wait()
	if got := r.told(); len(got) != 0 || r.log.String() != "" {
		t.Errorf("events = %q, log = %s; want nothing: what Close cuts off is no failure", got, r.log)
	}

	r = newReplica(t, hung.url, now.set)
	r.health.begin()
	r.health.end(bridge.ReasonTimeout)
	now.advance(restTime)
	r.take(one("user"))
	<-hung.arrived // the probe
	r.told()
	r.health.mu.Lock()
	probing := r.health.probing
	r.health.mu.Unlock()
	if !probing {
		t.Error("there is no probe")
	}
	done := make(chan struct{})
	go func() { r.Close(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("Close waits for a Redis that hangs")
	}
	if c := r.take(one("user")); c.Refused != -1 || len(r.told()) != 0 {
		t.Errorf("after Close answer = %+v, want one of the replica's own, and no event", c)
	}
}
