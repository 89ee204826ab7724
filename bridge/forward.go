package bridge

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	maxResponse       = 1 << 20  // Grid's largest answer is a list of a few kilobytes
	maxResponseHeader = 64 << 10 // and its headers are fewer still
	connectTimeout    = 5 * time.Second
)

// newTransport makes the transport to Grid.
//
// It is called without [http.Client], so it follows no redirect: a redirect
// would carry the credentials to a host of the upstream's choosing. It ignores
// proxy variables of the environment for the same reason. HTTP/1.1 only: an
// HTTP/2 transport resends streams on rules of its own, and a signed leg must
// go out once. Over HTTP/1.1 net/http resends only GETs, requests with an
// Idempotency-Key (we never send one), and requests of which no byte was written.
func newTransport(timeout time.Duration) *http.Transport {
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

// answer is what of Grid's response is relayed.
type answer struct {
	status     int
	retryAfter string // "" if Grid sent none
	body       []byte // nil with 204
}

// do sends c to Grid as a request made from nothing but the parts of c and the
// bridge's credentials, and reads the answer whole before anything is relayed.
// Its errors are refusals. It never sends twice.
func (b *bridge) do(ctx context.Context, c *call) (a *answer, err error) {
	ctx, span := b.tracer.Start(ctx, c.route.Method+" "+c.route.template, trace.WithSpanKind(trace.SpanKindClient))
	defer func() { describeAnswer(span, c, a, err) }()
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.route.Method, b.upstream+c.route.path(c.id), body)
	if err != nil {
		return nil, errInternal
	}
	for name, values := range c.headers {
		req.Header[name] = values
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gridbridge")
	req.Header.Set("Authorization", b.credentials.header().reveal())
	setTrace(req.Header, span.SpanContext())

	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return nil, upstreamError(ctx, err)
	}
	defer resp.Body.Close()
	a = &answer{status: resp.StatusCode, retryAfter: retryAfter(resp.Header["Retry-After"])}
	switch {
	case a.status == http.StatusUnauthorized && !c.proves():
		// The user showed Grid nothing that could be wrong, so the refusal is
		// for the bridge's credentials. Relayed, it would log users out for a
		// fault of the operator. Where the call does carry proof a 401 may be
		// either (contract 7.2): see exchange.
		return nil, errUpstreamCredential
	case a.status == http.StatusNoContent:
		return a, nil
	case a.status < 200, a.status >= 300 && a.status < 400, a.status >= 600:
		return nil, errUpstreamInvalid
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, upstreamError(ctx, err)
	case len(a.body) > maxResponse, !isJSON(resp.Header["Content-Type"]), !json.Valid(a.body):
		return nil, errUpstreamInvalid
	}
	return a, nil
}

// upstreamError names the failure of a round trip. The error's own text may
// quote what the upstream sent, so it goes nowhere.
func upstreamError(ctx context.Context, err error) error {
	timeout, ok := errors.AsType[net.Error](err)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return errClientGone
	case ctx.Err() != nil, ok && timeout.Timeout():
		return errUpstreamTimeout
	}
	return errUpstreamFailed
}

// retryAfter returns the value of a Retry-After header if it has one of its two
// forms (RFC 9110, 10.2.3), else "".
func retryAfter(values []string) string {
	if len(values) != 1 {
		return ""
	}
	if _, err := strconv.ParseUint(values[0], 10, 32); err == nil {
		return values[0]
	}
	if _, err := http.ParseTime(values[0]); err == nil {
		return values[0]
	}
	return ""
}

// write relays a with the headers of the allow-list and no others.
func (a *answer) write(w http.ResponseWriter) {
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	if a.body != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	w.Write(a.body) // the client may be gone: nothing to do about it
}
