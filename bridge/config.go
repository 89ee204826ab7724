package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gridsigner/bridge/internal/outbound"
	"gridsigner/signer"
)

// Defaults of [Config].
const (
	DefaultUpstream = "https://api.lightspark.com/grid/2025-10-13"
	DefaultPrefix   = "/api/grid"
	DefaultTimeout  = 15 * time.Second
)

// Config is what a bridge needs to know.
type Config struct {
	// Upstream is Grid's base URL with its version path, "" for
	// [DefaultUpstream]. Plain http is accepted on loopback only.
	Upstream string

	// ClientID and ClientSecret are the API credentials. They are added to
	// every request to Grid and appear nowhere else.
	ClientID     string
	ClientSecret Secret

	// Credentials is asked for them instead, now and then, so that they can
	// be changed without a restart. While it fails the last ones stay.
	Credentials func() (id string, secret Secret, err error)

	// Authenticate says who is calling. Required; package identity makes one.
	// An error is answered with 401, or with 503 if it wraps
	// [ErrAuthUnavailable], and never shown to the client.
	Authenticate func(*http.Request) (User, error)

	// Owns is asked whether an account that a request names and that is not among User.Accounts
	// is user's all the same, nil for no. It is for apps whose users have more than fit
	// there, or who do not know them all when a user is. In a session's or credential's path no
	// account is named: the app's page names it in [HeaderAccount], and must name the right one:
	// what is not on that account is answered as what is nowhere. Owns is asked before the
	// limits of the user, as Authenticate is. An error is answered with 503.
	Owns func(ctx context.Context, user User, account string) (bool, error)

	// Prefix is the path under which Grid's own paths appear, "" for
	// [DefaultPrefix].
	Prefix string

	// App answers all that is not below Prefix, nil for a refusal with 404. It is the app's own
	// router, if it has one. To mount the bridge on a router instead takes from it what
	// routers do to a path first: [http.ServeMux] cleans it and redirects, so that the
	// bridge does not see what was sent, nor the client the bridge's refusal.
	App http.Handler

	// AllowOrigins are the origins, beside the bridge's own, whose pages may
	// call it with the user's cookies: https://host or https://host:port.
	AllowOrigins []string

	// Payloads are those of which challenges are relayed, "" for all.
	Payloads signer.Payloads

	// Limits are the limits on clients.
	Limits Limits

	// TrustedProxies are those whose X-Forwarded-For is believed. From all
	// others it is ignored: any client can write one.
	TrustedProxies []netip.Prefix

	// TrustUnix says the same of whoever connects to a Unix socket, whose address nobody knows.
	TrustUnix bool

	// Store is what replicas share, nil for one replica: see package redisstore.
	Store Store

	// Key is a secret of all replicas, from which the keys of the audit's hashes are
	// derived. Without one it is ClientSecret, and the hashes of a session change with it.
	Key Secret

	// Timeout bounds all that one request does at Grid, 0 for [DefaultTimeout].
	Timeout time.Duration

	// Log gets one line a request, nil for none. What it may hold is listed
	// at the one place that writes it.
	Log *slog.Logger

	// LogAddress is how the client's address is written to it, "" for
	// [LogAddressTruncated].
	LogAddress LogAddress

	// Audit gets the lines of the audit, nil for Log's handler: with neither there is
	// none. A signed leg whose line it does not take (an error of Handle) is not sent.
	Audit slog.Handler

	// Observer is told what the bridge does, nil for nobody: see package telemetry.
	Observer Observer

	// Now is the clock, nil for [time.Now].
	Now func() time.Time
}

// fillIn fills in the defaults and reports every error at once.
func (c *Config) fillIn() error {
	if c.Upstream == "" {
		c.Upstream = DefaultUpstream
	}
	if c.Prefix == "" {
		c.Prefix = DefaultPrefix
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Audit == nil {
		c.Audit = c.Log.Handler()
	}
	if c.Observer == nil {
		c.Observer = unobserved{}
	}
	if c.LogAddress == "" {
		c.LogAddress = LogAddressTruncated
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Store == nil {
		c.Store = NewLocalStore(c.Now)
	}
	var errs []error
	if u, err := outbound.ParseURL(c.Upstream); err != nil {
		errs = append(errs, fmt.Errorf("bridge: upstream: %w", err))
	} else if u.RawQuery != "" || u.ForceQuery {
		errs = append(errs, errors.New("bridge: upstream: a base URL with a query"))
	} else {
		c.Upstream = strings.TrimSuffix(u.String(), "/")
	}
	var errProxies error
	c.TrustedProxies, errProxies = trustedProxies(c.TrustedProxies)
	errs = append(errs, c.Limits.fillIn(), errProxies)
	if c.Payloads.Admit(signer.Payload{}) != nil {
		errs = append(errs, fmt.Errorf("bridge: payloads: %q is neither all nor activities", c.Payloads))
	}
	var errCredentials error
	if c.Credentials != nil {
		c.ClientID, c.ClientSecret, errCredentials = c.Credentials()
	}
	if errCredentials == nil {
		errCredentials = checkCredentials(c.ClientID, c.ClientSecret)
	}
	errs = append(errs, errCredentials)
	if c.Key.reveal() == "" {
		c.Key = c.ClientSecret
	}
	switch c.LogAddress {
	case LogAddressWhole, LogAddressTruncated, LogAddressHashed:
	default:
		errs = append(errs, fmt.Errorf("bridge: log address: %q is none of whole, truncated and hashed", c.LogAddress))
	}
	if c.Authenticate == nil {
		errs = append(errs, errors.New("bridge: no way to know the users: Authenticate is nil"))
	}
	if u, err := url.Parse(c.Prefix); err != nil || u.EscapedPath() != c.Prefix ||
		!strings.HasPrefix(c.Prefix, "/") || strings.HasSuffix(c.Prefix, "/") {
		errs = append(errs, errors.New("bridge: the prefix is not a path that begins, and does not end, with a slash"))
	}
	if c.Timeout < 0 {
		errs = append(errs, errors.New("bridge: the timeout is negative"))
	}
	return errors.Join(errs...)
}
