package bridge_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gridsigner/bridge"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// faulty is a Grid that answers look-ups of owners and spoils all else.
type faulty struct {
	net.Listener
	mu      sync.Mutex
	changed sync.Cond
	deletes int // signed legs that arrived
	open    int // connections
}

// newFaulty lets spoil have every connection on which a signed leg arrived.
func newFaulty(t *testing.T, spoil func(net.Conn)) *faulty {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &faulty{Listener: ln}
	f.changed.L = &f.mu
	challenge := challengeOf(payload, requestID)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			f.count(&f.open, 1)
			all.Go(func() {
				defer f.count(&f.open, -1)
				defer conn.Close()
				buffer := make([]byte, 8<<10)
				for {
					n, err := conn.Read(buffer)
					request := string(buffer[:n])
					switch {
					case err != nil:
						return
					case strings.HasPrefix(request, "GET"):
						body := `{"data":[{"id":"` + session + `","accountId":"` + alice + `"}]}`
						io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
					case !strings.Contains(request, "Request-Id"):
						id := "Request:" + request[strings.Index(request, "Traceparent: 00-")+16:][:8] + "-0000-4000-8000-000000000000"
						body := strings.Replace(challenge, requestID, id, 1)
						io.WriteString(conn, "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
					default:
						f.count(&f.deletes, 1)
						spoil(conn)
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { ln.Close(); all.Wait() })
	return f
}

func (f *faulty) count(n *int, by int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*n += by
	f.changed.Broadcast()
}

// until waits for f's counts to be as they must become.
func (f *faulty) until(become func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !become() {
		f.changed.Wait()
	}
}

// traceparent is an observer that passes on what a client's traceparent says, by which
// faulty tells requests apart.
type traceparent struct{}

func (traceparent) Request(ctx context.Context, h http.Header) (context.Context, func(bridge.Record)) {
	return context.WithValue(ctx, ofRequest{}, h.Get("Traceparent")), func(bridge.Record) {}
}

func (traceparent) Call(ctx context.Context, _, _ string, h http.Header) func(bridge.Called) {
	h.Set("Traceparent", ctx.Value(ofRequest{}).(string))
	return func(bridge.Called) {}
}

func (traceparent) Happened(bridge.Event) {}

// TestFaults sends many revocations at once to a Grid that fails in one way,
// and then looks for what is left: each signed leg went out once, was answered
// by a code that says what is known, and holds no memory, no goroutine (see
// TestMain) and, where Grid hung up, no connection.
func TestFaults(t *testing.T) {
	const users = 16
	text := func(s string) func(net.Conn) { return func(c net.Conn) { io.WriteString(c, s) } }
	waits := func(c net.Conn) { io.Copy(io.Discard, c) } // until the bridge hangs up
	head := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	tests := []struct {
		name   string
		spoil  func(net.Conn)
		status int
		code   string
	}{
		{"silent", waits, 504, "BRIDGE_UPSTREAM_TIMEOUT"},
		{"slow header", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 2"); waits(c) }, 504, "BRIDGE_UPSTREAM_TIMEOUT"},
		{"slow body", func(c net.Conn) { io.WriteString(c, head+"Content-Length: 9\r\n\r\n{"); waits(c) }, 504, "BRIDGE_UPSTREAM_TIMEOUT"},
		{"drips", func(c net.Conn) {
			io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n")
			for {
				if _, err := io.WriteString(c, "1\r\n \r\n"); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}, 504, "BRIDGE_UPSTREAM_TIMEOUT"},
		{"half-closes", func(c net.Conn) { c.(*net.TCPConn).CloseWrite(); waits(c) }, 502, "BRIDGE_UPSTREAM_FAILED"},
		{"resets", func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }, 502, "BRIDGE_UPSTREAM_FAILED"},
		{"resets within the body", func(c net.Conn) {
			io.WriteString(c, head+"Content-Length: 9\r\n\r\n{")
			c.(*net.TCPConn).SetLinger(0)
		}, 502, "BRIDGE_UPSTREAM_FAILED"},
		{"garbage", text(strings.Repeat("\x00\xff\r\n", 1000)), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"endless body", func(c net.Conn) {
			io.WriteString(c, head+"\r\n")
			for {
				if _, err := c.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"429", text("HTTP/1.1 429 Many\r\nConnection: close\r\nRetry-After: 9\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"status\":429,\"code\":\"LIMIT\"}"), 429, "LIMIT"},
		{"503", text("HTTP/1.1 503 Busy\r\nConnection: close\r\nRetry-After: 9\r\nContent-Type: application/json\r\nContent-Length: 28\r\n\r\n{\"status\":503,\"code\":\"BUSY\"}"), 503, "BUSY"},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			f := newFaulty(t, v.spoil)
			c := newClient(t, "http://"+f.Addr().String(), func(c *bridge.Config) { c.Observer = traceparent{} })
			before := bridge.Heap()
			var challenges [users]string
			for i := range challenges {
				first := c.send("DELETE", "/auth/sessions/"+session, "", fmt.Sprintf("Traceparent: 00-%08xcd43dd8448eb211c80319cff-b7ad6b7169203331-01", i))
				if first.status != 202 {
					t.Fatalf("first leg = %d %s", first.status, first.body)
				}
				challenges[i] = first.body
			}
			var all sync.WaitGroup
			answered := 0
			for _, challenge := range challenges {
				all.Go(func() {
					defer f.count(&answered, 1)
					got := c.send("DELETE", "/auth/sessions/"+session, "", sign(t, challenge, "auto")...)
					if got.status != v.status || got.code != v.code {
						t.Errorf("answer = %d %s, want %d %s", got.status, got.code, v.status, v.code)
					}
				})
			}
			if v.status == 504 {
				f.until(func() bool { return f.deletes+answered >= users })
				close(c.deadline.passed)
			}
			all.Wait()
			c.server.Close()
			c.closeIdle()
			f.until(func() bool { return f.open == 0 }) // or the test never ends
			if f.deletes != users {
				t.Errorf("%d signed legs reached Grid, want %d: each once", f.deletes, users)
			}
			if grown := bridge.Heap() - before; grown > 8<<20 {
				t.Errorf("the heap grew by %d bytes", grown)
			}
		})
	}
}

// TestNeverSendsTwice kills a kept-alive connection after a request was written
// to it, which is when net/http resends what it takes to be safe. Once for each
// request with a side effect.
func TestNeverSendsTwice(t *testing.T) {
	everySample(t, func(t *testing.T, s sample) {
		if s.op.Route().Method == http.MethodGet {
			t.Skip("has no side effect")
		}
		for _, lines := range [][]string{nil, {"Idempotency-Key: 1", "X-Idempotency-Key: 1"}} {
			neverSendsTwice(t, s, false, lines...)
			if s.payload != "" {
				neverSendsTwice(t, s, true, lines...)
			}
		}
	})
}

func neverSendsTwice(t *testing.T, s sample, signed bool, lines ...string) {
	t.Helper()
	var connections, requests atomic.Int32
	challenge := challengeOf(s.payload, requestID)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			go func() {
				defer conn.Close()
				in := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					io.Copy(io.Discard, r.Body)
					status, body := "200 OK", `{"data":[{"id":"`+s.id+`","accountId":"`+alice+`","type":"`+string(s.credential())+`"}]}`
					switch {
					case r.Method == http.MethodGet:
					case signed && r.Header.Get("Request-Id") == "":
						status, body = "202 Accepted", challenge
					case s.issued != "" && r.Header.Get("Request-Id") == "":
						body = s.issued
					default:
						requests.Add(1)
						return // hang up without an answer
					}
					io.WriteString(conn, "HTTP/1.1 "+status+"\r\nContent-Type: application/json\r\nContent-Length: "+itoa(len(body))+"\r\n\r\n"+body)
				}
			}()
		}
	}()
	c := newClient(t, "http://"+ln.Addr().String())
	c.send("GET", anyGet, "") // makes the connection
	if s.issued != "" {
		c.send("POST", "/auth/credentials/"+s.id+"/challenge", askPasskey)
	}
	if signed {
		if got := c.sendSample(s); got.status != 202 {
			t.Fatalf("first leg = %d %s, want 202", got.status, got.body)
		}
		lines = append(stamp(t, s.payload, requestID), lines...)
	}
	if got := c.sendSample(s, lines...); got.status != 502 || got.code != "BRIDGE_UPSTREAM_FAILED" {
		t.Errorf("answer = %d %s, want 502 BRIDGE_UPSTREAM_FAILED", got.status, got.code)
	}
	// One connection, reused. Otherwise nothing was proven.
	if c, r := connections.Load(), requests.Load(); c != 1 || r != 1 {
		t.Errorf("signed %t: %d requests on %d connections, want 1 on 1", signed, r, c)
	}
}
