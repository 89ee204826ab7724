package redisstore

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"gridsigner/bridge"
)

func TestReplicas(t *testing.T) {
	everyRedis(t, func(t *testing.T, address string) {
		a, b := newReplica(t, "redis://"+address), newReplica(t, "redis://"+address)
		ctx := t.Context()
		a.Save(ctx, bridge.Entry{Key: owner("1"), Value: []byte("a\x00\xff"), Life: time.Hour}, bridge.Entry{Key: owner("2"), Value: []byte{}, Life: time.Hour})
		got := b.Consult(ctx, nil, []bridge.Key{owner("0"), owner("1"), owner("2")})
		if got.Values[0] != nil || string(got.Values[1]) != "a\x00\xff" || got.Values[2] == nil || len(got.Values[2]) != 0 || !got.Whole || got.Refused != -1 {
			t.Errorf("the second replica sees %+v", got)
		}
		mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
		if !a.Claim(ctx, mark, time.Hour) || a.Claim(ctx, mark, time.Hour) || b.Claim(ctx, mark, time.Hour) {
			t.Error("want the first replica alone to have the mark, once")
		}
		a.Release(ctx, mark)
		if !b.Claim(ctx, mark, time.Hour) {
			t.Error("the second replica keeps a mark that was released")
		}
		if a.Claim(ctx, mark, time.Hour) {
			t.Error("the first replica has a mark of the second's")
		}
		if a, b := a.told(), b.told(); !slices.Equal(a, []bridge.Reason{""}) || !slices.Equal(b, []bridge.Reason{""}) {
			t.Errorf("events = %q and %q, want one success each", a, b)
		}
	})
}

