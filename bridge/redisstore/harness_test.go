package redisstore

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/time/rate"

	"gridsigner/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// canary stands for what must not be seen anywhere.
const canary = "c4n4ry"

// replica is a store and what it told.
type replica struct {
	*Store
	t      *testing.T
	events chan bridge.Reason
	log    *lines
}

// lines is a log that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// newReplica opens a store for a machine that is busy: only a Redis that is gone fails.
func newReplica(t *testing.T, url string, change ...func(*Options)) *replica {
	t.Helper()
	r := &replica{t: t, events: make(chan bridge.Reason, 1<<16), log: &lines{}}
	o := Options{
		URL: url, Key: bridge.NewSecret(canary), Timeout: time.Minute,
		Log:     slog.New(slog.NewTextHandler(r.log, nil)),
		Observe: func(e bridge.Event) { r.events <- e.Reason },
	}
	for _, f := range change {
		f(&o)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Local = newMemory(o.Now)
	var err error
	if r.Store, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// told is what the observer has been told since it was asked last.
func (r *replica) told() (told []bridge.Reason) {
	for {
		select {
		case e := <-r.events:
			told = append(told, e)
		default:
			return told
		}
	}
}

// awaits waits until the observer is told.
func (r *replica) awaits(want bridge.Reason) {
	r.t.Helper()
	select {
	case got := <-r.events:
		if got != want {
			r.t.Errorf("event = %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatalf("no event, want %q", want)
	}
}

func (r *replica) load(key bridge.Key) (value string, ok bool) {
	r.t.Helper()
	c := r.Consult(r.t.Context(), nil, []bridge.Key{key})
	if len(c.Values) != 1 || c.Refused != -1 {
		r.t.Fatalf("answer = %+v, want one value", c)
	}
	return string(c.Values[0]), c.Values[0] != nil
}

func (r *replica) take(takes ...bridge.Take) bridge.Consulted {
	return r.Consult(r.t.Context(), takes, nil)
}

// one is a take of one of three tokens, of which one comes back an hour.
func one(part bridge.Part) bridge.Take {
	return bridge.Take{Key: bridge.Key{Part: part, ID: "x"}, Limit: bridge.Limit{Rate: 1, Per: time.Hour, Burst: 3}}
}

func owner(id string) bridge.Key { return bridge.Key{Part: bridge.PartOwners, ID: id} }

// clock stands still unless it is set.
type clock struct{ nanos atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.nanos.Store(time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }
func (c *clock) set(o *Options)          { o.Now = c.now }

// memory is the local store.
type memory struct {
	now     func() time.Time
	mu      sync.Mutex
	values  map[bridge.Key]bridge.Entry
	until   map[bridge.Key]time.Time
	claims  map[bridge.Key]time.Time
	buckets map[bridge.Key]*rate.Limiter
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, values: map[bridge.Key]bridge.Entry{}, until: map[bridge.Key]time.Time{}, claims: map[bridge.Key]time.Time{}, buckets: map[bridge.Key]*rate.Limiter{}}
}

func (m *memory) Consult(_ context.Context, takes []bridge.Take, keys []bridge.Key) bridge.Consulted {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := bridge.Consulted{Refused: -1, Values: make([][]byte, len(keys)), Whole: true}
	for i, k := range keys {
		if e, ok := m.values[k]; ok && m.now().Before(m.until[k]) {
			c.Values[i] = e.Value
		}
	}
	for i, t := range takes {
		if m.buckets[t.Key] == nil {
			m.buckets[t.Key] = rate.NewLimiter(rate.Every(t.Limit.Per/time.Duration(t.Limit.Rate)), t.Limit.Burst)
		}
		r := m.buckets[t.Key].ReserveN(m.now(), 1)
		if c.Wait = r.DelayFrom(m.now()); c.Wait > 0 {
			r.CancelAt(m.now())
			c.Refused = i
			break
		}
	}
	return c
}

func (m *memory) Save(_ context.Context, entries ...bridge.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		m.values[e.Key], m.until[e.Key] = e, m.now().Add(e.Life)
	}
}

func (m *memory) Claim(_ context.Context, key bridge.Key, life time.Duration) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now().Before(m.claims[key]) {
		return false
	}
	m.claims[key] = m.now().Add(life)
	return true
}

func (m *memory) Release(_ context.Context, key bridge.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.claims, key)
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// wire stands between a replica and its Redis. It counts round trips, and can hang:
// it then accepts and reads, and nothing is answered.
type wire struct {
	url     string
	trips   atomic.Int32
	arrived chan struct{} // a trip has begun
	gate    sync.RWMutex  // locked while it hangs
}

func newWire(t *testing.T, address string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newWireAt(t, ln, address)
}

// newWireAt is one that listens at ln.
func newWireAt(t *testing.T, ln net.Listener, address string) *wire {
	w := &wire{url: "redis://" + ln.Addr().String(), arrived: make(chan struct{}, 1<<16)}
	var all sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	all.Go(func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			var asked atomic.Bool
			all.Go(func() {
				defer server.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := client.Read(buffer)
					if err != nil {
						return
					}
					if !asked.Swap(true) {
						w.trips.Add(1)
						w.arrived <- struct{}{}
					}
					w.gate.RLock()
					_, err = server.Write(buffer[:n])
					w.gate.RUnlock()
					if err != nil {
						return
					}
				}
			})
			all.Go(func() {
				defer client.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := server.Read(buffer)
					if err != nil {
						return
					}
					asked.Store(false)
					if _, err := client.Write(buffer[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return w
}

// answering is the URL of a server that refuses HELLO, as an old Redis does, and answers
// all else with reply.
func answering(t *testing.T, reply string) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		buffer := make([]byte, 64<<10)
		for answer := "-ERR unknown command\r\n"; ; answer = reply {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() }) // after the replica, which closes its connection
	return "redis://" + ln.Addr().String()
}
