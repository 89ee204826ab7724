package redisstore

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"gridsigner/bridge"
)

// takeAndLoad takes from buckets and loads values. KEYS has the bucket of each take, then
// the keys to load; ARGV has, of each take, the time that its tokens and that a
// full bucket take to come back, in microseconds.
//
// A bucket is one number: when it will be full again (GCRA, the generic cell rate
// algorithm). It is not kept once it is. Whoever else writes to Redis breaks nothing for
// longer than one bucket takes: what is not a time in its bounds is taken for the nearest
// that is, and MGET, other than GET, does not fail at what is not a string.
//
// The clock is that of Redis. The replicas' clocks differ, and the one that runs ahead
// of the others would have tokens come back for all.
const takeAndLoad = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local takes, refused, wait, values = #ARGV / 2, -1, 0, {}
for i = 1, takes do
	local spend, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
	local full = tonumber(redis.call('MGET', KEYS[i])[1])
	if not full or not (full > now) then full = now end
	full = math.min(full, now + burst) + spend
	if full > now + burst then
		refused, wait = i - 1, full - now - burst
		break
	end
	if full > now then
		redis.call('SET', KEYS[i], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
	end
end
if #KEYS > takes then
	values = redis.call('MGET', unpack(KEYS, takes + 1))
end
return {refused, wait, values}
`

var script = redis.NewScript(takeAndLoad)

// answer is what the script returns.
type answer struct {
	refused int
	wait    time.Duration
	values  []*string // nil for those that are not there
}

var errAnswer = errors.New("not what the script returns")

// consult runs the script: in one round trip, but for the first time that a Redis sees
// it, which takes two.
func (s *Store) consult(ctx context.Context, takes []bridge.Take, names []string) (a answer, err error) {
	keys, args := make([]string, 0, len(takes)+len(names)), make([]any, 0, 2*len(takes))
	for _, t := range takes {
		// Rounded up: a token never comes back too early.
		every := (int64(t.Limit.Per)/int64(t.Limit.Rate) + 999) / 1000
		keys, args = append(keys, s.name(t.Key)), append(args, every, int64(t.Limit.Burst)*every)
	}
	keys = append(keys, names...)
	var cmd *redis.Cmd
	err = s.redis.do(ctx, func(p redis.Pipeliner) { cmd = script.EvalSha(ctx, p, keys, args...) })
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		err = s.redis.do(ctx, func(p redis.Pipeliner) { cmd = script.Eval(ctx, p, keys, args...) })
	}
	if err != nil {
		return a, err
	}
	reply, err := cmd.Slice()
	if err != nil {
		return a, err
	}
	if len(reply) != 3 {
		return a, errAnswer
	}
	refused, ok1 := reply[0].(int64)
	wait, ok2 := reply[1].(int64)
	values, ok3 := reply[2].([]any)
	if !ok1 || !ok2 || !ok3 || len(values) != len(names) ||
		refused < -1 || refused >= int64(len(takes)) || wait < 0 || wait > math.MaxInt64/int64(time.Microsecond) {
		return a, errAnswer
	}
	a = answer{int(refused), time.Duration(wait) * time.Microsecond, make([]*string, len(values))}
	for i, v := range values {
		if text, ok := v.(string); ok {
			a.values[i] = &text
		}
	}
	return a, nil
}

// probe does what a request does, so that a Redis that answers and cannot be used
// (it is full, or a replica, or forbids the script) is found out without one.
func (s *Store) probe(ctx context.Context) bridge.Reason {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	_, err := s.consult(ctx, []bridge.Take{{
		Key: bridge.Key{Part: "probe"}, Limit: bridge.Limit{Rate: 1, Per: time.Millisecond, Burst: 1000}, // all replicas' probes write
	}}, nil)
	return reasonOf(err)
}