func TestTakes(t *testing.T) {
	everyRedis(t, func(t *testing.T, address string) {
		a, b := newReplica(t, "redis://"+address), newReplica(t, "redis://"+address)
		first, second, third := one("first"), one("second"), one("third")
		second.Cost = 2
		if got := a.take(first, second, third); got.Refused != -1 || got.Wait != 0 {
			t.Errorf("answer = %+v, want all taken", got)
		}
		b.Save(t.Context(), bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
		got := a.Consult(t.Context(), []bridge.Take{first, second, third}, []bridge.Key{owner("0"), owner("1")})
		if got.Refused != 1 || got.Wait <= 59*time.Minute || got.Wait > time.Hour || got.Values[0] != nil || string(got.Values[1]) != "v" {
			t.Errorf("answer = %+v, want the second refused for an hour, and values all the same", got)
		}
		// Of the first two are gone, of the third one.
		for i, v := range []struct {
			t    bridge.Take
			left int
		}{{first, 1}, {one("second"), 1}, {third, 2}, {one("fresh"), 3}} {
			for n := range 4 {
				if got := b.take(v.t); (got.Refused == -1) != (n < v.left) {
					t.Errorf("bucket %d, take %d = %+v, want %d left", i, n, got, v.left)
				}
			}
		}
	})
}

// TestTakesComeBack takes from a bucket at random times, and from one that is known to
// be right.
func TestTakesComeBack(t *testing.T) {
	shared, now := miniredis.RunT(t), newClock()
	r, want := newReplica(t, "redis://"+shared.Addr(), now.set), newMemory(now.now)
	limit := bridge.Limit{Rate: 10, Per: time.Second, Burst: 7} // of which about 15 a second are wanted
	refused := 0
	for i := range 500 {
		now.advance(time.Duration(i*i*7919%300) * time.Millisecond)
		shared.SetTime(now.now())
		take := bridge.Take{Key: owner("1"), Limit: limit, Cost: 1 + i%3}
		got, want := r.take(take), want.Consult(t.Context(), []bridge.Take{take}, nil)
		if got.Refused != want.Refused || (got.Wait-want.Wait).Abs() > time.Microsecond {
			t.Fatalf("take %d = %d, wait %s; want %d, wait %s", i, got.Refused, got.Wait, want.Refused, want.Wait)
		}
		if got.Refused == 0 {
			refused++
		}
	}
	if refused < 50 || refused > 450 {
		t.Errorf("%d of 500 were refused: nothing is proven", refused)
	}
	if ttl := shared.TTL("gridbridge:" + owner("1").String()); ttl <= 0 || ttl > 700*time.Millisecond {
		t.Errorf("a bucket is kept for %s, want until it is full", ttl)
	}
}

// TestFastBucket has tokens come back faster than the clock ticks.
func TestFastBucket(t *testing.T) {
	shared, now := miniredis.RunT(t), newClock()
	shared.SetTime(now.now())
	r := newReplica(t, "redis://"+shared.Addr(), now.set)
	take := bridge.Take{Key: owner("1"), Limit: bridge.Limit{Rate: 2000, Per: time.Millisecond, Burst: 3}, Cost: 1}
	for n := range 4 {
		if got := r.take(take); (got.Refused == -1) != (n < 3) {
			t.Errorf("take %d = %+v, want three", n, got)
		}
	}
}

// TestNoLife keeps things for no time, which Redis takes for ever.
func TestNoLife(t *testing.T) {
	shared := miniredis.RunT(t)
	r := newReplica(t, "redis://"+shared.Addr())
	r.Claim(t.Context(), owner("1"), 0)
	r.Save(t.Context(), bridge.Entry{Key: owner("2"), Value: []byte("v"), Life: -1})
	for _, key := range shared.Keys() {
		if life := shared.TTL(key); life <= 0 || life > time.Millisecond {
			t.Errorf("%s is kept for %s", key, life)
		}
	}
	if _, ok := r.load(owner("2")); ok {
		t.Error("it is still there")
	}
}

// TestBucketsOfOthers has somebody else write to buckets.
func TestBucketsOfOthers(t *testing.T) {
	everyRedis(t, func(t *testing.T, address string) {
		r := newReplica(t, "redis://"+address)
		client := redis.NewClient(&redis.Options{Addr: address})
		defer client.Close()
		for _, v := range []string{"", "x", "nan", "-1", "1e300", "inf", "list"} {
			name := "gridbridge:" + one("user").Key.String()
			client.Del(t.Context(), name)
			if v == "list" {
				client.LPush(t.Context(), name, "x")
			} else {
				client.Set(t.Context(), name, v, 0)
			}
			if got := r.take(one("user")); got.Wait < 0 || got.Wait > 3*time.Hour {
				t.Errorf("%q: answer = %+v, want no longer wait than for a whole bucket", v, got)
			} else if life := client.PTTL(t.Context(), name).Val(); got.Refused == -1 && (life <= 0 || life > 3*time.Hour) {
				t.Errorf("%q: the token cost nothing: the bucket is kept for %s", v, life)
			}
			if got := r.told(); slices.ContainsFunc(got, func(r bridge.Reason) bool { return r != "" }) {
				t.Errorf("%q: events = %q, want no failure", v, got)
			}
		}
	})
}

func TestRoundTrips(t *testing.T) {
	everyRedis(t, func(t *testing.T, address string) {
		w := newWire(t, address)
		r, other := newReplica(t, w.url), newReplica(t, "redis://"+address)
		ctx := t.Context()
		trips := func(operation func()) int32 {
			before := w.trips.Load()
			operation()
			return w.trips.Load() - before
		}
		t.Logf("the first operation: %d round trips, with the handshake", trips(func() { r.take(one("user")) }))
		for i := range 4 {
			other.Save(ctx, bridge.Entry{Key: owner(fmt.Sprint(i)), Value: []byte("v"), Life: time.Hour})
		}
		keys, mark := []bridge.Key{owner("0"), owner("1"), owner("2")}, bridge.Key{Part: bridge.PartSpent, ID: "leg"}
		takes := []bridge.Take{one("user"), one("sign-in"), one("attempts")}
		for _, v := range []struct {
			name string
			want int32
			do   func()
		}{
			{"takes and keys", 1, func() { r.Consult(ctx, takes, keys) }},
			{"takes and keys that are known", 1, func() { r.Consult(ctx, takes, keys) }},
			{"keys that are known", 0, func() { r.Consult(ctx, nil, keys) }},
			{"a key that is not", 1, func() { r.Consult(ctx, nil, append(keys, owner("3"))) }},
			{"nothing", 0, func() { r.Consult(ctx, nil, nil); r.Save(ctx) }},
			{"entries", 1, func() {
				r.Save(ctx, bridge.Entry{Key: owner("5"), Value: []byte("v"), Life: time.Hour}, bridge.Entry{Key: owner("6"), Value: []byte("v"), Life: time.Hour})
			}},
			{"what was saved here", 0, func() { r.Consult(ctx, nil, []bridge.Key{owner("5"), owner("6")}) }},
			{"claim", 1, func() { r.Claim(ctx, mark, time.Hour) }},
			{"claim again", 0, func() { r.Claim(ctx, mark, time.Hour) }},
			{"release", 1, func() { r.Release(ctx, mark) }},
		} {
			if got := trips(v.do); got != v.want {
				t.Errorf("%s: %d round trips, want %d", v.name, got, v.want)
			}
		}
	})
}

// TestEcho has Redis lose what this replica has read: it knows it for a while.
func TestEcho(t *testing.T) {
	shared, now := miniredis.RunT(t), newClock()
	a, b := newReplica(t, "redis://"+shared.Addr(), now.set), newReplica(t, "redis://"+shared.Addr(), now.set)
	a.Save(t.Context(), bridge.Entry{Key: owner("long"), Value: []byte("v"), Life: time.Hour}, bridge.Entry{Key: owner("short"), Value: []byte("v"), Life: time.Second})
	b.Consult(t.Context(), nil, []bridge.Key{owner("long"), owner("short")})
	shared.FlushAll()
	for _, v := range []struct {
		after       time.Duration
		long, short bool
	}{{0, true, true}, {time.Second, true, false}, {echoLife - time.Second - 1, true, false}, {1, false, false}} {
		now.advance(v.after)
		if _, ok := b.load(owner("long")); ok != v.long {
			t.Errorf("at %s the long one is there: %t", now.now(), ok)
		}
		if _, ok := b.load(owner("short")); ok != v.short {
			t.Errorf("at %s the short one is there: %t", now.now(), ok)
		}
	}
	if _, ok := a.load(owner("long")); !ok {
		t.Error("the replica that saved it forgets as fast")
	}
}

// TestForged has somebody who can write to Redis, and has seen all of it, try to
// make a replica believe that a user owns something.
func TestForged(t *testing.T) {
	shared, now := miniredis.RunT(t), newClock()
	a := newReplica(t, "redis://"+shared.Addr(), now.set)
	a.Save(t.Context(), bridge.Entry{Key: owner("own"), Value: []byte("PASSKEY"), Life: time.Hour})
	sealed, err := shared.Get("gridbridge:owner:own")
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(i int) string {
		b := []byte(sealed)
		b[i] ^= 1
		return string(b)
	}
	stranger := newReplica(t, "redis://"+miniredis.RunT(t).Addr(), now.set, func(o *Options) { o.Key = bridge.NewSecret("guess") })
	foreign := string(seal(stranger.key, "gridbridge:owner:foe", []byte("PASSKEY"), now.now().Add(time.Hour)))
	unkeyed := string(seal(nil, "gridbridge:owner:foe", []byte("PASSKEY"), now.now().Add(time.Hour)))
	for name, v := range map[string]struct{ id, value string }{
		"made up":        {"foe", "PASSKEY"},
		"empty":          {"foe", ""},
		"short":          {"foe", strings.Repeat("x", sealSize-1)},
		"long":           {"foe", strings.Repeat("x", sealSize+7)},
		"another key's":  {"foe", sealed}, // as long as the other
		"another MAC":    {"foe", foreign},
		"no key":         {"foe", unkeyed},
		"cut":            {"own", sealed[:len(sealed)-1]},
		"longer":         {"own", sealed + "x"},
		"without a MAC":  {"own", sealed[32:]},
		"changed":        {"own", flipped(len(sealed) - 1)},
		"changed MAC":    {"own", flipped(0)},
		"longer to live": {"own", flipped(sealSize - 5)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newReplica(t, "redis://"+shared.Addr(), now.set)
			shared.Set("gridbridge:owner:"+v.id, v.value)
			for range 3 {
				if value, ok := b.load(owner(v.id)); ok {
					t.Errorf("value = %q, want none", value)
				}
			}
			if got := b.told(); len(got) < 3 || !slices.Contains(got, bridge.ReasonForged) || slices.ContainsFunc(got, func(r bridge.Reason) bool { return r != "" && r != bridge.ReasonForged }) {
				t.Errorf("events = %q, want %q each time", got, bridge.ReasonForged)
			}
			if got := b.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "no replica wrote") {
				t.Errorf("log = %q, want one line", got)
			}
			now.advance(graceTime + 1)
			b.load(owner(v.id))
			if got := b.log.String(); strings.Count(got, "\n") != 2 {
				t.Errorf("log = %q, want another line a minute later", got)
			}
		})
	}
	t.Run("put back", func(t *testing.T) {
		shared.Set("gridbridge:owner:own", sealed)
		b := newReplica(t, "redis://"+shared.Addr(), now.set)
		if value, ok := b.load(owner("own")); !ok || value != "PASSKEY" {
			t.Fatalf("value = %q, %t, want PASSKEY", value, ok)
		}
		now.advance(time.Hour)
		if value, ok := b.load(owner("own")); ok {
			t.Errorf("value = %q after its life, want none", value)
		}
		if got := b.told(); slices.Contains(got, bridge.ReasonForged) {
			t.Errorf("events = %q: a clock that runs ahead is no forger", got)
		}
	})
	t.Run("another bridge's", func(t *testing.T) {
		b := newReplica(t, "redis://"+shared.Addr(), func(o *Options) { o.Prefix = "staging:" })
		shared.Set("staging:owner:own", sealed)
		if value, ok := b.load(owner("own")); ok {
			t.Errorf("value = %q, want none", value)
		}
	})
	t.Run("a set", func(t *testing.T) {
		shared.Del("gridbridge:owner:own")
		shared.SAdd("gridbridge:owner:own", sealed)
		b := newReplica(t, "redis://"+shared.Addr(), now.set)
		if value, ok := b.load(owner("own")); ok {
			t.Errorf("value = %q, want none", value)
		}
	})
}

