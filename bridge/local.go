package bridge

import (
	"context"
	"sync"
	"time"

	"gridsigner/bridge/internal/bounded"
)

// partBudget bounds each part of a [localStore], in bytes. Challenges, of which a user
// may have a few hundred of a kilobyte each, have more.
const (
	partBudget      = 8 << 20
	challengeBudget = 64 << 20
)

// localStore is the store of one process.
type localStore struct {
	now func() time.Time

	mu     sync.Mutex
	values map[Part]*bounded.Map[value]
	takes  map[Part]buckets
}

type value struct {
	bytes   []byte
	expires time.Time
}

// NewLocalStore returns a store of this process's own, which is what a bridge has by
// itself. Each part forgets what was used longest ago, once it is full.
func NewLocalStore(now func() time.Time) Store {
	s := &localStore{now: now, values: map[Part]*bounded.Map[value]{}, takes: map[Part]buckets{}}
	for _, part := range []Part{PartOwners, PartPasskeys, PartSpent, PartProcessing} {
		s.values[part] = bounded.New[value](partBudget)
	}
	s.values[PartChallenges] = bounded.New[value](challengeBudget)
	for _, part := range []Part{PartUsers, PartSignIn, PartSignIns, PartAttempts, PartPending} {
		s.takes[part] = buckets{bounded.New[time.Time](partBudget)}
	}
	return s
}

func (s *localStore) Consult(_ context.Context, takes []Take, keys []Key) Consulted {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, got := s.now(), Consulted{Refused: -1, Values: make([][]byte, len(keys)), Whole: true}
	for i, t := range takes {
		if wait, ok := s.takes[t.Key.Part].take(t.Key.ID, t.Limit, now); !ok {
			got.Refused, got.Wait = i, wait
			return got
		}
	}
	for i, key := range keys {
		if v, ok := s.values[key.Part].Get(key.ID); ok && now.Before(v.expires) {
			got.Values[i] = v.bytes
		}
	}
	return got
}

func (s *localStore) Save(_ context.Context, entries ...Entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range entries {
		s.values[e.Key.Part].Put(e.Key.ID, value{e.Value, s.now().Add(e.Life)}, len(e.Value))
	}
}

func (s *localStore) Claim(_ context.Context, key Key, life time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if v, ok := s.values[key.Part].Get(key.ID); ok && now.Before(v.expires) {
		return false
	}
	s.values[key.Part].Put(key.ID, value{expires: now.Add(life)}, 0)
	return true
}

func (s *localStore) Release(_ context.Context, key Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key.Part].Remove(key.ID)
}
