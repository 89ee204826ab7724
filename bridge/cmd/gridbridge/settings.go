package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// settings are the flags of serve. Each can also be set by a variable of the
// environment, which a flag overrides: --redis-url by GRIDBRIDGE_REDIS_URL. So
// can those of check.
type settings struct {
	userSettings
	listen                string
	origins               list
	proxies               proxies
	prefix                string
	timeout               time.Duration
	tlsCert, tlsKey       string
	limits                bridge.Limits
	adminListen, auditLog string
	maxConnections        int
	configCheck           bool
	payloads              signer.Payloads
	redisURL, redisPrefix string
	redisPool             int
	logAddress, otlp      string
	traceState            bool
	drainDelay            time.Duration
}

func (s *settings) flags() *flag.FlagSet {
	f := flag.NewFlagSet("serve", flag.ContinueOnError)
	f.StringVar(&s.listen, "listen", "127.0.0.1:8080", "`address` to listen on: HOST:PORT, where port 0 picks one, or unix:PATH")
	f.StringVar(&s.adminListen, "admin-listen", "", "`address` for /metrics, /healthz and /readyz, like that of --listen; none if empty")
	f.StringVar(&s.tlsCert, "tls-cert", "", "`file` of the certificate chain (PEM) for TLS on --listen, with --tls-key; read again when it changes")
	f.StringVar(&s.tlsKey, "tls-key", "", "`file` of the key of --tls-cert (PEM)")
	f.StringVar(&s.prefix, "prefix", bridge.DefaultPrefix, "`path` below which Grid's paths are")
	f.DurationVar(&s.timeout, "timeout", bridge.DefaultTimeout, "`time` that Grid may take for all that one request asks of it")
	s.register(f)
	f.Var(&s.origins, "allow-origin", "`origin` whose pages may call the bridge, beside its own; repeatable")
	f.Var(&s.proxies, "trusted-proxy", "`address or CIDR` of a proxy whose X-Forwarded-For is believed, or unix for whoever connects to a socket; repeatable")
	f.TextVar(&s.limits.Address, "limit-address", bridge.DefaultLimits.Address, "`limit` on the requests of one address, as RATE/PER,BURST")
	f.TextVar(&s.limits.User, "limit-user", bridge.DefaultLimits.User, "`limit` on the calls to Grid for one user: each request is one, and each look-up of an owner")
	f.TextVar(&s.limits.SignIn, "limit-sign-in", bridge.DefaultLimits.SignIn, "`limit` on the requests to sign in and to export a wallet, of one user")
	f.TextVar(&s.limits.SignIns, "limit-sign-ins", bridge.DefaultLimits.SignIns, "`limit` on the same, of one address, which an office may share")
	f.TextVar(&s.limits.Attempts, "limit-attempts", bridge.DefaultLimits.Attempts, "`limit` on the requests to sign in with one credential, and to export one wallet")
	f.TextVar(&s.limits.Pending, "limit-challenges", bridge.DefaultLimits.Pending, "`limit` on the challenges of one user, each of which is kept until it has run out")
	f.TextVar(&s.limits.Network, "limit-network", bridge.DefaultLimits.Network, "`limit` on the requests of one /48 of IPv6")
	f.TextVar(&s.limits.Grid, "limit-grid", bridge.DefaultLimits.Grid, "`limit` on this replica's calls to Grid, whose own is one for the whole company")
	s.limits.InFlight = bridge.DefaultLimits.InFlight
	f.Var((*count)(&s.limits.InFlight), "max-in-flight", "`number` of requests at once, beyond which load is shed")
	f.IntVar(&s.maxConnections, "max-connections", 0, "`number` of connections to --listen, beyond which quiet ones are closed; 0 for what the limit on open files leaves")
	f.StringVar(&s.auditLog, "audit-log", onStderr, "`file` that lines of the audit are added to, opened again on SIGHUP; or stderr")
	registerPayloads(f, &s.payloads)
	f.StringVar(&s.redisURL, "redis-url", "", "`URL` of a Redis that all replicas share: redis://host:port/db, rediss:// for TLS. With a password, set the variable: ps shows flags")
	f.IntVar(&s.redisPool, "redis-pool", 0, "`number` of connections to Redis, each of which carries all that waits for it; 0 for 4")
	f.StringVar(&s.redisPrefix, "redis-prefix", "gridbridge:", "`text` that keys in Redis begin with")
	f.StringVar(&s.logAddress, "log-address", "truncated", "`form` of clients' addresses in the log: whole, truncated to their network, or hashed")
	f.StringVar(&s.otlp, "otlp", "", "`URL` of an OpenTelemetry collector that spans are sent to, over HTTP; none if empty")
	f.BoolVar(&s.traceState, "trace-state", false, "pass a client's tracestate on to Grid, beside its traceparent")
	f.DurationVar(&s.drainDelay, "drain-delay", 5*time.Second, "`time` between /readyz turning 503 and the end of listening, for load balancers to notice; only with --admin-listen")
	f.BoolVar(&s.configCheck, "config-check", false, "report what is wrong with the configuration, and whether the app and Redis are there, and do not listen")
	return f
}

// registerPayloads adds the flag that serve and demo share. Its values are for
// the bridge to judge.
func registerPayloads(f *flag.FlagSet, payloads *signer.Payloads) {
	f.StringVar((*string)(payloads), "payloads", string(signer.PayloadsAll), "`kind` of payloads that are relayed to be signed: all, or activities, which leaves out the opaque ones of April 2026")
}