// TestOutage has Redis go away and come back.
func TestOutage(t *testing.T) {
	shared, now := miniredis.RunT(t), newClock()
	r := newReplica(t, "redis://"+shared.Addr(), now.set)
	ctx := t.Context()
	whole := func() bool { return r.Consult(ctx, []bridge.Take{one("many")}, []bridge.Key{owner("0")}).Whole }
	mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	r.Save(ctx, bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: 24 * time.Hour})
	if !whole() || !r.Claim(ctx, mark, 24*time.Hour) {
		t.Fatal("it does not work to begin with")
	}
	r.awaits("")

	shared.Close()
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

	if err := shared.Restart(); err != nil {
		t.Fatal(err)
	}
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
	w := newWire(t, miniredis.RunT(t).Addr())
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
	w := newWire(t, miniredis.RunT(t).Addr())
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
	address := redisServer(t)
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
	r := newReplica(t, "redis://"+miniredis.RunT(t).Addr(), now.set)
	for range 1800 {
		if !r.health.enter() {
			t.Fatal("Redis is left alone for longer than its rest")
		}
		r.health.leave(bridge.ReasonTimeout)
		r.awaits(bridge.ReasonTimeout)
		now.advance(restTime)
		if r.health.enter() {
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
	r := newReplica(t, "redis://"+miniredis.RunT(t).Addr(), now.set)
	r.health.probe = func() bridge.Reason { probes <- struct{}{}; return <-goOn }
	r.health.enter()
	r.health.leave(bridge.ReasonTimeout)
	r.awaits(bridge.ReasonTimeout)
	for range 2 {
		now.advance(restTime - 1)
		if r.health.enter() || r.health.probing {
			t.Fatal("Redis is not left alone")
		}
		now.advance(1)
		for range 3 {
			if r.health.enter() || !r.health.probing {
				t.Fatal("want a probe, and nobody else to ask Redis")
			}
		}
		<-probes
		goOn <- bridge.ReasonHungUp
		r.awaits(bridge.ReasonHungUp)
	}
	now.advance(restTime)
	r.health.enter()
	goOn <- ""
	r.awaits("")
	if !r.health.enter() || len(probes) != 1 {
		t.Error("want one probe a rest, and Redis to be asked after the one that succeeded")
	}
	r.health.leave("")
}

// TestStall has operations begin while Redis answers nobody.
func TestStall(t *testing.T) {
	now := newClock()
	r := newReplica(t, "redis://"+miniredis.RunT(t).Addr(), now.set)
	h := &r.health
	enters := func(after time.Duration, want bool) {
		t.Helper()
		now.advance(after)
		if got := h.enter(); got != want {
			t.Errorf("it may ask Redis: %t, want %t", got, want)
		}
	}
	now.advance(time.Hour) // nobody asked, and nobody was answered
	enters(0, true)
	enters(h.stall-1, true)
	h.leave("")
	r.awaits("")
	enters(h.stall-1, true)
	enters(1, false)
	r.awaits(bridge.ReasonBusy)
	h.leave(bridge.ReasonBusy) // which found no connection: that is no answer
	r.awaits(bridge.ReasonBusy)
	enters(0, false)
	r.awaits(bridge.ReasonBusy)
	h.leave("")
	r.awaits("")
	enters(h.stall, true) // of whom nobody is left
	h.leave("")
	if got := r.told(); len(got) != 0 {
		t.Errorf("events = %q, want no more", got)
	}
}

// TestClientGoesAway asks on behalf of a client that is gone.
func TestClientGoesAway(t *testing.T) {
	address := "redis://" + miniredis.RunT(t).Addr()
	a, b := newReplica(t, address), newReplica(t, address)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	a.Claim(gone, mark, time.Hour)
	a.Save(gone, bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
	if _, ok := b.load(owner("1")); !ok || b.Claim(t.Context(), mark, time.Hour) {
		t.Error("what it did is not shared")
	}
	if c := a.Consult(gone, []bridge.Take{one("user")}, nil); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v", c)
	}
	a.awaits("")
	if got := a.told(); len(got) != 0 {
		t.Errorf("events = %q, want no failure", got)
	}
}

// TestScriptIsLost has Redis restart, which forgets the script.
func TestScriptIsLost(t *testing.T) {
	everyRedis(t, func(t *testing.T, address string) {
		r := newReplica(t, "redis://"+address)
		client := redis.NewClient(&redis.Options{Addr: address})
		defer client.Close()
		for range 3 {
			if c := r.take(one("user")); c.Refused != -1 || !c.Whole {
				t.Errorf("answer = %+v", c)
			}
			if err := client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.told(); !slices.Equal(got, []bridge.Reason{""}) {
			t.Errorf("events = %q, want no failure", got)
		}
	})
}

func TestReasons(t *testing.T) {
	const secret = canary + "/+ %&"
	shared := miniredis.RunT(t)
	shared.RequireAuth("right")
	for want, v := range map[bridge.Reason]struct{ user, refusal string }{
		bridge.ReasonPassword:  {":" + url.QueryEscape(secret), ""},
		bridge.ReasonForbidden: {":right", "NOPERM this user has no permissions, " + secret},
		bridge.ReasonStatus:    {":right", "ERR " + secret},
	} {
		shared.SetError("")
		r := newReplica(t, "redis://"+v.user+"@"+shared.Addr())
		if v.refusal != "" {
			r.take(one("user")) // sign in first
			r.awaits("")
			shared.SetError(v.refusal)
		}
		r.take(one("user"))
		r.awaits(want)
		if text := r.log.String(); !strings.Contains(text, string(want)) || strings.Contains(text, canary) {
			t.Errorf("log = %s, want %q and not %q", text, want, secret)
		}
	}
}

// TestAnswerOfOthers has something answer that is no Redis: it must not have a replica
// reach beyond what it asked for.
func TestAnswerOfOthers(t *testing.T) {
	for name, reply := range map[string]string{
		"text":               "+OK\r\n",
		"nothing":            "*0\r\n",
		"no numbers":         "*3\r\n+a\r\n+b\r\n*1\r\n$-1\r\n",
		"no values":          "*3\r\n:-1\r\n:0\r\n:0\r\n",
		"too few values":     "*3\r\n:-1\r\n:0\r\n*0\r\n",
		"too many values":    "*3\r\n:-1\r\n:0\r\n*2\r\n$-1\r\n$-1\r\n",
		"a take too far":     "*3\r\n:1\r\n:0\r\n*1\r\n$-1\r\n",
		"a take before":      "*3\r\n:-2\r\n:0\r\n*1\r\n$-1\r\n",
		"a wait in the past": "*3\r\n:0\r\n:-1\r\n*1\r\n$-1\r\n",
		"a wait for ever":    "*3\r\n:0\r\n:9223372036854775807\r\n*1\r\n$-1\r\n",
	} {
		r := newReplica(t, answering(t, reply))
		c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")})
		if c.Refused != -1 || c.Wait != 0 || len(c.Values) != 1 || c.Whole {
			t.Errorf("%s: answer = %+v, want the replica's own", name, c)
		}
		if got := r.told(); len(got) != 1 || got[0] == "" {
			t.Errorf("%s: events = %q, want one failure", name, got)
		}
	}
	r := newReplica(t, answering(t, "*3\r\n:0\r\n:7000000\r\n*1\r\n$-1\r\n"))
	c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")})
	if c.Refused != 0 || c.Wait != 7*time.Second || !c.Whole {
		t.Errorf("answer = %+v, want a refusal for seven seconds", c)
	}
}

// TestRedisIsDialledOnce has no Redis listen. Time passes here only while
// somebody sleeps, as between two attempts.
func TestRedisIsDialledOnce(t *testing.T) {
	shared := miniredis.RunT(t)
	address := shared.Addr()
	shared.Close()
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "redis://"+address)
		start := time.Now()
		if c := r.take(one("user")); c.Refused != -1 || c.Whole {
			t.Errorf("answer = %+v, want the replica's own", c)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the request waited for %s", took)
		}
		r.awaits(bridge.ReasonRefused)
	})
}

