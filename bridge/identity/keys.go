package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/outbound"
)

const (
	maxKeys     = 1 << 20
	minRSA      = 2048             // bits (RFC 7518, 3.3)
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

// readError says why a key set cannot be used: for machines, and in words that
// quote nothing that was read.
type readError struct {
	reason bridge.Reason
	words  string
}

func (e readError) Error() string { return e.words }
func (e readError) Unwrap() error { return e.reason }

// KeysFrom returns the source that location names: an https URL (http on
// loopback and where h allows it), or else the path of a file. A wrong location,
// or a wrong file of h, fails when it is read.
func KeysFrom(location string, h HTTP) KeySource {
	fetch, errFiles := h.fetcher()
	return func(ctx context.Context) ([]byte, error) {
		switch {
		case errFiles != nil:
			return nil, errFiles
		case location == "":
			return nil, readError{bridge.ReasonNotFound, "no file or URL is set"}
		case !strings.Contains(location, "://"):
			return os.ReadFile(location)
		}
		return fetch(ctx, location)
	}
}

// DiscoverKeys returns the source of the keys of issuer, an https URL (http on
// loopback and where h allows it): those that its OpenID Connect discovery document
// names. The document must be about that very issuer (OpenID Connect Discovery
// 1.0, 4.3).
func DiscoverKeys(issuer string, h HTTP) KeySource {
	fetch, errFiles := h.fetcher()
	return func(ctx context.Context) ([]byte, error) {
		if errFiles != nil {
			return nil, errFiles
		}
		document, err := fetch(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration")
		if err != nil {
			return nil, fmt.Errorf("discovery: %w", err)
		}
		var found struct {
			Issuer  string `json:"issuer"`
			JWKSURI string `json:"jwks_uri"`
		}
		if err := decode(document, &found); err != nil || found.Issuer != issuer {
			return nil, readError{bridge.ReasonForm, "discovery: not a document about this issuer"}
		}
		return fetch(ctx, found.JWKSURI)
	}
}

// fetcher returns a function that reads a URL. It follows no redirect: what it
// reads decides who is let in. Its errors quote neither the URL nor what it read.
func (h HTTP) fetcher() (fetch func(ctx context.Context, url string) ([]byte, error), err error) {
	transport, err := h.transport(keysTimeout)
	return func(ctx context.Context, url string) ([]byte, error) {
		if _, err := outbound.ParseURL(url, h.InsecureHosts...); err != nil {
			return nil, readError{bridge.ReasonForm, "the URL is " + err.Error()}
		}
		ctx, cancel := context.WithTimeout(ctx, keysTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, reasonOf(err)
		}
		req.Header.Set("User-Agent", "gridbridge")
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return nil, reasonOf(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, readError{bridge.ReasonStatus, fmt.Sprintf("answered with status %d", resp.StatusCode)}
		}
		body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys))
		if err != nil {
			return nil, reasonOf(err)
		}
		return body, nil
	}, err
}

// keys are those of a key set that may have signed a token.
type keys struct {
	list  []jose.JSONWebKey
	named bool // at least one has a kid
	left  leftOut
}

// leftOut are how many keys of a set verify no token.
type leftOut struct{ others, weak, unknown int }

// report logs what was left out, unless that was said of the last set. A key for encryption
// is beside the others at many issuers; the rest somebody meant to be used.
func (l leftOut) report(ctx context.Context, log *slog.Logger, last leftOut) {
	if l == last || l == (leftOut{}) {
		return
	}
	level := slog.LevelInfo
	if l.weak+l.unknown > 0 {
		level = slog.LevelWarn
	}
	log.LogAttrs(ctx, level, "key set: some keys verify no token and are left out",
		slog.Int("forSomethingElse", l.others), slog.Int("rsaUnder2048Bits", l.weak), slog.Int("ofAnotherKindOrPrivate", l.unknown))
}

