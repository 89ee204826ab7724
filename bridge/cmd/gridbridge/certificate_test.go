package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
)

// newPair writes a certificate, by itself its authority, and its key. It is for this machine, and
// for what its name is an address of.
func newPair(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.ParseIP(name)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	template.IPAddresses = slices.DeleteFunc(template.IPAddresses, func(ip net.IP) bool { return ip == nil })
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(&block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestCertificateIsReplaced replaces the files under a server, by another pair, by half of
// one, by none, and by a third pair.
func TestCertificateIsReplaced(t *testing.T) {
	cert, key := newPair(t, "first")
	var log lockedBuffer
	var events []bridge.Event
	now := time.Now()
	c, err := openCertificate(cert, key, slog.New(slog.NewTextHandler(&log, nil)), func(e bridge.Event) { events = append(events, e) }, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	name := func() string {
		t.Helper()
		pair, err := c.config().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.Subject.CommonName
	}
	after := func(what, want string, news ...bridge.Event) {
		t.Helper()
		for range 3 { // what could be read is told once, what could not at each look
			now = now.Add(certificateAge)
			if got := name(); got != want {
				t.Errorf("%s: the certificate is the %s, want the %s", what, got, want)
			}
		}
		if !slices.Equal(events, news) {
			t.Errorf("%s: events = %v, want %v", what, events, news)
		}
		events = nil
	}
	after("nothing", "first")
	secondCert, secondKey := newPair(t, "second")
	move(t, secondCert, cert)
	move(t, secondKey, key)
	now = now.Add(certificateAge - 1)
	if got := name(); got != "first" {
		t.Errorf("at once: the certificate is the %s", got)
	}
	after("another pair", "second", bridge.Event{Kind: bridge.EventCertificate})
	thirdCert, thirdKey := newPair(t, "third")
	move(t, thirdCert, cert)
	misfit, missing := bridge.Event{Kind: bridge.EventCertificate, Reason: bridge.ReasonForm}, bridge.Event{Kind: bridge.EventCertificate, Reason: bridge.ReasonNotFound}
	after("half of a pair", "second", misfit, misfit, misfit)
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	after("no key", "second", missing, missing, missing)
	move(t, thirdKey, key)
	after("the rest of the pair", "third", bridge.Event{Kind: bridge.EventCertificate})
	if got := log.String(); strings.Count(got, "level=ERROR") != 2 || strings.Contains(got, "BEGIN") {
		t.Errorf("log = %s", got)
	}
}

// TestServeWithTLS serves by the certificate that the files hold, in TLS 1.2 or later, and logs no
// handshake of a stranger's.
func TestServeWithTLS(t *testing.T) {
	cert, key := newPair(t, "the one")
	p := start(t, serveEnv, "serve", "--listen", "127.0.0.1:0", "--forward-auth", "https://app.example/", "--tls-cert", cert, "--tls-key", key)
	address, _, _ := strings.Cut(strings.TrimPrefix(p.line(), "bridge listening on https://"), "/")
	roots := x509.NewCertPool()
	text, err := os.ReadFile(cert)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("https://" + address + "/api/grid" + "/auth/sessions")
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 401 || resp.ProtoMajor != 1 || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("answer = %d in HTTP/%d over TLS %x", resp.StatusCode, resp.ProtoMajor, resp.TLS.Version)
	}
	for name, config := range map[string]*tls.Config{
		"TLS 1.1":             {RootCAs: roots, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"another's authority": {RootCAs: x509.NewCertPool()},
	} {
		if conn, err := tls.Dial("tcp", address, config); err == nil {
			conn.Close()
			t.Errorf("%s: a handshake", name)
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if answer, _ := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.0 400") {
		t.Errorf("answer without TLS = %q", answer)
	}
	if log := p.stderr.String(); strings.Contains(log, "handshake") || !strings.Contains(log, `"tls":true`) {
		t.Errorf("log = %s", log)
	}
}

// TestConnectionsWithTLS closes the connection that has been quiet the longest for a new one,
// and none with a request, where TLS is around them.
func TestConnectionsWithTLS(t *testing.T) {
	cert, key := newPair(t, "the one")
	c, err := openCertificate(cert, key, slog.New(slog.DiscardHandler), nil, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	reached, proceed := make(chan struct{}), make(chan struct{})
	closings, observe := counter(t, bridge.EventConnection)
	limited := cappedWith(t, c.config(), 2, observe, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/busy" {
			close(reached)
			<-proceed
		}
	}, nil)
	secure := func() peer {
		p := dial(t, limited.Addr())
		p.Conn = tls.Client(p.Conn, &tls.Config{InsecureSkipVerify: true})
		p.answers.Reset(p.Conn)
		return p
	}
	busy, quiet := secure(), secure()
	busy.send("/busy")
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatal("the request is not handled")
	}
	quiet.send("/")
	quiet.answered()
	limited.waitQuiet(t, 1)
	other := secure()
	other.send("/")
	other.answered()
	quiet.closed()
	close(proceed)
	busy.answered()
	if got := closings.Load(); got != 1 {
		t.Errorf("%d closings, want 1", got)
	}
}
