package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	maxKeys     = 1 << 20
	keysTimeout = 10 * time.Second
	keysMinAge  = 10 * time.Second
	keysURL     = "https://keys.invalid/" // what go-oidc is told; keyTransport answers it
)

// KeySource reads an issuer's JSON Web Key Set (RFC 7517). It is called again
// when a token names a key that the last set did not have, so that keys can be
// rotated without a restart.
type KeySource func(context.Context) ([]byte, error)

// KeysFrom returns the source that location names: an https URL (http on
// loopback), or else the path of a file. A wrong location fails when it is read.
func KeysFrom(location string) KeySource {
	if location == "" {
		return func(context.Context) ([]byte, error) { return nil, errors.New("no file or URL is set") }
	}
	if !strings.Contains(location, "://") {
		return func(context.Context) ([]byte, error) { return os.ReadFile(location) }
	}
	fetch := fetcher(newTransport(keysTimeout))
	return func(ctx context.Context) ([]byte, error) { return fetch(ctx, location) }
}

// DiscoverKeys returns the source of the keys of issuer, an https URL (http on
// loopback): those that its OpenID Connect discovery document names. The
// document must be about that very issuer (OpenID Connect Discovery 1.0, 4.3).
func DiscoverKeys(issuer string) KeySource {
	fetch := fetcher(newTransport(keysTimeout))
	return func(ctx context.Context) ([]byte, error) {
		document, err := fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		var found struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(document, &found); err != nil || found.Issuer != issuer {
			return nil, errors.New("discovery: not a document about this issuer")
		}
		return fetch(ctx, found.JWKSURI)
	}
}

// fetcher returns a function that reads a URL. It follows no redirect: what it
// reads decides who is let in. Its errors quote nothing that it read.
func fetcher(transport *http.Transport) func(ctx context.Context, url string) ([]byte, error) {
	return func(ctx context.Context, url string) ([]byte, error) {
		if _, err := parseURL(url); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("answered with status %d", resp.StatusCode)
		}
		return io.ReadAll(io.LimitReader(resp.Body, maxKeys))
	}
}

// keyTransport lets go-oidc's rotating key set, which knows only HTTP, read
// from a [KeySource]. It reads at most every [keysMinAge]: any client can make
// up a token that names an unknown key, and must not be able to turn the bridge
// into a load on the issuer.
type keyTransport struct {
	source KeySource
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex
	read time.Time
	set  []byte
}

// newKeyTransport reads o.Keys once, to find a wrong one at the start.
func newKeyTransport(ctx context.Context, o OIDC) (*keyTransport, error) {
	if o.Keys == nil {
		return nil, errors.New("bridge: no source of keys")
	}
	set, err := o.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("bridge: reading the key set (JWKS): %w", err)
	}
	var keys struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(set, &keys); err != nil || len(keys.Keys) == 0 {
		return nil, errors.New("bridge: the key set is not a JWKS with at least one key")
	}
	return &keyTransport{source: o.Keys, now: o.Now, log: o.Log, read: o.Now(), set: set}, nil
}

// RoundTrip answers with the key set.
func (t *keyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now().Sub(t.read) >= keysMinAge {
		t.read = t.now()
		set, err := t.source(req.Context())
		if err == nil {
			t.set = set
		} else { // the last set stays: an issuer that is down signs nobody out
			t.log.LogAttrs(req.Context(), slog.LevelWarn, "key set not read", slog.String("error", err.Error()))
		}
	}
	return &http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {"application/json"}},
		Body:       io.NopCloser(bytes.NewReader(t.set)),
		Request:    req,
	}, nil
}
