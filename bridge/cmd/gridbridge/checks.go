package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
	"gridsigner/bridge/internal/outbound"
)

// What is checked of the settings beside their form. A setting that is taken in silence and
// does nothing is one that its operator believes in: a proxy that is not trusted, an origin
// that is not allowed. The errors name a flag or a variable, and never quote a value: which of
// them hold a secret is for nobody to guess.

// checkSettings checks the settings of flags, which were read, together with the environment.
func (s *settings) checkSettings(flags *flag.FlagSet, sys system) error {
	return errors.Join(checkVariables(sys.environ), checkUpstream(sys.getenv("GRID_BASE_URL")), s.checkClaim(), s.checkEffects(flags, sys.getenv))
}

// set sets v to text, and refuses what nobody sees in a configuration, and what would be compared
// all the same: an audience with a blank before it is nobody's. What was probably meant is
// set then, so that one mistake is not said twice.
func set(v flag.Value, text string) error {
	_, isList := v.(repeatable)
	meant := strings.TrimSpace(text)
	switch {
	case isList && meant == "":
		return errors.New("one of its values is empty")
	case meant != text:
		v.Set(meant) // of which there is time to complain when the blank is gone
		return errors.New("a value begins or ends with a blank")
	}
	return v.Set(text)
}

// joinOnce joins those of errs that differ in their text.
func joinOnce(errs []error) error {
	var different []error
	for _, err := range errs {
		if !slices.ContainsFunc(different, func(other error) bool { return other.Error() == err.Error() }) {
			different = append(different, err)
		}
	}
	return errors.Join(different...)
}

// families are the beginnings of the names of variables that are the bridge's: one with another
// end is a setting that was misspelt. GRID_ alone is not among them, which others have too.
var families = []string{"GRIDBRIDGE_", "GRID_CLIENT_", "GRID_BASE_"}

// variables are the names of all variables that there are. Those of check are among them: the
// two commands may share an environment.
func variables() []string {
	names := []string{"GRID_BASE_URL"}
	for _, name := range []string{"GRID_CLIENT_ID", "GRID_CLIENT_SECRET", "GRIDBRIDGE_KEY"} {
		names = append(names, name, name+"_FILE")
	}
	for _, flags := range []*flag.FlagSet{new(settings).flags(), new(checker).flags()} {
		flags.VisitAll(func(f *flag.Flag) { names = append(names, variable(f.Name)) })
	}
	return names
}

// serviceVariable is what Kubernetes adds to the name of a Service for its variables, which
// every container of the namespace is given.
var serviceVariable = regexp.MustCompile(`^_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)$`)

// checkVariables refuses variables of the bridge's families that are none, but for those of a
// Kubernetes Service with such a name. That it is one is known by its SERVICE_HOST, which is
// never missing, so that a GRIDBRIDGE_PORT that somebody made up is found.
func checkVariables(environ []string) error {
	known := variables()
	var names, services []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
		if service, ok := strings.CutSuffix(name, "_SERVICE_HOST"); ok {
			services = append(services, service)
		}
	}
	ofService := func(name string) bool {
		return slices.ContainsFunc(services, func(service string) bool {
			rest, ok := strings.CutPrefix(name, service)
			return ok && serviceVariable.MatchString(rest)
		})
	}
	slices.Sort(names)
	var errs []error
	for _, name := range names {
		isFamily := slices.ContainsFunc(families, func(family string) bool { return strings.HasPrefix(name, family) })
		switch near := nearest(name, known); {
		case !isFamily || slices.Contains(known, name) || ofService(name):
		case near == "":
			errs = append(errs, fmt.Errorf("%s is no setting", name))
		default:
			errs = append(errs, fmt.Errorf("%s is no setting: is %s meant?", name, near))
		}
	}
	return errors.Join(errs...)
}

// nearest is the one of names that name may be a misspelling of, "" if there is none.
func nearest(name string, names []string) (near string) {
	_, own, _ := strings.Cut(name, "_")
	least := min(3, len(own)/2) + 1 // of a short one everything is near
	for _, other := range names {
		if d := distance(strings.ToUpper(name), other); d < least {
			near, least = other, d
		}
	}
	return near
}

// distance is how many letters have to be put in, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1) // of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// versionPath is how Grid's base URL ends.
var versionPath = regexp.MustCompile(`/[0-9]{4}-[0-9]{2}-[0-9]{2}/?$`)

