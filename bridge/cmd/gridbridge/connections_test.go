package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gridsigner/bridge"
)

func TestConnectionsFor(t *testing.T) {
	for files, want := range map[uint64]int{0: 16, 64: 16, 96: 16, 98: 17, 1024: 480, 40064: 20000, 1 << 20: 20000, ^uint64(0): 20000} {
		if got := connectionsFor(files); got != want {
			t.Errorf("with %d files: %d connections, want %d", files, got, want)
		}
	}
}

// capped serves handler on a listener with a cap, until the test ends.
func capped(t *testing.T, most int, observe func(bridge.Event), handler http.HandlerFunc, wrap func(net.Listener) net.Listener) *connections {
	t.Helper()
	return cappedWith(t, nil, most, observe, handler, wrap)
}

// cappedWith does so with TLS around the connections, if there is a configuration of it.
func cappedWith(t *testing.T, config *tls.Config, most int, observe func(bridge.Event), handler http.HandlerFunc, wrap func(net.Listener) net.Listener) *connections {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if wrap != nil {
		ln = wrap(ln)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := newConnections(ln, most, observe)
	done := make(chan error, 1)
	go func() {
		done <- serveAll(ctx, slog.New(slog.DiscardHandler), time.Minute, nil, listener{c, config, handler})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

// waitQuiet waits until n connections have no request: a client has its answer a moment
// before.
func (c *connections) waitQuiet(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		c.mu.Lock()
		got := c.quiet.Len()
		c.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d connections without a request, want %d", got, n)
		}
	}
}

// TestMemoryIsGivenBackAfterACrowd counts how often it is: once, when the last of a crowd
// has its answer and nobody came for a moment.
func TestMemoryIsGivenBackAfterACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, given := newConnections(nil, 2*crowd, nil), 0
		c.giveBack = func() { given++ }
		var all []net.Conn
		for range crowd {
			conn, _ := net.Pipe()
			c.add(conn)
			all = append(all, conn)
		}
		ask := func(conns []net.Conn, state http.ConnState) {
			for _, conn := range conns {
				if !c.begin(conn) {
					t.Fatal("a connection is not open")
				}
			}
			for _, conn := range conns {
				c.changed(conn, state)
			}
		}
		after := func(wait time.Duration, want int) {
			t.Helper()
			time.Sleep(wait) // on the bubble's clock
			synctest.Wait()
			if given != want {
				t.Fatalf("given back %d times, want %d", given, want)
			}
		}
		ask(all[1:], http.StateIdle) // one short of a crowd
		after(time.Hour, 0)
		ask(all, http.StateIdle)
		after(calm-1, 0)
		ask(all, http.StateIdle) // they have come again
		after(1, 1)
		after(time.Hour, 1)
		for _, conn := range all {
			c.begin(conn)
		}
		for _, conn := range all[1:] {
			c.changed(conn, http.StateIdle)
		}
		after(time.Hour, 1) // one is still there
		c.changed(all[0], http.StateClosed)
		after(calm, 2)
	})
}

// peer is the client's end of a connection.
type peer struct {
	t *testing.T
	net.Conn
	answers *bufio.Reader
}

func dial(t *testing.T, address net.Addr) peer {
	t.Helper()
	conn, err := net.Dial("tcp", address.String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute)) // so that a test fails, and does not hang
	t.Cleanup(func() { conn.Close() })
	return peer{t, conn, bufio.NewReader(conn)}
}

func (p peer) send(path string) {
	p.t.Helper()
	if _, err := io.WriteString(p, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		p.t.Fatal(err)
	}
}

