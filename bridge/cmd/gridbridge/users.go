package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

// userSettings are the flags of serve that say who the users are.
type userSettings struct {
	issuers, audiences, jwks list
	claim, forwardAuth       string
	identity                 identity.HTTP
	insecureHosts            hosts // which may be called with http, whatever for
}

func (s *userSettings) register(f *flag.FlagSet) {
	f.Var(&s.issuers, "issuer", "`iss` of the users' bearer tokens: OpenID Connect; repeatable")
	f.Var(&s.audiences, "audience", "`aud` of the users' bearer tokens; required with --issuer: one for all, or one for each in the same order")
	f.Var(&s.jwks, "jwks", "`file or URL` of an issuer's public keys (JWKS), for those without a discovery document: none, or one for each --issuer in the same order")
	f.StringVar(&s.claim, "accounts-claim", "grid_accounts", "`claim` that lists the InternalAccount ids of a user")
	f.StringVar(&s.forwardAuth, "forward-auth", "", "`URL` of the app that says who is calling, instead of --issuer")
	f.StringVar(&s.identity.CAFile, "identity-ca", "", "`file` of certificate authorities (PEM) that are believed beside the system's when the app or an issuer is called")
	f.StringVar(&s.identity.CertFile, "identity-cert", "", "`file` of the client certificate (PEM) for the app and the issuers; with --identity-key")
	f.StringVar(&s.identity.KeyFile, "identity-key", "", "`file` of the key of --identity-cert (PEM)")
	f.Var(&s.insecureHosts, "allow-insecure-host", "`host` that may be called with http, beside loopback; repeatable. Whoever is between can read and change all of it")
}

// users returns the one way to know the users that was chosen. With two it
// would be a guess which one the operator believes to be in force.
func (s *userSettings) users(ctx context.Context, log *slog.Logger, now func() time.Time, observe func(bridge.Event)) (func(*http.Request) (bridge.User, error), error) {
	tokens := len(s.issuers)+len(s.audiences)+len(s.jwks) > 0
	calls := s.calls()
	switch {
	case s.forwardAuth != "" && tokens:
		return nil, errors.New("two ways to know the users: choose --forward-auth, or --issuer with --audience")
	case s.forwardAuth != "":
		return identity.NewForwardAuth(identity.ForwardAuth{URL: s.forwardAuth, HTTP: calls, Now: now})
	case !tokens:
		return nil, errors.New("no way to know the users: set --issuer and --audience, or --forward-auth")
	}
	if err := s.checkCounts(); err != nil {
		return nil, err
	}
	o := identity.OIDC{AccountsClaim: s.claim, Log: log, Now: now, Observe: observe}
	for i, name := range s.issuers {
		issuer := identity.Issuer{Issuer: name, Keys: identity.DiscoverKeys(name, calls)}
		switch len(s.audiences) {
		case 0: // which the package says of each
		case 1:
			issuer.Audience = s.audiences[0]
		default:
			issuer.Audience = s.audiences[i]
		}
		if len(s.jwks) > 0 {
			issuer.Keys = identity.KeysFrom(s.jwks[i], calls)
		}
		o.Issuers = append(o.Issuers, issuer)
	}
	return identity.NewOIDC(ctx, o)
}

// calls is how the app and the issuers are called.
func (s *userSettings) calls() identity.HTTP {
	calls := s.identity
	calls.InsecureHosts = s.insecureHosts
	return calls
}

// checkCounts wants flags that belong together to be as many: an audience or a key
// set of another issuer's would let in whom nobody meant.
func (s *userSettings) checkCounts() error {
	var errs []error
	n := len(s.issuers)
	if n == 0 {
		errs = append(errs, errors.New("--issuer is not set, which --audience and --jwks are about"))
	}
	if n > 0 && len(s.audiences) > 1 && len(s.audiences) != n {
		errs = append(errs, fmt.Errorf("--audience is there %d times, and --issuer %d times: set one audience for all, or one for each issuer in the same order", len(s.audiences), n))
	}
	if n > 0 && len(s.jwks) > 0 && len(s.jwks) != n {
		errs = append(errs, fmt.Errorf("--jwks is there %d times, and --issuer %d times: set none, or one for each issuer in the same order", len(s.jwks), n))
	}
	return errors.Join(errs...)
}

// hosts is a repeatable flag of names and addresses without a port.
type hosts []string

func (h *hosts) String() string  { return strings.Join(*h, ",") }
func (*hosts) separator() string { return "," }

func (h *hosts) Set(value string) error {
	if _, err := netip.ParseAddr(value); err != nil && (value == "" || strings.ContainsAny(value, ":/@*[] ")) {
		return errors.New("not a host: want its name or address, without a scheme, port or path")
	}
	*h = append(*h, value)
	return nil
}