// checkUpstream wants Grid's base URL to end in its version: without it Grid answers every
// request with 404, which a client takes for "no such session". What else is wrong with the
// URL package bridge says. On loopback there is no Grid but what stands in for it.
func checkUpstream(upstream string) error {
	u, err := url.Parse(upstream)
	switch {
	case upstream == "":
		return nil
	case strings.TrimSpace(upstream) != upstream:
		return errors.New("GRID_BASE_URL begins or ends with a blank")
	case err != nil || outbound.MayBePlain(u.Hostname(), nil) || versionPath.MatchString(u.Path):
		return nil
	}
	return errors.New("GRID_BASE_URL does not end in a version, as " + bridge.DefaultUpstream + " does")
}

// registeredClaims are claims of tokens that say something else than whose accounts are whose.
var registeredClaims = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "azp", "scope", "nonce"}

// checkClaim refuses a claim by which every token would be refused, or none have accounts.
func (s *userSettings) checkClaim() error {
	if slices.Contains(registeredClaims, s.claim) {
		return errors.New("--accounts-claim: a claim that is for something else in every token: want one of the issuer's own, which lists accounts")
	}
	return nil
}

// checkEffects refuses what was set and would do nothing.
func (s *settings) checkEffects(flags *flag.FlagSet, getenv func(string) string) error {
	given := map[string]string{} // what set it, by the flag
	flags.VisitAll(func(f *flag.Flag) {
		if getenv(variable(f.Name)) != "" {
			given[f.Name] = variable(f.Name)
		}
	})
	flags.Visit(func(f *flag.Flag) { given[f.Name] = "--" + f.Name })
	isURL := func(location string) bool { return strings.Contains(location, "://") }
	calls := s.forwardAuth != "" || len(s.issuers) > 0 && (len(s.jwks) == 0 || slices.ContainsFunc(s.jwks, isURL))
	const called = "an app or an issuer that is called"
	var errs []error
	for _, v := range []struct {
		flag string
		used bool
		by   string
	}{
		{"redis-pool", s.redisURL != "", "--redis-url"},
		{"redis-prefix", s.redisURL != "", "--redis-url"},
		{"drain-delay", s.adminListen != "", "--admin-listen"},
		{"accounts-claim", len(s.issuers) > 0, "--issuer"},
		{"identity-ca", calls, called},
		{"identity-cert", calls, called},
		{"identity-key", calls, called},
	} {
		if name := given[v.flag]; name != "" && !v.used {
			errs = append(errs, fmt.Errorf("%s has no effect without %s", name, v.by))
		}
	}
	if s.proxies.unix && !strings.HasPrefix(s.listen, socketPrefix) {
		errs = append(errs, fmt.Errorf("%s: unix has no effect without --listen unix:PATH", given["trusted-proxy"]))
	}
	return errors.Join(errs...)
}

// checkKey refuses the API secret as the key of all replicas: it is changed, or leaks, on its
// own. Who wants it to be both leaves GRIDBRIDGE_KEY out.
func checkKey(getenv func(string) string, key, secret bridge.Secret) error {
	const purpose = "compare"
	if getenv("GRIDBRIDGE_KEY")+getenv("GRIDBRIDGE_KEY_FILE") != "" && bytes.Equal(key.Derive(purpose), secret.Derive(purpose)) {
		return errors.New("GRIDBRIDGE_KEY is the API client secret: want a secret of its own")
	}
	return nil
}

// checkApp asks the app of --forward-auth whether it is there.
func (s *userSettings) checkApp(ctx context.Context) error {
	return identity.CheckForwardAuth(ctx, identity.ForwardAuth{URL: s.forwardAuth, HTTP: s.calls()})
}

// watchApp asks the app of --forward-auth once, and logs that it is dead. That is no reason not
// to start, nor to wait: the app may be starting, too. The function that it returns ends it.
func (s *userSettings) watchApp(ctx context.Context, log *slog.Logger) (stop func()) {
	if s.forwardAuth == "" {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var asking sync.WaitGroup
	asking.Go(func() {
		if err := s.checkApp(ctx); err != nil && ctx.Err() == nil {
			log.Warn("the app does not say who is calling: until it does, nobody is let in", slog.String("detail", err.Error()))
		}
	})
	return func() {
		cancel()
		asking.Wait()
	}
}
