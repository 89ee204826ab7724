package bridge

import (
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

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys     = 1 << 20
	keysTimeout = 10 * time.Second // of one request to the issuer
	keysWait    = 2 * time.Second  // how long tokens wait for a key set
	keysMinAge  = 10 * time.Second
	keysMaxAge  = 5 * time.Minute
)

// KeySource reads an issuer's JSON Web Key Set (RFC 7517) before its context
// ends. It is called again when the last set is five minutes old, so that a key
// which the issuer withdrew is no longer believed, and sooner when a token is
// signed by no key of it, so that keys can be rotated without a restart.
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
			return nil, ownError("discovery: " + reason(err))
		}
		var found struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(document, &found); err != nil || found.Issuer != issuer {
			return nil, ownError("discovery: not a document about this issuer")
		}
		return fetch(ctx, found.JWKSURI)
	}
}

// fetcher returns a function that reads a URL. It follows no redirect: what it
// reads decides who is let in. Its errors quote nothing that it read.
func fetcher(transport *http.Transport) func(ctx context.Context, url string) ([]byte, error) {
	return func(ctx context.Context, url string) ([]byte, error) {
		if _, err := parseURL(url); err != nil {
			return nil, ownError("the URL is " + err.Error())
		}
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, ownError(reason(err))
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, ownError(reason(err))
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, ownError(fmt.Sprintf("answered with status %d", resp.StatusCode))
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys))
		if err != nil {
			return nil, ownError(reason(err))
		}
		return body, nil
	}
}

// keySet is an [oidc.KeySet] of what a [KeySource] gave last. It is read again
// when it is older than [keysMaxAge], and for a token that none of its keys
// signed. The latter any client can make up, and must turn the bridge neither
// into a load on the issuer, so [keysMinAge] passes between two reads, nor into
// a queue behind an issuer that hangs: all wait for a read together, for
// [keysWait] from its beginning, and then go by the last set.
type keySet struct {
	source KeySource
	now    func() time.Time
	log    *slog.Logger

	mu   sync.Mutex
	keys *oidc.StaticKeySet
	read time.Time       // when the last read ended, well or not
	wait <-chan struct{} // ends the waiting for the read under way, nil if none is
}

// newKeySet reads o.Keys once, to find a wrong one at the start.
func newKeySet(ctx context.Context, o OIDC) (*keySet, error) {
	if o.Keys == nil {
		return nil, errors.New("bridge: no source of keys")
	}
	keys, err := o.Keys.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("bridge: reading the key set (JWKS): %w", err)
	}
	return &keySet{source: o.Keys, now: o.Now, log: o.Log, read: o.Now(), keys: keys}, nil
}

// load reads the set and leaves out the keys that it cannot use: they are for
// others (RFC 7517, 5). A set without any other is not one.
func (s KeySource) load(ctx context.Context) (*oidc.StaticKeySet, error) {
	text, err := s(ctx)
	if err != nil {
		return nil, err
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, ownError("not a JWKS")
	}
	keys := &oidc.StaticKeySet{}
	for _, text := range set.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.IsPublic() {
			keys.PublicKeys = append(keys.PublicKeys, key.Key)
		}
	}
	if keys.PublicKeys == nil {
		return nil, ownError("not a JWKS with at least one public key")
	}
	return keys, nil
}

// VerifySignature returns the payload of jwt if one of the keys signed it.
func (k *keySet) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	keys := k.younger(ctx, keysMaxAge)
	payload, err := keys.VerifySignature(ctx, jwt)
	if err == nil {
		return payload, nil
	}
	if newer := k.younger(ctx, keysMinAge); newer != keys {
		return newer.VerifySignature(ctx, jwt)
	}
	return nil, err
}

// younger returns the keys, as far as possible read less than age ago.
func (k *keySet) younger(ctx context.Context, age time.Duration) *oidc.StaticKeySet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.now().Sub(k.read) < age {
		return k.keys
	}
	if k.wait == nil {
		wait, done := context.WithTimeout(context.Background(), keysWait)
		k.wait = wait.Done()
		go k.refresh(done)
	}
	wait := k.wait
	k.mu.Unlock()
	select {
	case <-wait:
	case <-ctx.Done():
	}
	k.mu.Lock()
	return k.keys
}

// refresh reads the set again. It outlives the request that asked for it.
func (k *keySet) refresh(done context.CancelFunc) {
	defer done()
	ctx, cancel := context.WithTimeout(context.Background(), 2*keysTimeout) // discovery and keys
	defer cancel()
	keys, err := k.source.load(ctx)
	if err != nil { // the last set stays: an issuer that is down signs nobody out
		k.log.LogAttrs(ctx, slog.LevelWarn, "key set not read: the last one stays", slog.String("reason", reason(err)))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.keys = keys
	}
	k.read, k.wait = k.now(), nil
}
