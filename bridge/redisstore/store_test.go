package redisstore

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
)

func TestReplicas(t *testing.T) {
	address := redistest.Start(t).Addr
	a, b := newReplica(t, "redis://"+address), newReplica(t, "redis://"+address)
	ctx := t.Context()
	a.Save(ctx, bridge.Entry{Key: owner("1"), Value: []byte("a\x00\xff"), Life: time.Hour}, bridge.Entry{Key: owner("2"), Value: []byte{}, Life: time.Hour})
	got := b.Consult(ctx, nil, []bridge.Key{owner("0"), owner("1"), owner("2")})
	if got.Values[0] != nil || string(got.Values[1]) != "a\x00\xff" || got.Values[2] == nil || len(got.Values[2]) != 0 || !got.Whole || got.Refused != -1 {
		t.Errorf("the second replica sees %+v", got)
	}
	mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	if !a.Claim(ctx, mark, time.Hour) || a.Claim(ctx, mark, time.Hour) || b.Claim(ctx, mark, time.Hour) {
		t.Error("want the first replica alone to have the mark, once")
	}
	a.Release(ctx, mark)
	if !b.Claim(ctx, mark, time.Hour) {
		t.Error("the second replica keeps a mark that was released")
	}
	if a.Claim(ctx, mark, time.Hour) {
		t.Error("the first replica has a mark of the second's")
	}
	if a, b := a.told(), b.told(); !slices.Equal(a, []bridge.Reason{""}) || !slices.Equal(b, []bridge.Reason{""}) {
		t.Errorf("events = %q and %q, want one success each", a, b)
	}
}

// TestNoLife keeps things for no time, which Redis takes for ever.
func TestNoLife(t *testing.T) {
	shared := redistest.Start(t)
	r := newReplica(t, "redis://"+shared.Addr)
	r.Claim(t.Context(), owner("1"), 0)
	r.Save(t.Context(), bridge.Entry{Key: owner("2"), Value: []byte("v"), Life: -1})
	for _, key := range shared.Keys(t.Context(), "*").Val() {
		if life := shared.PTTL(t.Context(), key).Val(); life == -1 || life > time.Millisecond { // -2: it is gone by now
			t.Errorf("%s is kept for %s", key, life)
		}
	}
	if _, ok := r.load(owner("2")); ok {
		t.Error("it is still there")
	}
}

func TestRoundTrips(t *testing.T) {
	address := redistest.Start(t).Addr
	w := newWire(t, address)
	r, other := newReplica(t, w.url), newReplica(t, "redis://"+address)
	ctx := t.Context()
	trips := func(operation func()) int32 {
		before := w.trips.Load()
		operation()
		return w.trips.Load() - before
	}
	t.Logf("the first operation: %d round trips, with the handshake", trips(func() { r.take(one("user")) }))
	for i := range 4 {
		other.Save(ctx, bridge.Entry{Key: owner(fmt.Sprint(i)), Value: []byte("v"), Life: time.Hour})
	}
	keys, mark := []bridge.Key{owner("0"), owner("1"), owner("2")}, bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	takes := []bridge.Take{one("user"), one("sign-in"), one("attempts")}
	for _, v := range []struct {
		name string
		want int32
		do   func()
	}{
		{"takes and keys", 1, func() { r.Consult(ctx, takes, keys) }},
		{"takes and keys that are known", 1, func() { r.Consult(ctx, takes, keys) }},
		{"keys that are known", 0, func() { r.Consult(ctx, nil, keys) }},
		{"a key that is not", 1, func() { r.Consult(ctx, nil, append(keys, owner("3"))) }},
		{"nothing", 0, func() { r.Consult(ctx, nil, nil); r.Save(ctx) }},
		{"entries", 1, func() {
			r.Save(ctx, bridge.Entry{Key: owner("5"), Value: []byte("v"), Life: time.Hour}, bridge.Entry{Key: owner("6"), Value: []byte("v"), Life: time.Hour})
		}},
		{"what was saved here", 0, func() { r.Consult(ctx, nil, []bridge.Key{owner("5"), owner("6")}) }},
		{"claim", 1, func() { r.Claim(ctx, mark, time.Hour) }},
		{"claim again", 0, func() { r.Claim(ctx, mark, time.Hour) }},
		{"release", 1, func() { r.Release(ctx, mark) }},
	} {
		if got := trips(v.do); got != v.want {
			t.Errorf("%s: %d round trips, want %d", v.name, got, v.want)
		}
	}
}

