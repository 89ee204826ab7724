package bridge

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// newSharedStore is the store of one replica on the Redis at url.
func newSharedStore(t *testing.T, url string, now func() time.Time, log io.Writer) *sharedStore {
	t.Helper()
	r, err := OpenPatientRedis(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	m, err := newMetrics(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &sharedStore{Redis: r, local: newLocalStore(now), now: now, log: slog.New(slog.NewTextHandler(log, nil)), metrics: m}
}

// TestMarkOfAnotherReplica tries a signed leg at one replica while it is under
// way at another, where Grid then asks for it once more.
func TestMarkOfAnotherReplica(t *testing.T) {
	address := "redis://" + miniredis.RunT(t).Addr()
	a, b := newSharedStore(t, address, time.Now, io.Discard), newSharedStore(t, address, time.Now, io.Discard)
	ctx := t.Context()
	if !a.claim(ctx, "leg", time.Hour) || b.claim(ctx, "leg", time.Hour) {
		t.Fatal("want the first replica alone to have the mark")
	}
	a.release(ctx, "leg")
	if !b.claim(ctx, "leg", time.Hour) {
		t.Error("the second replica keeps a mark that was released")
	}
}

// TestRedisIsDialledOnce has no Redis listen. Time passes here only while
// somebody sleeps, as between two attempts.
func TestRedisIsDialledOnce(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := newSharedStore(t, "redis://"+ln.Addr().String(), time.Now, &log)
		start := time.Now()
		if _, ok := s.take(t.Context(), "k", Limit{1, time.Hour, 1}); !ok {
			t.Error("the replica's own first token is refused")
		}
		if took := time.Since(start); took > 5*time.Millisecond {
			t.Errorf("the request waited for %s", took)
		}
		if text := log.String(); !strings.Contains(text, "connection refused") {
			t.Errorf("log = %s, want connection refused", text)
		}
	})
}

func TestRedisReason(t *testing.T) {
	const secret = "canary/+ %&"
	shared := miniredis.RunT(t)
	shared.RequireAuth("right")
	for want, v := range map[string]struct{ user, refusal string }{
		"the password is refused":                 {":" + url.QueryEscape(secret), ""},
		"the user may not do what a bridge needs": {":right", "NOPERM this user has no permissions, " + secret},
		"answered with an error":                  {":right", "ERR " + secret},
	} {
		shared.SetError("")
		var log bytes.Buffer
		s := newSharedStore(t, "redis://"+v.user+"@"+shared.Addr(), time.Now, &log)
		if v.refusal != "" {
			s.load(t.Context(), "k") // sign in first
			shared.SetError(v.refusal)
		}
		s.load(t.Context(), "k")
		if text := log.String(); !strings.Contains(text, want) || strings.Contains(text, "canary") {
			t.Errorf("log = %s, want %q and not %q", text, want, secret)
		}
	}
}

// TestHalfARedis has every second operation fail for an hour: the log must not
// be told each time.
func TestHalfARedis(t *testing.T) {
	now := time.Now()
	var log bytes.Buffer
	s := newSharedStore(t, "redis://"+miniredis.RunT(t).Addr(), func() time.Time { return now }, &log)
	operation := func(err error) func(context.Context) error { return func(context.Context) error { return err } }
	for range 1800 {
		s.try(t.Context(), operation(errors.New("down")))
		now = now.Add(redisRest)
		if !s.try(t.Context(), operation(nil)) {
			t.Fatal("Redis is left alone for longer than its rest")
		}
		now = now.Add(redisRest)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "does not answer") {
		t.Errorf("log =\n%s\nwant one line, that Redis does not answer", got)
	}
	log.Reset()
	now = now.Add(redisGrace)
	s.try(t.Context(), operation(nil))
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "answers again") {
		t.Errorf("log =\n%s\nwant one line, that Redis answers again", got)
	}
}