// TestTLS has a Redis whose certificate is of 127.0.0.1 and not of localhost.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots) // read once, by whoever is first to verify
	shared, err := miniredis.RunTLS(&tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	defer shared.Close()
	r := newReplica(t, "rediss://"+shared.Addr())
	if c := r.take(one("user")); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v, want it shared", c)
	}
	r.awaits("")
	r = newReplica(t, "rediss://localhost:"+shared.Port())
	r.take(one("user"))
	r.awaits(bridge.ReasonTLS)
}

// TestPermissions gives a bridge what the package says it needs, and no more.
func TestPermissions(t *testing.T) {
	address := redisServer(t, "--user", "bridge", "on", ">right", "~gridbridge:*", "+evalsha", "+eval", "+mget", "+set", "+time", "+del",
		"--user", "reader", "on", ">right", "~gridbridge:*", "+evalsha", "+eval", "+mget", "+time")
	r := newReplica(t, "redis://bridge:right@"+address+"/0")
	if c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")}); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v", c)
	}
	r.Save(t.Context(), bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
	r.Claim(t.Context(), owner("2"), time.Hour)
	r.Release(t.Context(), owner("2"))
	if got := r.told(); !slices.Equal(got, []bridge.Reason{""}) {
		t.Errorf("events = %q, want no failure", got)
	}
	for _, v := range []struct {
		user, prefix string
		want         bridge.Reason
	}{
		{"bridge:" + canary, "", bridge.ReasonPassword},
		{"bridge:right", "other:", bridge.ReasonForbidden},
		{"reader:right", "", bridge.ReasonStatus}, // Redis 7 says so of a script
	} {
		r := newReplica(t, "redis://"+v.user+"@"+address, func(o *Options) { o.Prefix = v.prefix })
		r.take(one("user"))
		r.awaits(v.want)
		if text := r.log.String(); strings.Contains(text, canary) {
			t.Errorf("the log holds the password: %s", text)
		}
	}
}