// TestEcho has Redis lose what this replica has read: it knows it for a while.
func TestEcho(t *testing.T) {
	shared, now := redistest.Start(t), newClock()
	a, b := newReplica(t, "redis://"+shared.Addr, now.set), newReplica(t, "redis://"+shared.Addr, now.set)
	a.Save(t.Context(), bridge.Entry{Key: owner("long"), Value: []byte("v"), Life: time.Hour}, bridge.Entry{Key: owner("short"), Value: []byte("v"), Life: echoLife / 2})
	b.Consult(t.Context(), nil, []bridge.Key{owner("long"), owner("short")})
	shared.FlushAll(t.Context())
	for _, v := range []struct {
		after       time.Duration
		long, short bool
	}{{0, true, true}, {echoLife / 2, true, false}, {echoLife/2 - 1, true, false}, {1, false, false}} {
		now.advance(v.after)
		if _, ok := b.load(owner("long")); ok != v.long {
			t.Errorf("at %s the long one is there: %t", now.now(), ok)
		}
		if _, ok := b.load(owner("short")); ok != v.short {
			t.Errorf("at %s the short one is there: %t", now.now(), ok)
		}
	}
	if _, ok := a.load(owner("long")); !ok {
		t.Error("the replica that saved it forgets as fast")
	}
}

// TestClientGoesAway asks on behalf of a client that is gone.
func TestClientGoesAway(t *testing.T) {
	address := "redis://" + redistest.Start(t).Addr
	a, b := newReplica(t, address), newReplica(t, address)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	mark := bridge.Key{Part: bridge.PartSpent, ID: "leg"}
	a.Claim(gone, mark, time.Hour)
	a.Save(gone, bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
	if _, ok := b.load(owner("1")); !ok || b.Claim(t.Context(), mark, time.Hour) {
		t.Error("what it did is not shared")
	}
	if c := a.Consult(gone, []bridge.Take{one("user")}, nil); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v", c)
	}
	a.awaits("")
	if got := a.told(); len(got) != 0 {
		t.Errorf("events = %q, want no failure", got)
	}
}

func TestReasons(t *testing.T) {
	const secret = canary + "/+ %&"
	shared := redistest.Start(t, "--requirepass", "right")
	for want, at := range map[bridge.Reason]string{
		bridge.ReasonPassword:  "redis://:" + url.QueryEscape(secret) + "@" + shared.Addr,
		bridge.ReasonForbidden: answering(t, "-NOPERM this user has no permissions, "+secret+"\r\n"),
		bridge.ReasonStatus:    answering(t, "-ERR "+secret+"\r\n"),
	} {
		r := newReplica(t, at)
		r.take(one("user"))
		r.awaits(want)
		if text := r.log.String(); !strings.Contains(text, string(want)) || strings.Contains(text, canary) {
			t.Errorf("log = %s, want %q and not %q", text, want, secret)
		}
	}
}

// TestRedisIsDialledOnce has no Redis listen. Time passes here only while
// somebody sleeps, as between two attempts.
func TestRedisIsDialledOnce(t *testing.T) {
	address := nobody(t)
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, "redis://"+address)
		start := time.Now()
		if c := r.take(one("user")); c.Refused != -1 || c.Whole {
			t.Errorf("answer = %+v, want the replica's own", c)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("the request waited for %s", took)
		}
		r.awaits(bridge.ReasonRefused)
	})
}

// TestTLS has a Redis whose certificate is of 127.0.0.1 and not of localhost.
func TestTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil)
	defer web.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSL_CERT_FILE", roots) // read once, by whoever is first to verify
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	newWireAt(t, ln, redistest.Start(t).Addr)
	address := ln.Addr().String()
	r := newReplica(t, "rediss://"+address)
	if c := r.take(one("user")); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v, want it shared", c)
	}
	r.awaits("")
	r = newReplica(t, strings.Replace("rediss://"+address, "127.0.0.1", "localhost", 1))
	r.take(one("user"))
	r.awaits(bridge.ReasonTLS)
}

