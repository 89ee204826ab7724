package bridge

import (
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestPartsPushNothingOutOfOthers fills each part of a store, and sees that it lost its own
// oldest and nobody else's.
func TestPartsPushNothingOutOfOthers(t *testing.T) {
	var now = time.Now()
	parts := []Part{PartOwners, PartChallenges, PartPasskeys, PartSpent, PartProcessing}
	limited := []Part{PartUsers, PartSignIn, PartSignIns, PartAttempts, PartPending}
	once := Limit{1, time.Hour, 1}
	for _, full := range append(parts, limited...) {
		t.Run(string(full), func(t *testing.T) {
			s := NewLocalStore(func() time.Time { return now })
			ctx := t.Context()
			before := Heap()
			for _, part := range parts {
				s.Save(ctx, Entry{Key{part, "victim"}, []byte("kept"), time.Hour})
			}
			for _, part := range limited {
				s.Consult(ctx, []Take{{Key{part, "victim"}, once}}, nil)
			}
			big := make([]byte, 4<<10)
			for i := range 40_000 {
				id := strconv.Itoa(i)
				if _, ok := s.(*localStore).takes[full]; ok {
					s.Consult(ctx, []Take{{Key{full, id}, once}}, nil)
				} else {
					s.Save(ctx, Entry{Key{full, id}, big, time.Hour})
				}
			}
			if grown := Heap() - before; grown > 2*challengeBudget {
				t.Errorf("the heap grew by %d bytes", grown)
			}
			for _, part := range parts {
				if got := s.Consult(ctx, nil, []Key{{part, "victim"}}).Values[0]; (got == nil) != (part == full) {
					t.Errorf("%s is full: of %s the oldest is %q", full, part, got)
				}
			}
			for _, part := range limited {
				if got := s.Consult(ctx, []Take{{Key{part, "victim"}, once}}, nil); (got.Refused < 0) != (part == full) {
					t.Errorf("%s is full: the bucket in %s is full again: %t", full, part, got.Refused < 0)
				}
			}
			runtime.KeepAlive(s)
		})
	}
}

// TestBusyBucketIsKept lets one bucket stay in use while others fill the store
// four times over: it must not be forgotten, which would refill it.
func TestBusyBucketIsKept(t *testing.T) {
	now := time.Now()
	s := NewLocalStore(func() time.Time { return now })
	take := func(id string) bool {
		return s.Consult(t.Context(), []Take{{Key{PartUsers, id}, Limit{1, time.Hour, 1}}}, nil).Refused < 0
	}
	if !take("busy") {
		t.Fatal("the first token is refused")
	}
	for i := range 100_000 {
		take(strconv.Itoa(i))
		if i%1000 == 0 && take("busy") {
			t.Fatalf("the bucket was forgotten after %d others", i)
		}
	}
}