// check checks what no other package does.
func (s *settings) check() error {
	public, err := listenAddress("listen", s.listen)
	errs := []error{err}
	if s.adminListen != "" {
		admin, err := listenAddress("admin-listen", s.adminListen)
		errs = append(errs, err)
		if s.adminListen == s.listen && public == nil || public != nil && admin != nil && overlap(public, admin) {
			errs = append(errs, errors.New("--admin-listen: the address of --listen, where users would reach it"))
		}
	}
	if s.timeout < minTimeout || s.timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("--timeout: want %s to %s", minTimeout, maxTimeout))
	}
	if s.drainDelay < 0 {
		errs = append(errs, errors.New("--drain-delay is negative"))
	}
	if s.maxConnections < 0 {
		errs = append(errs, errors.New("--max-connections is negative"))
	}
	if s.redisPool < 0 {
		errs = append(errs, errors.New("--redis-pool is negative"))
	}
	switch s.logAddress {
	case "whole", "truncated", "hashed":
	default:
		errs = append(errs, fmt.Errorf("--log-address: %q is none of whole, truncated and hashed", s.logAddress))
	}
	return errors.Join(errs...)
}

// What Grid may be given: with less it would often be asked in vain, and with more a
// browser has given up.
const (
	minTimeout = time.Second
	maxTimeout = 2 * time.Minute
)

// listenAddress reads an address as net.Listen will, without listening: a
// bridge that is being replaced may still have it. It is nil for a socket.
func listenAddress(name, address string) (*net.TCPAddr, error) {
	if path, ok := strings.CutPrefix(address, socketPrefix); ok {
		if len(path) > maxSocketPath || !filepath.IsAbs(path) {
			return nil, fmt.Errorf("--%s: want unix: and an absolute path of at most %d bytes", name, maxSocketPath)
		}
		return nil, nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port == "" { // which would be any
		err = errors.New("no port")
	}
	var addr *net.TCPAddr
	if err == nil {
		addr, err = net.ResolveTCPAddr("tcp", address)
	}
	if err != nil {
		return nil, fmt.Errorf("--%s: %q: %w: want HOST:PORT, :PORT for all of this machine, or unix:PATH", name, address, err)
	}
	return addr, nil
}

// overlap reports whether there cannot be a listener on each of the addresses.
// To Go an unspecified one is all of both families.
func overlap(a, b *net.TCPAddr) bool {
	all := func(ip net.IP) bool { return ip == nil || ip.IsUnspecified() }
	return a.Port != 0 && a.Port == b.Port && (all(a.IP) || all(b.IP) || a.IP.Equal(b.IP))
}

// variable is the variable of the environment that sets a flag.
func variable(flagName string) string {
	return "GRIDBRIDGE_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// fromEnv sets, of the flags that were not given, those whose variables are
// set. A repeatable flag's variable holds values with a separator between them.
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
		if r, ok := fl.Value.(repeatable); ok {
			if r.separator() == "\n" {
				value = strings.Trim(value, "\n") // as a text of lines has one at its end
			}
			values = strings.Split(value, r.separator())
		}
		for _, v := range values {
			if err := set(fl.Value, v); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", variable(fl.Name), err))
			}
		}
	})
	return joinOnce(errs)
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
		return joinOnce(errs)
	}
}

type postponed struct {
	flag.Value
	name string
	errs *[]error
}

func (p postponed) Set(value string) error {
	if err := set(p.Value, value); err != nil {
		*p.errs = append(*p.errs, fmt.Errorf("--%s: %w", p.name, err))
	}
	return nil
}

// IsBoolFlag is asked by package flag whether the flag needs no value.
func (p postponed) IsBoolFlag() bool {
	v, ok := p.Value.(interface{ IsBoolFlag() bool })
	return ok && v.IsBoolFlag()
}

// count is a flag of a number of at least one: with none nothing would pass.
type count int

func (c *count) String() string { return strconv.Itoa(int(*c)) }

func (c *count) Set(value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return errors.New("not a number of at least 1")
	}
	*c = count(n)
	return nil
}

// repeatable is a flag that can be given several times.
type repeatable interface{ separator() string } // of values in a variable

// list is a repeatable flag of texts.
type list []string

func (l *list) String() string  { return strings.Join(*l, ",") }
func (*list) separator() string { return "," }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

// lines is a repeatable flag of texts that may have commas in them.
type lines struct{ list }

func (*lines) separator() string { return "\n" }

// proxies is a repeatable flag of addresses and networks, and of whoever connects to a socket.
type proxies struct {
	networks []netip.Prefix
	unix     bool
}

func (p *proxies) String() string {
	text := strings.Trim(fmt.Sprint(p.networks), "[]")
	if p.unix {
		text = strings.TrimSpace(text + " unix")
	}
	return text
}
func (*proxies) separator() string { return "," }

func (p *proxies) Set(value string) error {
	if value == "unix" {
		p.unix = true
		return nil
	}
	network, err := netip.ParsePrefix(value)
	if err != nil {
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			return errors.New("neither an address nor a CIDR, nor unix")
		}
		network = netip.PrefixFrom(addr, addr.BitLen())
	}
	p.networks = append(p.networks, network.Masked())
	return nil
}