// load reads the set and leaves out the keys that it cannot use: they are for
// others (RFC 7517, 5). A set without any other is not one.
func (s KeySource) load(ctx context.Context) (*keys, error) {
	text, err := s(ctx)
	if err != nil {
		return nil, err
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if !json.Valid(text) {
		return nil, readError{bridge.ReasonNotJSON, "not a JWKS: no JSON"}
	}
	if decode(text, &set) != nil || len(set.Keys) == 0 {
		return nil, readError{bridge.ReasonForm, "not a JWKS with at least one public key"}
	}
	found := &keys{}
	for _, text := range set.Keys {
		key, err := parseKey(text)
		switch {
		case err == errNotToVerify:
			found.left.others++
		case err == errWeak:
			found.left.weak++
		case err != nil:
			found.left.unknown++
		default:
			found.list = append(found.list, key)
			found.named = found.named || key.KeyID != ""
		}
	}
	if found.list == nil {
		return nil, readError{bridge.ReasonForm, fmt.Sprintf(
			"no public key that verifies tokens: of %d keys, %d are for something else (use, key_ops), %d are RSA keys under %d bits, and %d are of another kind or private",
			len(set.Keys), found.left.others, found.left.weak, minRSA, found.left.unknown)}
	}
	return found, nil
}

var (
	errNotToVerify = errors.New("use or key_ops of something else")
	errWeak        = errors.New("too short")
)

func parseKey(text []byte) (key jose.JSONWebKey, err error) {
	var operations struct {
		List []string `json:"key_ops"` // which go-jose does not read
	}
	if err := errors.Join(decode(text, &key), decode(text, &operations)); err != nil {
		return key, err
	}
	if key.Use != "" && key.Use != "sig" || operations.List != nil && !slices.Contains(operations.List, "verify") {
		return key, errNotToVerify
	}
	if public, ok := key.Key.(*rsa.PublicKey); ok && public.N.BitLen() < minRSA {
		return key, errWeak
	}
	if !slices.ContainsFunc(signingAlgorithms, func(alg jose.SignatureAlgorithm) bool { return fits(&key, alg) }) {
		return key, jose.ErrUnsupportedKeyType
	}
	return key, nil
}

// fits reports whether key is one for alg (RFC 7518, 3.1). A key that says nothing
// of it is for all that its kind and curve allow.
func fits(key *jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(alg) {
		return false
	}
	switch public := key.Key.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256 || alg == jose.PS256
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && public.Curve == elliptic.P256() || alg == jose.ES384 && public.Curve == elliptic.P384()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}

// verify returns the payload of token if one of the keys signed it: the one that
// it names or, if either side names none, any.
func (k *keys) verify(token *jose.JSONWebSignature) ([]byte, error) {
	header, refusal := token.Signatures[0].Protected, bridge.ReasonTokenKey
	for _, key := range k.list {
		if header.KeyID != "" && k.named && key.KeyID != header.KeyID || !fits(&key, jose.SignatureAlgorithm(header.Algorithm)) {
			continue
		}
		if payload, err := token.Verify(key.Key); err == nil {
			return payload, nil
		}
		refusal = bridge.ReasonTokenSignature
	}
	return nil, refusal
}

// keySet is what a [KeySource] gave last. It is read again when it is older than
// [keysMaxAge], and for a token that none of its keys signed. The latter any client
// can make up, and must turn the bridge neither into a load on the issuer, so
// [keysMinAge] passes between two reads, nor into a queue behind an issuer that
// hangs: all wait for a read together, for [keysWait] from its beginning, and then
// go by the last set.
type keySet struct {
	source  KeySource
	now     func() time.Time
	log     *slog.Logger // which knows the issuer
	observe func(bridge.Event)

	mu   sync.Mutex
	keys *keys
	read time.Time       // when the last read ended, well or not
	wait <-chan struct{} // ends the waiting for the read under way, nil if none is

	failed bool // the last read
}

// newKeySet reads the keys of issuer i once, to find a wrong source at the start.
func newKeySet(ctx context.Context, o *OIDC, i int) (*keySet, error) {
	source := o.Issuers[i].Keys
	if source == nil {
		return nil, fmt.Errorf("identity: issuer %d: no source of keys", i+1)
	}
	keys, err := source.load(ctx)
	if err != nil {
		return nil, fmt.Errorf("identity: issuer %d: reading the key set (JWKS): %w", i+1, err)
	}
	log := o.Log.With(slog.Int("issuer", i+1))
	keys.left.report(ctx, log, leftOut{})
	return &keySet{source: source, now: o.Now, log: log, observe: o.Observe, read: o.Now(), keys: keys}, nil
}

// verify returns the payload of token if one of the keys signed it.
func (k *keySet) verify(ctx context.Context, token *jose.JSONWebSignature) ([]byte, error) {
	keys := k.younger(ctx, keysMaxAge)
	payload, err := keys.verify(token)
	if err == nil {
		return payload, nil
	}
	if newer := k.younger(ctx, keysMinAge); newer != keys {
		payload, err = newer.verify(token)
	}
	if errors.Is(err, bridge.ReasonTokenKey) && k.lags() {
		err = unavailable(bridge.ReasonTokenKey) // it may be a new key's: no reason to sign anybody out
	}
	return payload, err
}

// lags reports whether the set could not be read when it was last tried.
func (k *keySet) lags() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed || k.wait != nil
}

// younger returns the keys, as far as possible read less than age ago.
func (k *keySet) younger(ctx context.Context, age time.Duration) *keys {
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
	happened := bridge.Event{Kind: bridge.EventKeys}
	if err != nil { // the last set stays: an issuer that is down signs nobody out
		happened.Reason = reasonOf(err)
		k.log.LogAttrs(ctx, slog.LevelWarn, "key set not read: the last one stays", slog.String("reason", string(happened.Reason)))
	}
	k.observe(happened)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		keys.left.report(ctx, k.log, k.keys.left)
		k.keys = keys
	}
	k.read, k.wait, k.failed = k.now(), nil, err != nil
}
