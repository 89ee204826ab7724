package conformance

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// TestSilenceIsNoHangUp sends what may be answered by hanging up to a bridge
// that does, to one that never says anything, and to one that is not there.
func TestSilenceIsNoHangUp(t *testing.T) {
	for _, v := range []struct {
		name    string
		answer  func(net.Conn)
		timeout time.Duration
		ok      bool
	}{
		{"hangs up", func(conn net.Conn) { conn.Close() }, answerTimeout, true},
		{"says nothing", func(conn net.Conn) { t.Cleanup(func() { conn.Close() }) }, 50 * time.Millisecond, false},
		{"is not there", nil, answerTimeout, false},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if v.answer == nil {
			ln.Close()
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if conn, err := ln.Accept(); err == nil {
				v.answer(conn)
			}
		}()
		target, err := newTarget(Options{URL: "http://" + ln.Addr().String(), Account: "InternalAccount:x"})
		if err != nil {
			t.Fatal(err)
		}
		target.answerTimeout = v.timeout
		got, err := target.try(t.Context(), probe{request: target.root("GET", "/"), want: unread, mayHangUp: true})
		if err != nil || got.OK != v.ok || got.OK != (got.Detail == "") {
			t.Errorf("a bridge that %s: %+v, %v; want ok %t", v.name, got, err, v.ok)
		}
		ln.Close()
		<-done
	}
}

// TestPromise sends a request whose body never comes to bridges that answer it
// well and badly. How long a busy machine takes matters only to the former.
func TestPromise(t *testing.T) {
	const refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n"
	for _, v := range []struct {
		name   string
		answer string
		stays  bool // connected
		ok     bool
	}{
		{"says that it closes", refusal + "Connection: close\r\n\r\n", true, true},
		{"closes", refusal + "\r\n", false, true},
		{"has a server in front that asks for the body", "HTTP/1.1 100 Continue\r\n\r\n" + refusal + "\r\n", false, true},
		{"goes on waiting", refusal + "\r\n", true, false},
		{"asks for the body", "HTTP/1.1 100 Continue\r\n\r\n", true, false},
		{"says nothing", "", true, false},
		{"closes without an answer", "", false, false},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		end, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err != nil || req.Close {
				t.Errorf("a bridge that %s was asked to close: %+v, %v", v.name, req, err)
			}
			io.WriteString(conn, v.answer)
			if v.stays {
				<-end
			}
		}()
		patience := time.Second
		if v.ok {
			patience = 10 * time.Minute
		}
		target, err := newTarget(Options{URL: "http://" + ln.Addr().String(), Account: "InternalAccount:x", Patience: patience})
		if err != nil {
			t.Fatal(err)
		}
		request := target.request("POST", "/", "", "Content-Length: 100")
		got, err := target.try(t.Context(), probe{request: request, want: refused(), promised: true})
		if err != nil || got.OK != v.ok || got.OK != (got.Detail == "") {
			t.Errorf("a bridge that %s: %+v, %v; want ok %t", v.name, got, err, v.ok)
		}
		close(end)
		ln.Close()
		<-done
	}
}