// TestPermissions gives a bridge what the package says it needs, and no more.
func TestPermissions(t *testing.T) {
	address := redistest.Start(t, "--user", "bridge", "on", ">right", "~gridbridge:*", "+evalsha", "+eval", "+mget", "+set", "+time", "+del",
		"--user", "reader", "on", ">right", "~gridbridge:*", "+evalsha", "+eval", "+mget", "+time").Addr
	r := newReplica(t, "redis://bridge:right@"+address+"/0")
	if c := r.Consult(t.Context(), []bridge.Take{one("user")}, []bridge.Key{owner("1")}); c.Refused != -1 || !c.Whole {
		t.Errorf("answer = %+v", c)
	}
	r.Save(t.Context(), bridge.Entry{Key: owner("1"), Value: []byte("v"), Life: time.Hour})
	r.Claim(t.Context(), owner("2"), time.Hour)
	r.Release(t.Context(), owner("2"))
	if got := r.told(); !slices.Equal(got, []bridge.Reason{""}) {
		t.Errorf("events = %q, want no failure", got)
	}
	for _, v := range []struct {
		user, prefix string
		want         bridge.Reason
	}{
		{"bridge:" + canary, "", bridge.ReasonPassword},
		{"bridge:right", "other:", bridge.ReasonForbidden},
		{"reader:right", "", bridge.ReasonStatus}, // Redis 7 says so of a script
	} {
		r := newReplica(t, "redis://"+v.user+"@"+address, func(o *Options) { o.Prefix = v.prefix })
		r.take(one("user"))
		r.awaits(v.want)
		if text := r.log.String(); strings.Contains(text, canary) {
			t.Errorf("the log holds the password: %s", text)
		}
	}
}

// TestCheck wants a word for a Redis that is away, and for one that is there and of no use.
func TestCheck(t *testing.T) {
	shared := redistest.Start(t, "--requirepass", "right")
	right := newReplica(t, "redis://:right@"+shared.Addr)
	if err := right.Check(t.Context()); err != nil {
		t.Error(err)
	}
	assertRefused := func(r *replica, want bridge.Reason) {
		t.Helper()
		if err := r.Check(t.Context()); !errors.Is(err, want) || strings.Contains(err.Error(), canary) {
			t.Errorf("error = %v, want %q and nothing of the URL", err, want)
		}
	}
	assertRefused(newReplica(t, "redis://:"+canary+"@"+shared.Addr), bridge.ReasonPassword)
	assertRefused(newReplica(t, answering(t, "-READONLY You can't write against a read only replica, "+canary+"\r\n")), bridge.ReasonStatus)
	operator := redis.NewClient(&redis.Options{Addr: shared.Addr, Password: "right"})
	defer operator.Close()
	if err := operator.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil { // which makes it read-only
		t.Fatal(err)
	}
	assertRefused(right, bridge.ReasonStatus)
	shared.Kill()
	assertRefused(newReplica(t, "redis://:"+canary+"@"+shared.Addr), bridge.ReasonRefused)
	if events := right.told(); len(events) != 0 {
		t.Errorf("observed %q, want nothing: no request was made", events)
	}
}

func TestOpen(t *testing.T) {
	open := func(url string, change ...func(*Options)) error {
		o := Options{URL: url, InsecureHosts: []string{"redis.internal"}, Key: bridge.NewSecret("k"), Local: newMemory(time.Now)}
		for _, f := range change {
			f(&o)
		}
		s, err := Open(o)
		if err == nil {
			s.Close()
		}
		return err
	}
	const good = "redis://localhost"
	for _, url := range []string{
		good, "redis://127.0.0.1:6379/3", "redis://[::1]:6379", "redis://redis.internal:6379", "rediss://user:" + canary + "@redis.example:6380/1", "rediss://redis.example",
	} {
		if err := open(url); err != nil {
			t.Errorf("%s: error = %v", url, err)
		}
	}
	for _, url := range []string{
		"", "localhost:6379", "http://localhost", "unix:///" + canary, "redis://:" + canary + "@[", "%" + canary, "redis:" + canary, "redis://", "redis://:6379",
		"redis://:" + canary + "@redis.example", "redis://u:" + canary + "@10.0.0.1:6379", "redis://localhost.evil.example", "redis://localhost/" + canary, "redis://localhost/0/1",
		"rediss://redis.example?skip_verify=true", "rediss://redis.example?x=" + canary, "rediss://redis.example#" + canary,
	} {
		err := open(url)
		if err == nil {
			t.Errorf("%s: error = nil, want one", url)
		} else if strings.Contains(err.Error(), canary) || strings.Contains(url, "?") && !strings.Contains(err.Error(), "a query") {
			t.Errorf("%s: error = %v, want one that says what is wrong and quotes nothing", url, err)
		}
	}
	for name, change := range map[string]func(*Options){
		"no key":           func(o *Options) { o.Key = bridge.Secret{} },
		"empty key":        func(o *Options) { o.Key = bridge.NewSecret("") },
		"no local store":   func(o *Options) { o.Local = nil },
		"negative pool":    func(o *Options) { o.PoolSize = -1 },
		"negative timeout": func(o *Options) { o.Timeout = -1 },
	} {
		if open(good, change) == nil {
			t.Errorf("%s: error = nil, want one", name)
		}
	}
}
