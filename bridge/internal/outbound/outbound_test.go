package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	for raw, ok := range map[string]bool{
		"https://app.example": true, "https://app.example:8443/a?b": true, "http://localhost:1": true, "http://127.0.0.1": true, "http://[::1]:1": true,
		"http://app:3000/whoami": true, "http://app.example": false, "http://app.": false, "http://127.0.0.1.example": false, "http://192.0.2.1": false,
		"": false, "app:3000": false, "//app.example": false, "redis://app": false, "https://": false, "https:app": false,
		"https://user:c4n4ry@app.example": false, "https://app.example#c4n4ry": false, "https://c4n4ry\x7f": false,
	} {
		_, err := ParseURL(raw, "app")
		if (err == nil) != ok || err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%q: error = %v, want ok %t and nothing of the URL in it", raw, err, ok)
		}
	}
}

// TestFailureOf names errors as net/http wraps them, and real ones where that is easy.
func TestFailureOf(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, refused := net.Dial("tcp", ln.Addr().String())
	_, noName := (&net.Dialer{}).Dial("tcp", "no-such-host.invalid:1")
	_, noFile := os.ReadFile("no such file")
	client, server := net.Pipe()
	go io.Copy(io.Discard, server)
	go io.WriteString(server, "HTTP/1.1 400 no TLS here\r\n\r\n")
	noTLS := tls.Client(client, &tls.Config{ServerName: "x"}).Handshake()
	server.Close()
	past, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for _, v := range []struct {
		err  error
		want Failure
	}{
		{refused, Refused}, {noName, DNS}, {noFile, NotFound}, {noTLS, TLS}, {past.Err(), Timeout}, {context.Canceled, Canceled},
		{fmt.Errorf("read: %w", os.ErrDeadlineExceeded), Timeout}, {fmt.Errorf("read: %w", syscall.ECONNRESET), HungUp}, {io.ErrUnexpectedEOF, HungUp},
		{&tls.CertificateVerificationError{Err: errors.New("c4n4ry")}, TLS}, {fs.ErrPermission, Denied}, {errors.New("c4n4ry"), Unknown},
	} {
		if got := FailureOf(v.err); got != v.want {
			t.Errorf("%T is %s, want %s", v.err, got, v.want)
		}
	}
}
