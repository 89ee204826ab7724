package conformance

import (
	"net"
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
