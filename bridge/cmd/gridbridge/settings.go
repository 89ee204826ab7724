package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"gridsigner/bridge"
)

// settings are the flags of serve. Each can also be set by a variable of the
// environment, which a flag overrides: --redis-url by GRIDBRIDGE_REDIS_URL.
type settings struct {
	listen                                     string
	jwks, issuer, audience, claim, forwardAuth string
	origins                                    list
	proxies                                    prefixes
	limits                                     bridge.Limits
	adminListen                                string
	configCheck                                bool
	redisURL                                   string
	drainDelay                                 time.Duration
}

func (s *settings) flags() *flag.FlagSet {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` to listen on; port 0 picks one")
	f.StringVar(&s.adminListen, "admin-listen", "", "`address` for /metrics, /healthz and /readyz; none if empty")
	f.StringVar(&s.issuer, "issuer", "", "`iss` of the users' bearer tokens: OpenID Connect")
	f.StringVar(&s.audience, "audience", "", "`aud` of the users' bearer tokens; required with --issuer")
	f.StringVar(&s.jwks, "jwks", "", "`file or URL` of the issuer's public keys (JWKS), for one without a discovery document")
	f.StringVar(&s.claim, "accounts-claim", "grid_accounts", "`claim` that lists the InternalAccount ids of a user")
	f.StringVar(&s.forwardAuth, "forward-auth", "", "`URL` of the app that says who is calling, instead of --issuer")
	f.Var(&s.origins, "allow-origin", "`origin` whose pages may call the bridge, beside its own; repeatable")
	f.Var(&s.proxies, "trusted-proxy", "`address or CIDR` of a proxy whose X-Forwarded-For is believed; repeatable")
	f.TextVar(&s.limits.Address, "limit-address", bridge.DefaultLimits.Address, "`limit` on the requests of one address, as RATE/PER,BURST")
	f.TextVar(&s.limits.User, "limit-user", bridge.DefaultLimits.User, "`limit` on the requests of one user")
	f.TextVar(&s.limits.SignIn, "limit-sign-in", bridge.DefaultLimits.SignIn, "`limit` on sign-ins, of one address and of one user")
	f.IntVar(&s.limits.InFlight, "max-in-flight", bridge.DefaultLimits.InFlight, "`number` of requests at once, beyond which load is shed")
	f.StringVar(&s.redisURL, "redis-url", "", "`URL` of a Redis that all replicas share: redis://host:port/db, rediss:// for TLS. With a password, set the variable: ps shows flags")
	f.DurationVar(&s.drainDelay, "drain-delay", 5*time.Second, "`time` between /readyz turning 503 and the end of listening, for load balancers to notice; only with --admin-listen")
	f.BoolVar(&s.configCheck, "config-check", false, "report what is wrong with the configuration, and do not listen")
	return f
}

// check checks what no other package does.
func (s *settings) check() error {
	var errs []error
	for name, address := range map[string]string{"listen": s.listen, "admin-listen": s.adminListen} {
		if address == "" && name == "admin-listen" {
			continue
		}
		if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
			errs = append(errs, fmt.Errorf("--%s: %q is not an address: want HOST:PORT, or :PORT for all of this machine", name, address))
		}
	}
	if s.drainDelay < 0 {
		errs = append(errs, errors.New("--drain-delay is negative"))
	}
	return errors.Join(errs...)
}

// upstreamVariables are those of the environment that have no flag: what ps
// shows of a command line is no place for a secret.
var upstreamVariables = []struct{ name, preset, usage string }{
	{"GRID_BASE_URL", bridge.DefaultUpstream, "Grid's base URL"},
	{"GRID_CLIENT_ID", "", "API client id; or its file in GRID_CLIENT_ID_FILE. Required"},
	{"GRID_CLIENT_SECRET", "", "API client secret; or its file in GRID_CLIENT_SECRET_FILE. Required. Files are read again when they change"},
}

// settingsTable is the README's table of all flags and variables of serve.
func settingsTable() string {
	code := func(s string) string {
		if s == "" {
			return ""
		}
		return "`" + s + "`"
	}
	var b strings.Builder
	b.WriteString("| Flag | Variable | Default | Meaning |\n|---|---|---|---|\n")
	for _, v := range upstreamVariables {
		fmt.Fprintf(&b, "| | `%s` | %s | %s |\n", v.name, code(v.preset), v.usage)
	}
	new(settings).flags().VisitAll(func(f *flag.Flag) {
		value, usage := flag.UnquoteUsage(f)
		fmt.Fprintf(&b, "| `--%s` | `%s` | %s | %s |\n", strings.TrimSpace(f.Name+" "+value), variable(f.Name), code(f.DefValue), usage)
	})
	return b.String()
}

// variable is the variable of the environment that sets a flag.
func variable(flagName string) string {
	return "GRIDBRIDGE_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// fromEnv sets, of the flags that were not given, those whose variables are
// set. A repeatable flag's variable holds values with commas between them.
func fromEnv(f *flag.FlagSet, getenv func(string) string) error {
	given := map[string]bool{}
	f.Visit(func(fl *flag.Flag) { given[fl.Name] = true })
	var errs []error
	f.VisitAll(func(fl *flag.Flag) {
		value := getenv(variable(fl.Name))
		if value == "" || given[fl.Name] {
			return
		}
		values := []string{value}
		if _, ok := fl.Value.(repeatable); ok {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			if err := fl.Value.Set(v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", variable(fl.Name), err))
			}
		}
	})
	return errors.Join(errs...)
}

// wrongValues are flags with values that they do not take.
type wrongValues struct{ error }

// postpone keeps flags from ending the parsing at the first wrong value, so that
// all can be reported. What it returns puts them back, and returns the errors.
func postpone(f *flag.FlagSet) (values func() error) {
	var errs []error
	f.VisitAll(func(fl *flag.Flag) { fl.Value = postponed{fl.Value, fl.Name, &errs} })
	return func() error {
		f.VisitAll(func(fl *flag.Flag) { fl.Value = fl.Value.(postponed).Value })
		return errors.Join(errs...)
	}
}

type postponed struct {
	flag.Value
	name string
	errs *[]error
}

func (p postponed) Set(value string) error {
	if err := p.Value.Set(value); err != nil {
		*p.errs = append(*p.errs, fmt.Errorf("--%s: %w", p.name, err))
	}
	return nil
}

// IsBoolFlag is asked by package flag whether the flag needs no value.
func (p postponed) IsBoolFlag() bool {
	v, ok := p.Value.(interface{ IsBoolFlag() bool })
	return ok && v.IsBoolFlag()
}

// repeatable is a flag that can be given several times.
type repeatable interface{ repeatable() }

// list is a repeatable flag of texts.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }
func (*list) repeatable()      {}

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// prefixes is a repeatable flag of addresses and networks.
type prefixes []netip.Prefix

func (p *prefixes) String() string { return strings.Trim(fmt.Sprint([]netip.Prefix(*p)), "[]") }
func (*prefixes) repeatable()      {}

func (p *prefixes) Set(value string) error {
	network, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := netip.ParseAddr(value)
		if err != nil {
			return errors.New("neither an address nor a CIDR")
		}
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	*p = append(*p, network.Masked())
	return nil
}
