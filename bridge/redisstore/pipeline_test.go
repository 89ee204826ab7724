package redisstore

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
)

// TestTogether has more requests ask, while the one connection is in use, than go at once:
// they go in two trips, each gets what is its own, and what Redis refuses to one of them
// is no failure of the others'.
func TestTogether(t *testing.T) {
	t.Parallel()
	now := newClock()
	w := newWire(t, redistest.Start(t).Addr)
	onlyOne := func(o *Options) { o.PoolSize = 1 }
	other, r := newReplica(t, w.url, now.set), newReplica(t, w.url, now.set, onlyOne)
	const asking = mostTogether + 1
	for i := range asking - 2 {
		other.Save(t.Context(), bridge.Entry{Key: owner(fmt.Sprint(i)), Value: fmt.Append(nil, i), Life: time.Hour})
	}
	spent := bridge.Key{Part: bridge.PartSpent, ID: "x"}
	other.Claim(t.Context(), spent, time.Hour)
	r.take(one("user"))
	r.awaits("")
	for len(w.arrived) > 0 {
		<-w.arrived
	}
	w.gate.Lock()
	var all sync.WaitGroup
	all.Go(func() { r.take(one("user")) })
	<-w.arrived
	for i := range asking - 2 {
		all.Go(func() {
			if value, ok := r.load(owner(fmt.Sprint(i))); !ok || value != fmt.Sprint(i) {
				t.Errorf("value %d = %q", i, value)
			}
		})
	}
	all.Go(func() {
		if r.Claim(t.Context(), spent, time.Hour) {
			t.Error("another replica's mark can be claimed")
		}
	})
	all.Go(func() {
		err := r.redis.do(t.Context(), func(p redis.Pipeliner) { p.Do(t.Context(), "NONE") })
		if _, ok := errors.AsType[redis.Error](err); !ok {
			t.Errorf("error = %v, want Redis's", err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		r.redis.mu.Lock()
		n := len(r.redis.waiting)
		r.redis.mu.Unlock()
		if n == asking {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d wait, want %d", n, asking)
		}
	}
	before := w.trips.Load()
	w.gate.Unlock()
	all.Wait()
	if got := w.trips.Load() - before; got != 2 {
		t.Errorf("%d round trips, want 2", got)
	}
	if got := r.told(); len(got) != 0 {
		t.Errorf("events = %q, want none", got)
	}
	before = w.trips.Load()
	if c := r.take(one("user")); !c.Whole || w.trips.Load() != before+1 {
		t.Errorf("answer = %+v, want Redis's: the connection is free again", c)
	}
}
