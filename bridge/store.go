package bridge

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// store is what one request leaves behind for later ones: challenges, marks
// against replay, owners and token buckets. Keys are made by the bridge, never
// by a client, and hold no secret in readable form.
//
// Losing an entry is always safe: a lost challenge is asked for again, a lost
// owner looked up again, and a replay that is let pass is refused by Grid, which
// takes each Request-Id once.
type store interface {
	// load returns the value that save was given for key.
	load(ctx context.Context, key string) ([]byte, bool)
	save(ctx context.Context, key string, value []byte, life time.Duration)

	// complete reports whether load sees what all replicas saved.
	complete() bool

	// claim reports whether it is the first for key since life or release.
	claim(ctx context.Context, key string, life time.Duration) bool
	release(ctx context.Context, key string)

	// take takes a token from the bucket of key, or says how long to wait.
	take(ctx context.Context, key string, l Limit) (wait time.Duration, ok bool)
}

// storeBudget bounds each of the three parts of a [localStore], in bytes.
const storeBudget = 8 << 20

// localStore is the store of one process.
type localStore struct {
	now func() time.Time

	mu      sync.Mutex
	values  generations[value]
	claims  generations[time.Time] // until when
	buckets generations[*rate.Limiter]
}

type value struct {
	bytes   []byte
	expires time.Time
}

func newLocalStore(now func() time.Time) *localStore {
	return &localStore{now: now}
}

func (s *localStore) load(_ context.Context, key string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.values.get(key)
	if !ok || !s.now().Before(v.expires) {
		return nil, false
	}
	return v.bytes, true
}

func (s *localStore) save(_ context.Context, key string, bytes []byte, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values.put(key, value{bytes, s.now().Add(life)}, len(bytes))
}

func (s *localStore) complete() bool { return true }

func (s *localStore) claim(_ context.Context, key string, life time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if until, ok := s.claims.get(key); ok && now.Before(until) {
		return false
	}
	s.claims.put(key, now.Add(life), 0)
	return true
}

func (s *localStore) release(_ context.Context, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims.remove(key)
}

func (s *localStore) take(_ context.Context, key string, l Limit) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	bucket, ok := s.buckets.get(key)
	if !ok {
		bucket = rate.NewLimiter(rate.Every(l.every()), l.Burst)
	}
	s.buckets.put(key, bucket, 0) // also if it was there: what is used stays young
	now := s.now()
	token := bucket.ReserveN(now, 1)
	wait := token.DelayFrom(now)
	if wait == 0 {
		return 0, true
	}
	token.CancelAt(now)
	return wait, false
}

// generations is a map that cannot grow beyond [storeBudget]. When the young
// half is full it becomes the old one, and the old one is dropped: an entry
// that is not put again lives for one to two fillings, and nothing is ever
// searched for what to drop. The zero value is empty.
type generations[V any] struct {
	young, old map[string]sized[V]
	used       int // bytes in young
}

type sized[V any] struct {
	value V
	size  int // bytes, with the entry's own
}

// entryCost is what a key and its place in the map take, about.
const entryCost = 256

func (g *generations[V]) get(key string) (V, bool) {
	v, ok := g.young[key]
	if !ok {
		v, ok = g.old[key]
	}
	return v.value, ok
}

// put sets the value of key, which has size bytes beside those of the entry.
func (g *generations[V]) put(key string, v V, size int) {
	size += entryCost
	g.used += size - g.young[key].size
	if g.young == nil || g.used > storeBudget/2 {
		g.old, g.young, g.used = g.young, map[string]sized[V]{}, size
	}
	g.young[key] = sized[V]{v, size}
}

func (g *generations[V]) remove(key string) {
	g.used -= g.young[key].size
	delete(g.young, key)
	delete(g.old, key)
}
