// Package redisstore is a [bridge.Store] that replicas share through a Redis, which
// may go away at any time: each replica then goes on with a store of its own.
//
// It needs one Redis (5 or later), not a cluster of it, whose user may run EVALSHA,
// EVAL, SET and DEL, and what the script calls: MGET, SET and TIME.
//
// # What an attacker with the Redis can do
//
// Whoever reads it learns what it holds: payloads of challenges, the types of
// credentials, who is how busy, by hashes. No credential is among it.
//
// Whoever writes to it can deny service: spend others' tokens, set marks against
// requests that were never sent, delete challenges. They can also take limits and
// marks away; Grid takes each Request-Id once all the same. They cannot make a
// replica believe a value: each carries a MAC over its own key and its time, so one
// that is made up, changed, moved to another key or put back after its life is
// as if it was not there. Nobody owns a session because Redis says so.
package redisstore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/outbound"
)

const (
	defaultPrefix  = "gridbridge:"
	defaultTimeout = 500 * time.Millisecond

	// defaultPoolSize does not depend on the machine: connections wait for a network
	// and not for a processor. Each carries all that waits for it: at a millisecond a round
	// trip they carry 200,000 a second. With more of them less waits, and less goes together.
	defaultPoolSize = 4

	// checks is how often [Store.Check] asks a Redis that does not answer in time.
	checks = 10

	// echoLife is how long what was read from Redis is kept here.
	echoLife = time.Minute
)

// Options are those of [Open].
type Options struct {
	// URL is rediss://user:password@host:6379/0. Without TLS (redis://) it must be of
	// loopback or of one of InsecureHosts. Required.
	URL           string
	InsecureHosts []string

	// Prefix of all keys, "" for "gridbridge:". Bridges that are not replicas of one
	// another, and use one Redis, have different ones.
	Prefix string

	// PoolSize is how many connections a replica has at most, 0 for 4. What waits too
	// long for one is done by Local: if that is seen ([bridge.ReasonBusy]), raise it.
	PoolSize int

	// Timeout bounds one operation, 0 for half a second. Nobody waits for a connection
	// longer than a fifth of it, nor at all once Redis has answered nobody for a tenth.
	Timeout time.Duration

	// Key is a secret that all replicas have and Redis does not. Values are
	// authenticated by it. Required.
	Key bridge.Secret

	// Local takes over while Redis does not answer, and keeps a copy of what was
	// written here, and of what was just read. Required.
	Local bridge.Store

	// Log is told when Redis is lost and when it is back, nil for none.
	Log *slog.Logger

	// Observe is told of each failure and of the first success after one, nil for
	// none. It must neither block nor use the store.
	Observe func(bridge.Event)

	// Now is the clock, nil for [time.Now].
	Now func() time.Time
}

// Store is a [bridge.Store] in a Redis.
type Store struct {
	client  *redis.Client
	redis   *pipelines
	prefix  string
	timeout time.Duration
	key     []byte
	local   bridge.Store
	now     func() time.Time
	health  health
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
}

