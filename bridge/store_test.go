package bridge

import (
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStoreIsBounded fills each part of a store with far more than it may hold.
func TestStoreIsBounded(t *testing.T) {
	before := Heap()
	s := newLocalStore(time.Now)
	ctx := t.Context()
	payload := []byte(strings.Repeat("x", 4<<10))
	for i := range 100_000 {
		key := "address:" + strconv.Itoa(i)
		s.take(ctx, key, Limit{1, time.Second, 1})
		s.claim(ctx, key, time.Hour)
		if i < 4_000 {
			s.save(ctx, key, append([]byte(nil), payload...), time.Hour)
		}
	}
	if grown := Heap() - before; grown > 4*storeBudget {
		t.Errorf("the heap grew by %d bytes, want at most %d", grown, 4*storeBudget)
	}
	if _, ok := s.load(ctx, "address:3999"); !ok {
		t.Error("the newest entry is gone")
	}
	if _, ok := s.load(ctx, "address:0"); ok {
		t.Error("the oldest entry is still there")
	}
	runtime.KeepAlive(s)
}

// TestStoreCountsWhatIsThere has marks come and go as often as would fill the
// store many times over: what is gone must not push out what stays.
func TestStoreCountsWhatIsThere(t *testing.T) {
	s := newLocalStore(time.Now)
	ctx := t.Context()
	if !s.claim(ctx, "kept", time.Hour) {
		t.Fatal("the first claim fails")
	}
	for range 2 * storeBudget / entryCost {
		s.claim(ctx, "mark", time.Hour)
		s.release(ctx, "mark")
	}
	if s.claim(ctx, "kept", time.Hour) {
		t.Error("a mark against replay is forgotten")
	}
	var g generations[int]
	for _, v := range []struct{ size, want int }{{10, entryCost + 10}, {1000, entryCost + 1000}, {0, entryCost}} {
		if g.put("key", 0, v.size); g.used != v.want {
			t.Errorf("after an entry of %d bytes used = %d, want %d", v.size, g.used, v.want)
		}
	}
	for range 2 {
		if g.remove("key"); g.used != 0 {
			t.Errorf("used = %d without an entry, want 0", g.used)
		}
	}
}

// TestBusyBucketIsKept lets one bucket stay in use while others fill the store
// four times over: it must not be forgotten, which would refill it.
func TestBusyBucketIsKept(t *testing.T) {
	now := time.Now()
	s := newLocalStore(func() time.Time { return now })
	limit := Limit{1, time.Hour, 1}
	if _, ok := s.take(t.Context(), "busy", limit); !ok {
		t.Fatal("the first token is refused")
	}
	for i := range 2 * storeBudget / entryCost {
		s.take(t.Context(), strconv.Itoa(i), limit)
		if i%1000 == 0 {
			if _, ok := s.take(t.Context(), "busy", limit); ok {
				t.Fatalf("the bucket was forgotten after %d others", i)
			}
		}
	}
}
