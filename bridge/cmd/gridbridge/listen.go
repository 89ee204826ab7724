package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"gridsigner/bridge"
)

// shutdownMargin is how long what is in flight may take to finish beyond what Grid is given:
// reading and writing.
const shutdownMargin = 30 * time.Second

// listenLoopback listens where no other machine can connect, and refuses an
// address that is not such a place. It judges what a name resolves to.
func listenLoopback(address string) (net.Listener, error) {
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	if !addr.IP.IsLoopback() {
		return nil, fmt.Errorf("--listen: %q is not a loopback address", address)
	}
	return net.ListenTCP("tcp", addr)
}

// listener is an open listener and what answers on it.
type listener struct {
	net.Listener
	tls     *tls.Config // nil for none
	handler http.Handler
}

// origin is the listener's base URL.
func origin(ln net.Listener) string {
	return (&url.URL{Scheme: "http", Host: ln.Addr().String()}).String()
}

// at says where path is on the listener: its URL, or what comes nearest to one for a socket.
func (l listener) at(path string) string {
	switch {
	case l.Addr().Network() == "unix" && path != "":
		return socketPrefix + l.Addr().String() + ", below " + path
	case l.Addr().Network() == "unix":
		return socketPrefix + l.Addr().String()
	case l.tls != nil:
		return (&url.URL{Scheme: "https", Host: l.Addr().String(), Path: path}).String()
	}
	return origin(l) + path
}

// serverLog is for what servers have to say, without the whole addresses that are in it. Of
// failed handshakes nothing is said: anybody who connects can make one.
func serverLog(log *slog.Logger) *stdlog.Logger {
	return stdlog.New(withoutAddresses{slog.NewLogLogger(log.Handler(), slog.LevelWarn).Writer()}, "", 0)
}

type withoutAddresses struct{ io.Writer }

func (w withoutAddresses) Write(line []byte) (int, error) {
	const panicked = "http: panic serving "
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		return len(line), nil
	}
	if rest, ok := bytes.CutPrefix(line, []byte(panicked)); ok {
		_, rest, _ = bytes.Cut(rest, []byte(": "))
		return w.Writer.Write(append([]byte(panicked), rest...))
	}
	return w.Writer.Write(line)
}

// serveAll serves on all listeners until ctx ends, then lets the requests in
// flight finish. It closes the listeners.
//
// If there is a drain it is waited for in between: requests are still taken, as
// a load balancer goes on to send them until it has seen that /readyz says no,
// but each connection is used for the last time. Otherwise those that a
// balancer keeps would be closed under its next request, which it may not send
// twice.
func serveAll(ctx context.Context, log *slog.Logger, timeout time.Duration, drain func(), listeners ...listener) error {
	var servers []*http.Server
	failed := make(chan error, len(listeners))
	for _, ln := range listeners {
		server := bridge.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if ctx.Err() != nil {
				w.Header().Set("Connection", "close")
			}
			ln.handler.ServeHTTP(w, r)
		}))
		server.ErrorLog = serverLog(log)
		if c, ok := ln.Listener.(*connections); ok {
			c.watch(server)
		}
		servers = append(servers, server)
		open := ln.Listener
		if ln.tls != nil {
			open = tls.NewListener(open, ln.tls)
		}
		go func() { failed <- server.Serve(open) }()
	}
	var errs []error
	select {
	case <-ctx.Done():
		if drain != nil {
			drain()
		}
	case err := <-failed:
		errs = append(errs, err)
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout+shutdownMargin)
	defer cancel()
	for _, server := range servers {
		errs = append(errs, server.Shutdown(patience))
	}
	return errors.Join(errs...)
}
