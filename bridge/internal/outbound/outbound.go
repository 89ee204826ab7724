// Package outbound is how the bridge and its adapters call others: which URLs
// they may call, over what transport, and what they may say of a failure.
package outbound

import (
	"crypto/tls"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

const (
	connectTimeout    = 5 * time.Second
	maxResponseHeader = 64 << 10
)

// ParseURL checks a URL that is to be called: https, or http on loopback or on
// one of insecureHosts, which the operator has named. Its errors do not quote it: it
// may hold a password.
func ParseURL(raw string, insecureHosts ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, errors.New("not an absolute URL")
	case u.User != nil || u.Fragment != "":
		return nil, errors.New("a URL with credentials or a fragment")
	case u.Scheme == "https", u.Scheme == "http" && MayBePlain(u.Hostname(), insecureHosts):
		return u, nil
	}
	return nil, errors.New("must be https, or http on loopback")
}

// MayBePlain reports whether host, without a port, may be talked to without TLS: it
// is this machine, or one of insecureHosts.
func MayBePlain(host string, insecureHosts []string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback() || slices.Contains(insecureHosts, host)
}

// NewTransport makes a transport that waits for timeout for the head of an answer.
//
// It is to be called without [http.Client], so that it follows no redirect: a
// redirect would carry credentials to a host of the other side's choosing. It
// ignores proxy variables of the environment for the same reason. HTTP/1.1 only: an
// HTTP/2 transport resends streams on rules of its own, and a signed leg must
// go out once. Over HTTP/1.1 net/http resends only GETs, requests with an
// Idempotency-Key (we never send one), and requests of which no byte was written.
func NewTransport(timeout time.Duration) *http.Transport {
	var http1 http.Protocols
	http1.SetHTTP1(true)
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		MaxIdleConnsPerHost:    64,
		IdleConnTimeout:        time.Minute,
		DisableCompression:     true, // bodies are relayed byte for byte, and cannot inflate
		Protocols:              &http1,
	}
}

// IsJSON reports whether there is one Content-Type and it is JSON in UTF-8. A
// page on another site cannot send that without asking first (CORS preflight).
func IsJSON(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	if contentType[0] == "application/json" { // as nearly all write it
		return true
	}
	typ, params, err := mime.ParseMediaType(contentType[0])
	if err != nil || typ != "application/json" {
		return false
	}
	delete(params, "charset") // JSON has one charset (RFC 8259, 8.1), whatever this says
	return len(params) == 0
}