// Open returns a store for the Redis at o.URL. It does not connect: a bridge starts
// and works without its Redis. Its errors do not quote the URL, which may hold a
// password. Close it after the bridge's server.
func Open(o Options) (*Store, error) {
	settings, err := parseURL(o.URL, o.InsecureHosts)
	if err != nil {
		return nil, err
	}
	s := &Store{prefix: o.Prefix, timeout: o.Timeout, key: o.Key.Derive("redisstore"), local: o.Local, now: o.Now}
	switch {
	case bytes.Equal(s.key, bridge.Secret{}.Derive("redisstore")):
		return nil, errors.New("redisstore: the key is empty")
	case o.Local == nil:
		return nil, errors.New("redisstore: no local store")
	case o.PoolSize < 0 || o.Timeout < 0:
		return nil, errors.New("redisstore: the pool size or the timeout is negative")
	}
	if s.prefix == "" {
		s.prefix = defaultPrefix
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.health = health{now: s.now, stall: s.timeout / 10, log: o.Log, observe: o.Observe, probe: func() bridge.Reason { return s.probe(s.ctx) }}
	if o.Log == nil {
		s.health.log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		s.health.observe = func(bridge.Event) {}
	}
	silence()
	settings.PoolSize = o.PoolSize
	if o.PoolSize == 0 {
		settings.PoolSize = defaultPoolSize
	}
	settings.PoolTimeout = s.timeout / 5
	settings.DialTimeout, settings.ReadTimeout, settings.WriteTimeout = s.timeout, s.timeout, s.timeout
	settings.ContextTimeoutEnabled = true                         // one time limit for the handshake and what follows it
	settings.MaxRetries = -1                                      // a retry costs the user more than the fallback does
	settings.DialerRetries = 1                                    // attempts
	settings.Protocol, settings.DisableIdentity = 2, true         // nothing of RESP 3 is used, and nobody needs to be told a version
	settings.Dialer, settings.TLSConfig = s.dialer(settings), nil // which has taken it
	s.client = redis.NewClient(settings)
	s.redis = &pipelines{client: s.client, timeout: s.timeout, patience: settings.PoolTimeout, free: settings.PoolSize}
	return s, nil
}

// parseURL takes a host, a database and credentials from raw and nothing else: the
// client would take skip_verify and timeouts from a query, too.
func parseURL(raw string, insecureHosts []string) (*redis.Options, error) {
	u, err := url.Parse(raw)
	if err == nil && (u.RawQuery != "" || u.ForceQuery) {
		return nil, errors.New("redisstore: a Redis URL with a query, of which nothing is taken (skip_verify, timeouts): want rediss://host:port/db")
	}
	if err != nil || u.Scheme != "rediss" && u.Scheme != "redis" || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("redisstore: not a Redis URL: want rediss://host:port/db")
	}
	if u.Scheme == "redis" && !outbound.MayBePlain(u.Hostname(), insecureHosts) {
		return nil, errors.New("redisstore: must be rediss:// (TLS): neither on loopback nor one of the hosts that may do without")
	}
	o, err := redis.ParseURL(raw)
	if err != nil {
		return nil, errors.New("redisstore: not a Redis URL: want a number for the database")
	}
	return o, nil
}

// dialer dials until the store is closed. It never fails: the client, after as many
// failures as it has connections, would leave dialling to a goroutine that knows no
// rest and outlives Close. The first use of what it returns fails instead.
func (s *Store) dialer(o *redis.Options) func(context.Context, string, string) (net.Conn, error) {
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if o.TLSConfig != nil {
		dialer = &tls.Dialer{Config: o.TLSConfig}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return broken{fmt.Errorf("dial: %w", err)}, nil // the client unwraps it once, and the reason is inside
		}
		return conn, nil
	}
}

// broken is a connection that did not come about.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error)       { return 0, b.err }
func (b broken) Write([]byte) (int, error)      { return 0, b.err }
func (broken) Close() error                     { return nil }
func (broken) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (broken) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (broken) SetDeadline(time.Time) error      { return nil }
func (broken) SetReadDeadline(time.Time) error  { return nil }
func (broken) SetWriteDeadline(time.Time) error { return nil }

// silence keeps go-redis from printing: its failures are counted and logged
// here. The logger is one for the process, and is set before the first client
// of this package has a goroutine that reads it.
var silence = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Check asks Redis what requests will ask it, and reports in a word why it cannot be used. One
// that does not answer in time is asked again: it may be starting. No bridge needs it: it
// is for who would rather know before one starts.
func (s *Store) Check(ctx context.Context) error {
	var reason bridge.Reason
	for range checks {
		if reason = s.probe(ctx); reason != bridge.ReasonTimeout {
			break
		}
	}
	if reason != "" {
		return fmt.Errorf("redisstore: Redis cannot be used: %w", reason)
	}
	return nil
}

// Close ends all connections, and whatever waits for them. The local store remains in use.
func (s *Store) Close() error {
	s.health.close()
	s.cancel()
	defer s.health.probes.Wait()
	return s.client.Close()
}