// answered wants an answer to what was sent.
func (p peer) answered() {
	p.t.Helper()
	resp, err := http.ReadResponse(p.answers, nil)
	if err != nil {
		p.t.Fatalf("no answer: %v", err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// closed waits until the server has closed the connection, without a word.
func (p peer) closed() {
	p.t.Helper()
	if _, err := p.answers.ReadByte(); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		p.t.Fatalf("the connection is not closed: %v", err)
	}
}

// TestConnectionsGiveWay opens more connections than may be: those without a request
// are closed, the one that has been so the longest first, and those with one never.
func TestConnectionsGiveWay(t *testing.T) {
	closings, observe := counter(t, bridge.EventConnection)
	reached, proceed := make(chan struct{}), map[string]chan struct{}{"/busy": make(chan struct{}), "/kept": make(chan struct{})}
	c := capped(t, 4, observe, func(w http.ResponseWriter, r *http.Request) {
		if wait := proceed[r.URL.Path]; wait != nil {
			reached <- struct{}{}
			<-wait
		}
	}, nil)
	busy := dial(t, c.Addr())
	busy.send("/busy")
	<-reached
	kept := dial(t, c.Addr())
	c.waitQuiet(t, 1)
	silent := dial(t, c.Addr())
	c.waitQuiet(t, 2)
	half := dial(t, c.Addr())
	if _, err := io.WriteString(half, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	c.waitQuiet(t, 3)
	kept.send("/kept") // the oldest, but now for a shorter time without a request than the others
	<-reached
	c.waitQuiet(t, 2)
	close(proceed["/kept"])
	kept.answered()
	c.waitQuiet(t, 3)
	for _, next := range []peer{silent, half, kept} {
		dial(t, c.Addr())
		next.closed()
	}
	for range 40 {
		p := dial(t, c.Addr())
		p.send("/")
		p.answered()
		c.waitQuiet(t, 3)
	}
	if got := closings.Load(); got != 43 {
		t.Errorf("%d connections closed, want 43", got)
	}
	close(proceed["/busy"])
	busy.answered()
	busy.send("/") // it is as good as before
	busy.answered()
}

// TestConnectionsAllInUse has requests on all connections that may be: a further one
// is closed at once, and when one ends there is room.
func TestConnectionsAllInUse(t *testing.T) {
	closings, observe := counter(t, bridge.EventConnection)
	reached, proceed := make(chan struct{}), make(chan struct{})
	c := capped(t, 2, observe, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-proceed
	}, nil)
	one, two := dial(t, c.Addr()), dial(t, c.Addr())
	for _, p := range []peer{one, two} {
		p.send("/")
		<-reached
	}
	dial(t, c.Addr()).closed()
	dial(t, c.Addr()).closed()
	proceed <- struct{}{}
	proceed <- struct{}{}
	one.answered()
	two.answered()
	if got := closings.Load(); got != 2 {
		t.Errorf("%d connections closed, want 2", got)
	}
	c.waitQuiet(t, 2)
	three := dial(t, c.Addr())
	three.send("/")
	<-reached
	close(proceed)
	three.answered()
}

// TestConnectionsWithRequestsTogether has two requests come in one packet: net/http
// does not say of the second that the connection is active.
func TestConnectionsWithRequestsTogether(t *testing.T) {
	reached, proceed := make(chan struct{}), make(chan struct{})
	c := capped(t, 1, func(bridge.Event) {}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(reached)
			<-proceed
		}
	}, nil)
	p := dial(t, c.Addr())
	if _, err := io.WriteString(p, strings.Repeat("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 2)+"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-reached
	dial(t, c.Addr()).closed()
	close(proceed)
	for range 3 {
		p.answered()
	}
}

// pausing is a listener whose first connection hands over its second packet when the
// test says so.
type pausing struct {
	net.Listener
	arrived, proceed chan struct{}
	accepted         atomic.Int32
}

type pausingConn struct {
	net.Conn
	ln    *pausing
	reads *atomic.Int32
}

func (p *pausing) Accept() (net.Conn, error) {
	conn, err := p.Listener.Accept()
	if err != nil || p.accepted.Add(1) > 1 {
		return conn, err
	}
	return pausingConn{conn, p, new(atomic.Int32)}, nil
}

func (c pausingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 1 && c.reads.Add(1) == 2 { // net/http reads one byte when it waits for the client to go away
		close(c.ln.arrived)
		<-c.ln.proceed
	}
	return n, err
}

// TestConnectionClosedUnderARequest closes a connection at the moment at which a
// request comes on it. Nobody would get the answer, so it must have no effect.
func TestConnectionClosedUnderARequest(t *testing.T) {
	ln := &pausing{arrived: make(chan struct{}), proceed: make(chan struct{})}
	var handled atomic.Int32
	c := capped(t, 1, func(bridge.Event) {}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/late" {
			handled.Add(1)
		}
	}, func(inner net.Listener) net.Listener {
		ln.Listener = inner
		return ln
	})
	unlucky := dial(t, c.Addr())
	unlucky.send("/")
	unlucky.answered()
	unlucky.send("/late")
	<-ln.arrived
	other := dial(t, c.Addr())
	other.send("/")
	other.answered() // so the first is closed
	close(ln.proceed)
	t.Cleanup(func() { // when the server has ended
		if handled.Load() != 0 {
			t.Error("the request was handled")
		}
	})
	unlucky.closed()
}

// TestIdleConnectionsSilenceNobody has 320 connections be idle at each listener of a
// process that may have 160 files, and asks both.
func TestIdleConnectionsSilenceNobody(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -n 160 && exec "$0" "$@"`, program(t),
		"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--drain-delay", "0s", "--forward-auth", "https://app.example/")
	cmd.Env = append(os.Environ(), "RUN_AS_GRIDBRIDGE=1")
	for name, value := range serveEnv {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	stdout, err := cmd.StdoutPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, lines: bufio.NewReader(stdout)}
	base := strings.TrimPrefix(p.line(), "bridge listening on ")
	admin := strings.TrimPrefix(p.line(), "metrics and health on ")
	var idle []peer
	for _, origin := range []string{strings.TrimSuffix(base, bridge.DefaultPrefix), admin} {
		addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(origin, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		for range 320 {
			p := dial(t, addr)
			p.SetDeadline(time.Now().Add(30 * time.Second)) // before the first ones end by themselves
			p.send("/")
			p.answered()
			idle = append(idle, p)
		}
	}
	if resp, body := fetch(t, "GET", admin+"/healthz", "", nil); resp.StatusCode != 200 {
		t.Errorf("healthz = %d %s, want 200", resp.StatusCode, body)
	}
	if resp, body := fetch(t, "GET", base+"/auth/sessions", "", nil); resp.StatusCode != 401 {
		t.Errorf("answer = %d %s, want 401", resp.StatusCode, body)
	}
	http.DefaultClient.CloseIdleConnections()
	for _, p := range idle {
		p.Close() // so that it does not wait for their requests
	}
	if err := errors.Join(cmd.Process.Signal(syscall.SIGTERM), cmd.Wait()); err != nil {
		t.Error(err)
	}
}
