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
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if got := m.HeapAlloc; got > 5*storeBudget {
		t.Errorf("the heap holds %d bytes, want at most %d", got, 5*storeBudget)
	}
	if _, ok := s.load(ctx, "address:3999"); !ok {
		t.Error("the newest entry is gone")
	}
	if _, ok := s.load(ctx, "address:0"); ok {
		t.Error("the oldest entry is still there")
	}
	runtime.KeepAlive(s)
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
