package redisstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
)

// TestForged has somebody who can write to Redis, and has seen all of it, try to
// make a replica believe that a user owns something.
func TestForged(t *testing.T) {
	shared, now := redistest.Start(t), newClock()
	a := newReplica(t, "redis://"+shared.Addr, now.set)
	a.Save(t.Context(), bridge.Entry{Key: owner("own"), Value: []byte("PASSKEY"), Life: time.Hour})
	sealed, err := shared.Get(t.Context(), "gridbridge:owner:own").Result()
	if err != nil {
		t.Fatal(err)
	}
	flipped := func(i int) string {
		b := []byte(sealed)
		b[i] ^= 1
		return string(b)
	}
	stranger := newReplica(t, "redis://"+redistest.Start(t).Addr, now.set, func(o *Options) { o.Key = bridge.NewSecret("guess") })
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
			b := newReplica(t, "redis://"+shared.Addr, now.set)
			shared.Set(t.Context(), "gridbridge:owner:"+v.id, v.value, 0)
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
		shared.Set(t.Context(), "gridbridge:owner:own", sealed, 0)
		b := newReplica(t, "redis://"+shared.Addr, now.set)
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
		b := newReplica(t, "redis://"+shared.Addr, func(o *Options) { o.Prefix = "staging:" })
		shared.Set(t.Context(), "staging:owner:own", sealed, 0)
		if value, ok := b.load(owner("own")); ok {
			t.Errorf("value = %q, want none", value)
		}
	})
	t.Run("a set", func(t *testing.T) {
		shared.Del(t.Context(), "gridbridge:owner:own")
		shared.SAdd(t.Context(), "gridbridge:owner:own", sealed)
		b := newReplica(t, "redis://"+shared.Addr, now.set)
		if value, ok := b.load(owner("own")); ok {
			t.Errorf("value = %q, want none", value)
		}
	})
}
