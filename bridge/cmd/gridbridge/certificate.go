package main

import (
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/outbound"
)

// certificateAge is how long what was read of the files is used before they are looked at
// again.
const certificateAge = 10 * time.Second

// certificate is what two files hold at the moment: they are replaced while a bridge runs, by
// whatever renews certificates.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger
	observe           func(bridge.Event)
	now               func() time.Time

	mu      sync.Mutex
	current *tls.Certificate
	looked  time.Time
	seen    [sha256.Size]byte // what was read last, whether or not it could be used
	failed  bridge.Reason     // why it could not be, "" if it could
}

// openCertificate reads the files, which must fit.
func openCertificate(certFile, keyFile string, log *slog.Logger, observe func(bridge.Event), now func() time.Time) (*certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("--tls-cert and --tls-key belong together")
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, observe: observe, now: now, looked: now()}
	var err error
	if c.current, c.seen, err = c.read(); err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	return c, nil
}

// read reads the pair. Its error quotes nothing of the files.
func (c *certificate) read() (pair *tls.Certificate, seen [sha256.Size]byte, err error) {
	cert, errCert := os.ReadFile(c.certFile)
	key, errKey := os.ReadFile(c.keyFile)
	seen = sha256.Sum256(fmt.Appendf(cert, "%v %v %s", errCert, errKey, key))
	if err := errors.Join(errCert, errKey); err != nil {
		return nil, seen, err
	}
	both, err := tls.X509KeyPair(cert, key)
	return &both, seen, err
}

// get is what each handshake asks. A pair that cannot be used leaves the one before in use.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.looked) < certificateAge {
		return c.current, nil
	}
	c.looked = now
	pair, seen, err := c.read()
	if seen == c.seen {
		if c.failed != "" { // which is counted at each look, or an alert would end while it is still so
			c.observe(bridge.Event{Kind: bridge.EventCertificate, Reason: c.failed})
		}
		return c.current, nil
	}
	c.seen, c.failed = seen, ""
	if err != nil {
		c.log.Error("the certificate cannot be read again, the last one stays in use", slog.String("error", err.Error()))
		c.failed = bridge.ReasonForm
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			c.failed = bridge.Reason(outbound.FailureOf(err))
		}
		c.observe(bridge.Event{Kind: bridge.EventCertificate, Reason: c.failed})
		return c.current, nil
	}
	c.log.Info("the certificate was read again")
	c.observe(bridge.Event{Kind: bridge.EventCertificate})
	c.current = pair
	return pair, nil
}

// config is TLS of 1.2 or later. HTTP is that of 1.1, which is what the conformance suite
// holds a bridge to; a proxy in front speaks HTTP/2 with browsers.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}
}