// Consult is one round trip, and none if there are no takes and all keys were seen
// here lately: no value of a key ever changes.
func (s *Store) Consult(ctx context.Context, takes []bridge.Take, keys []bridge.Key) bridge.Consulted {
	c := s.local.Consult(ctx, nil, keys)
	var missing []int
	for i, v := range c.Values {
		if v == nil {
			missing = append(missing, i)
		}
	}
	c.Refused, c.Wait, c.Whole = -1, 0, s.health.isWhole()
	if len(takes) == 0 && len(missing) == 0 {
		return c
	}
	names := make([]string, len(missing))
	for i, at := range missing {
		names[i] = s.name(keys[at])
	}
	var got answer
	if !s.ask(ctx, func(ctx context.Context) (err error) {
		got, err = s.consult(ctx, takes, names)
		return err
	}) {
		taken := s.local.Consult(ctx, takes, nil)
		c.Refused, c.Wait, c.Whole = taken.Refused, taken.Wait, false
		return c
	}
	var echoes []bridge.Entry
	for i, at := range missing {
		if got.values[i] == nil {
			continue
		}
		value, life, err := unseal(s.key, names[i], *got.values[i], s.now())
		if err != nil {
			s.health.forged()
		} else if life > 0 {
			c.Values[at] = value
			echoes = append(echoes, bridge.Entry{Key: keys[at], Value: value, Life: min(life, echoLife)})
		}
	}
	if echoes != nil {
		s.local.Save(ctx, echoes...)
	}
	c.Refused, c.Wait, c.Whole = got.refused, got.wait, s.health.isWhole()
	return c
}

// Save is one round trip.
func (s *Store) Save(ctx context.Context, entries ...bridge.Entry) {
	if len(entries) == 0 {
		return
	}
	s.local.Save(ctx, entries...)
	s.ask(ctx, func(ctx context.Context) error {
		return s.redis.do(ctx, func(p redis.Pipeliner) {
			for _, e := range entries {
				name := s.name(e.Key)
				p.Set(ctx, name, seal(s.key, name, e.Value, s.now().Add(e.Life)), atLeast(e.Life))
			}
		})
	})
}

// Claim is one round trip, and none if this replica has the mark.
func (s *Store) Claim(ctx context.Context, key bridge.Key, life time.Duration) bool {
	if !s.local.Claim(ctx, key, life) {
		return false
	}
	first := true
	s.ask(ctx, func(ctx context.Context) error {
		var set *redis.BoolCmd
		err := s.redis.do(ctx, func(p redis.Pipeliner) { set = p.SetNX(ctx, s.name(key), "1", atLeast(life)) })
		first = err != nil || set.Val()
		return err
	})
	if !first {
		s.local.Release(ctx, key) // the mark is another replica's, which may release it
	}
	return first
}

// Release is one round trip.
func (s *Store) Release(ctx context.Context, key bridge.Key) {
	s.local.Release(ctx, key)
	s.ask(ctx, func(ctx context.Context) error {
		return s.redis.do(ctx, func(p redis.Pipeliner) { p.Del(ctx, s.name(key)) })
	})
}

func (s *Store) name(key bridge.Key) string { return s.prefix + key.String() }

// atLeast is a life that Redis can count: what it takes for none would last forever.
func atLeast(life time.Duration) time.Duration { return max(life, time.Millisecond) }

// ask has Redis do operation, and reports whether it did. A client that goes away
// does not cut it short: a mark against replay must not hang on that, and a cut would
// count as a failure of Redis.
func (s *Store) ask(ctx context.Context, operation func(context.Context) error) bool {
	if !s.health.begin() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	reason := reasonOf(operation(ctx))
	s.health.end(reason)
	return reason == ""
}

// reasonOf says why err came about, "" if it is nil.
func reasonOf(err error) bridge.Reason {
	_, answered := errors.AsType[redis.Error](err)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, redis.ErrPoolTimeout):
		return bridge.ReasonBusy
	case errors.Is(err, errAnswer):
		return bridge.ReasonForm
	case redis.IsAuthError(err):
		return bridge.ReasonPassword
	case redis.IsPermissionError(err):
		return bridge.ReasonForbidden
	case answered:
		return bridge.ReasonStatus
	}
	return bridge.Reason(outbound.FailureOf(err))
}