// TestCloseLeavesNothing closes stores whose Redis is gone, and one that hangs.
func TestCloseLeavesNothing(t *testing.T) {
	hung := newWire(t, miniredis.RunT(t).Addr())
	hung.gate.Lock()
	defer hung.gate.Unlock()
	shared := miniredis.RunT(t)
	gone := shared.Addr()
	shared.Close()
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
	r.health.enter()
	r.health.leave(bridge.ReasonTimeout)
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

func TestOpen(t *testing.T) {
	open := func(url string, change ...func(*Options)) error {
		o := Options{URL: url, InsecureHosts: []string{"redis.internal"}, Key: bridge.NewSecret("k"), Local: newMemory(time.Now)}
		for _, f := range change {
			f(&o)
		}
		s, err := Open(o)
		if err == nil {
			s.Close()
		}
		return err
	}
	const good = "redis://localhost"
	for _, url := range []string{
		good, "redis://127.0.0.1:6379/3", "redis://[::1]:6379", "redis://redis.internal:6379", "rediss://user:" + canary + "@redis.example:6380/1", "rediss://redis.example",
	} {
		if err := open(url); err != nil {
			t.Errorf("%s: error = %v", url, err)
		}
	}
	for _, url := range []string{
		"", "localhost:6379", "http://localhost", "unix:///" + canary, "redis://:" + canary + "@[", "%" + canary, "redis:" + canary, "redis://", "redis://:6379",
		"redis://:" + canary + "@redis.example", "redis://u:" + canary + "@10.0.0.1:6379", "redis://localhost.evil.example", "redis://localhost/" + canary, "redis://localhost/0/1",
		"rediss://redis.example?skip_verify=true", "rediss://redis.example?x=" + canary, "rediss://redis.example#" + canary,
	} {
		err := open(url)
		if err == nil {
			t.Errorf("%s: error = nil, want one", url)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: error = %v quotes it", url, err)
		}
	}
	for name, change := range map[string]func(*Options){
		"no key":           func(o *Options) { o.Key = bridge.Secret{} },
		"empty key":        func(o *Options) { o.Key = bridge.NewSecret("") },
		"no local store":   func(o *Options) { o.Local = nil },
		"negative pool":    func(o *Options) { o.PoolSize = -1 },
		"negative timeout": func(o *Options) { o.Timeout = -1 },
	} {
		if open(good, change) == nil {
			t.Errorf("%s: error = nil, want one", name)
		}
	}
}
