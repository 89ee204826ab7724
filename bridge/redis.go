package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
)

const (
	redisPrefix  = "gridbridge:"
	redisTimeout = 500 * time.Millisecond // of one operation
	redisGrace   = time.Minute            // how long after a failure a challenge may be one that never got there
	redisRest    = time.Second            // how long Redis is left alone after a failure
	redisEcho    = time.Minute            // how long what was read from it is kept here
)

// Redis is shared by all replicas of a bridge: limits, marks against replay,
// challenges and owners. It may go away at any time: each replica then goes on
// with its own. See [OpenRedis].
type Redis struct {
	client  *redis.Client
	limiter *redis_rate.Limiter
	timeout time.Duration // of one operation
}

// OpenRedis reads a URL such as rediss://user:password@host:6379/0. It does not
// connect: a bridge starts and works without its Redis. The error does not
// quote the URL, which may hold a password. Close it after the bridge's server.
func OpenRedis(url string) (*Redis, error) { return openRedis(url, redisTimeout) }

func openRedis(url string, timeout time.Duration) (*Redis, error) {
	o, err := redis.ParseURL(url)
	if err != nil {
		return nil, errors.New("bridge: not a Redis URL: want redis://host:port/db, or rediss:// for TLS")
	}
	silenceRedis()
	o.MaxRetries = -1                                           // a retry costs the user more than the fallback does
	o.DialerRetries, o.DialerRetryTimeout = 1, time.Millisecond // attempts, and the pause after each, the last too
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = timeout, timeout, timeout, timeout
	client := redis.NewClient(o)
	return &Redis{client, redis_rate.NewLimiter(client), timeout}, nil
}

// Close ends all connections.
func (r *Redis) Close() error { return r.client.Close() }

// silenceRedis keeps go-redis from printing: its failures are counted and logged
// here. The logger is one for the process, and is set before the first client
// of this package has a goroutine that reads it.
var silenceRedis = sync.OnceFunc(func() { redis.SetLogger(silent{}) })

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// sharedStore is the store of several replicas. What it writes it also keeps
// in the local store, which takes over while Redis does not answer.
type sharedStore struct {
	*Redis
	local   *localStore
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	resting atomic.Int64 // Unix nanoseconds until when Redis is left alone
	failed  atomic.Int64 // Unix nanoseconds of the last failure
	down    atomic.Bool  // what the log says
}

// try does one operation. It reports whether Redis answered, be it with
// [redis.Nil]. A client that went away does not cut it short: a mark against
// replay must not hang on that, and a cut would count as a failure of Redis.
//
// That Redis is back the log says after [redisGrace] without a failure: one that
// fails now and then must not fill it.
func (s *sharedStore) try(ctx context.Context, operation func(context.Context) error) bool {
	if s.now().UnixNano() < s.resting.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	err := operation(ctx)
	if err == nil || errors.Is(err, redis.Nil) {
		s.metrics.sharedUp.Set(1)
		if s.down.Load() && s.complete() && s.down.Swap(false) {
			s.log.Info("Redis answers again: limits are shared")
		}
		return true
	}
	s.metrics.sharedUp.Set(0)
	s.metrics.sharedFailures.Inc()
	s.failed.Store(s.now().UnixNano())
	s.resting.Store(s.now().Add(redisRest).UnixNano())
	if !s.down.Swap(true) {
		s.log.Warn("Redis does not answer: limits are this replica's own", slog.String("reason", redisReason(err)))
	}
	return false
}

// redisReason is [reason] for what Redis itself may say.
func redisReason(err error) string {
	_, answered := errors.AsType[redis.Error](err)
	switch {
	case redis.IsAuthError(err):
		return "the password is refused"
	case redis.IsPermissionError(err):
		return "the user may not do what a bridge needs"
	case answered:
		return "answered with an error"
	}
	return reason(err)
}

// load asks here first: no value of a key ever changes.
func (s *sharedStore) load(ctx context.Context, key string) ([]byte, bool) {
	if v, ok := s.local.load(ctx, key); ok {
		return v, true
	}
	var found []byte
	ok := s.try(ctx, func(ctx context.Context) (err error) {
		found, err = s.client.Get(ctx, redisPrefix+key).Bytes()
		return err
	})
	if !ok || found == nil {
		return nil, false
	}
	s.local.save(ctx, key, found, redisEcho)
	return found, true
}

func (s *sharedStore) save(ctx context.Context, key string, bytes []byte, life time.Duration) {
	s.local.save(ctx, key, bytes, life)
	s.try(ctx, func(ctx context.Context) error {
		return s.client.Set(ctx, redisPrefix+key, bytes, life).Err()
	})
}

func (s *sharedStore) complete() bool {
	return s.now().Sub(time.Unix(0, s.failed.Load())) > redisGrace
}

func (s *sharedStore) claim(ctx context.Context, key string, life time.Duration) bool {
	if !s.local.claim(ctx, key, life) {
		return false
	}
	first := true
	s.try(ctx, func(ctx context.Context) error {
		set, err := s.client.SetNX(ctx, redisPrefix+key, "1", life).Result()
		first = set || err != nil
		return err
	})
	if !first {
		s.local.release(ctx, key) // the mark is another replica's, which may release it
	}
	return first
}

func (s *sharedStore) release(ctx context.Context, key string) {
	s.local.release(ctx, key)
	s.try(ctx, func(ctx context.Context) error {
		return s.client.Del(ctx, redisPrefix+key).Err()
	})
}

func (s *sharedStore) take(ctx context.Context, key string, l Limit) (wait time.Duration, ok bool) {
	answered := s.try(ctx, func(ctx context.Context) error {
		result, err := s.limiter.Allow(ctx, redisPrefix+key, redis_rate.Limit{Rate: l.Rate, Period: l.Per, Burst: l.Burst})
		if err == nil {
			wait, ok = result.RetryAfter, result.Allowed > 0
		}
		return err
	})
	if !answered {
		return s.local.take(ctx, key, l)
	}
	return wait, ok
}
