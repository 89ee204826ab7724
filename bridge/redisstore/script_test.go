package redisstore

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
)

func TestTakes(t *testing.T) {
	address := redistest.Start(t).Addr
	a, b := newReplica(t, "redis://"+address), newReplica(t, "redis://"+address)
	first, second, third := one("first"), one("second"), one("third")
	second.Limit.Burst = 1
	if got := a.take(first, second, third); got.Refused != -1 || got.Wait != 0 {
		t.Errorf("answer = %+v, want all taken", got)
	}
	b.Save(t.Context(), bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
	got := a.Consult(t.Context(), []bridge.Take{first, second, third}, []bridge.Key{owner("0"), owner("1")})
	if got.Refused != 1 || got.Wait <= 59*time.Minute || got.Wait > time.Hour || got.Values[0] != nil || string(got.Values[1]) != "v" {
		t.Errorf("answer = %+v, want the second refused for an hour, and values all the same", got)
	}
	// Of the first two are gone, of the third one.
	for i, v := range []struct {
		t    bridge.Take
		left int
	}{{first, 1}, {second, 0}, {third, 2}, {one("fresh"), 3}} {
		for n := range 4 {
			if got := b.take(v.t); (got.Refused == -1) != (n < v.left) {
				t.Errorf("bucket %d, take %d = %+v, want %d left", i, n, got, v.left)
			}
		}
	}
}

// setsClock gives script a clock that stands still unless it is set, in place of Redis's, until
// the test ends.
func setsClock(t *testing.T, shared *redistest.Redis) (set func(time.Time)) {
	t.Helper()
	const theirs, ours = "redis.call('TIME')", "redis.call('MGET', 'seconds', 'microseconds')"
	if strings.Count(takeAndLoad, theirs) != 1 {
		t.Fatalf("the script does not ask for the time once:\n%s", takeAndLoad)
	}
	was := script
	script = redis.NewScript(strings.Replace(takeAndLoad, theirs, ours, 1))
	t.Cleanup(func() { script = was })
	return func(now time.Time) {
		if err := shared.MSet(t.Context(), "seconds", now.Unix(), "microseconds", now.Nanosecond()/1000).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTakesComeBack takes from a bucket at random times, and from one that is known to
// be right.
func TestTakesComeBack(t *testing.T) {
	shared, now := redistest.Start(t), newClock()
	r, want := newReplica(t, "redis://"+shared.Addr, now.set), newMemory(now.now)
	set := setsClock(t, shared)
	limit := bridge.Limit{Rate: 10, Per: time.Hour, Burst: 7}
	refused := 0
	for i := range 500 {
		now.advance(time.Duration(i*i*7919%150) * time.Hour / 1000)
		set(now.now())
		take := bridge.Take{Key: owner("1"), Limit: limit}
		got, want := r.take(take), want.Consult(t.Context(), []bridge.Take{take}, nil)
		if got.Refused != want.Refused || (got.Wait-want.Wait).Abs() > time.Microsecond {
			t.Fatalf("take %d = %d, wait %s; want %d, wait %s", i, got.Refused, got.Wait, want.Refused, want.Wait)
		}
		if got.Refused == 0 {
			refused++
		}
	}
	if refused < 50 || refused > 450 {
		t.Errorf("%d of 500 were refused: nothing is proven", refused)
	}
	if ttl := shared.PTTL(t.Context(), "gridbridge:"+owner("1").String()).Val(); ttl <= 0 || ttl > 7*limit.Per/10 {
		t.Errorf("a bucket is kept for %s, want until it is full", ttl)
	}
}

// TestFastBucket has tokens come back faster than the clock ticks, which it does not within
// one script.
func TestFastBucket(t *testing.T) {
	r := newReplica(t, "redis://"+redistest.Start(t).Addr)
	take := bridge.Take{Key: owner("1"), Limit: bridge.Limit{Rate: 2000, Per: time.Millisecond, Burst: 3}}
	if got := r.take(take, take, take, take); got.Refused != 3 {
		t.Errorf("answer = %+v, want the fourth refused", got)
	}
}

// TestBucketsOfOthers has somebody else write to buckets.
func TestBucketsOfOthers(t *testing.T) {
	address := redistest.Start(t).Addr
	r := newReplica(t, "redis://"+address)
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	for _, v := range []string{"", "x", "nan", "-1", "1e300", "inf", "list"} {
		name := "gridbridge:" + one("user").Key.String()
		client.Del(t.Context(), name)
		if v == "list" {
			client.LPush(t.Context(), name, "x")
		} else {
			client.Set(t.Context(), name, v, 0)
		}
		if got := r.take(one("user")); got.Wait < 0 || got.Wait > 3*time.Hour {
			t.Errorf("%q: answer = %+v, want no longer wait than for a whole bucket", v, got)
		} else if life := client.PTTL(t.Context(), name).Val(); got.Refused == -1 && (life <= 0 || life > 3*time.Hour) {
			t.Errorf("%q: the token cost nothing: the bucket is kept for %s", v, life)
		}
		if got := r.told(); slices.ContainsFunc(got, func(r bridge.Reason) bool { return r != "" }) {
			t.Errorf("%q: events = %q, want no failure", v, got)
		}
	}
}

// TestScriptIsLost has Redis restart, which forgets the script.
func TestScriptIsLost(t *testing.T) {
	address := redistest.Start(t).Addr
	r := newReplica(t, "redis://"+address)
	client := redis.NewClient(&redis.Options{Addr: address})
	defer client.Close()
	for range 3 {
		if c := r.take(one("user")); c.Refused != -1 || !c.Whole {
			t.Errorf("answer = %+v", c)
		}
		if err := client.ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.told(); !slices.Equal(got, []bridge.Reason{""}) {
		t.Errorf("events = %q, want no failure", got)
	}
}

// TestAnswerOfOthers has something answer that is no Redis: it must not have a replica
// reach beyond what it asked for.
func TestAnswerOfOthers(t *testing.T) {
	for name, reply := range map[string]string{
		"text":               "+OK\r\n",
		"nothing":            "*0\r\n",
		"no numbers":         "*3\r\n+a\r\n+b\r\n*1\r\n$-1\r\n",
		"no values":          "*3\r\n:-1\r\n:0\r\n:0\r\n",
		"too few values":     "*3\r\n:-1\r\n:0\r\n*0\r\n",
		"too many values":    "*3\r\n:-1\r\n:0\r\n*2\r\n$-1\r\n$-1\r\n",
		"a take too far":     "*3\r\n:1\r\n:0\r\n*1\r\n$-1\r\n",
		"a take before":      "*3\r\n:-2\r\n:0\r\n*1\r\n$-1\r\n",
		"a wait in the past": "*3\r\n:0\r\n:-1\r\n*1\r\n$-1\r\n",
		"a wait for ever":    "*3\r\n:0\r\n:9223372036854775807\r\n*1\r\n$-1\r\n",
	} {
		r := newReplica(t, answering(t, reply))
		c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")})
		if c.Refused != -1 || c.Wait != 0 || len(c.Values) != 1 || c.Whole {
			t.Errorf("%s: answer = %+v, want the replica's own", name, c)
		}
		if got := r.told(); len(got) != 1 || got[0] == "" {
			t.Errorf("%s: events = %q, want one failure", name, got)
		}
	}
	r := newReplica(t, answering(t, "*3\r\n:0\r\n:7000000\r\n*1\r\n$-1\r\n"))
	c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")})
	if c.Refused != 0 || c.Wait != 7*time.Second || !c.Whole {
		t.Errorf("answer = %+v, want a refusal for seven seconds", c)
	}
}
