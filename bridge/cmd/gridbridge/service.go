package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gridsigner/bridge"
	"gridsigner/bridge/redisstore"
	"gridsigner/bridge/telemetry"
)

// otlpPatience is how long the collector is waited for at the end.
const otlpPatience = 5 * time.Second

// service is a bridge with what it stands on, made of settings.
type service struct {
	handler  http.Handler
	registry *prometheus.Registry
	log      *slog.Logger
	audit    *auditFile  // nil if it goes to standard error
	tls      *tls.Config // nil for none
	happened func(bridge.Event)
	closers  []func() error
	needs    []func(context.Context) error // say why something outside cannot be used
}

// needed asks all that the bridge starts without, and works worse.
func (v *service) needed(ctx context.Context) error {
	var errs []error
	for _, ask := range v.needs {
		errs = append(errs, ask(ctx))
	}
	return errors.Join(errs...)
}

// close ends what the bridge stood on, the last first. What was logged is written.
func (v *service) close() error {
	var errs []error
	for _, end := range slices.Backward(v.closers) {
		errs = append(errs, end())
	}
	return errors.Join(errs...)
}

// build makes the service, or reports all that is wrong with settings and environment at
// once. It must be closed in both cases.
func (s *settings) build(ctx context.Context, sys system) (*service, error) {
	v := &service{registry: newRegistry()}
	var observer atomic.Pointer[telemetry.Observer] // which needs the log, that has news itself
	v.happened = func(e bridge.Event) {
		if o := observer.Load(); o != nil {
			o.Happened(e)
		}
	}
	out := newSink(sys.stderr, v.happened)
	v.closers = append(v.closers, out.close)
	handler := func(w io.Writer) slog.Handler { return telemetry.LogHandler(slog.NewJSONHandler(w, nil)) }
	v.log = slog.New(handler(trafficWriter{out}))

	audit, errAudit := handler(auditWriter{out}), error(nil)
	switch {
	case s.auditLog == onStderr:
	case s.configCheck:
		errAudit = checkAuditFile(s.auditLog)
	default:
		if v.audit, errAudit = openAuditFile(s.auditLog); errAudit == nil {
			v.closers = append(v.closers, v.audit.close)
			audit = handler(v.audit)
		}
	}

	var errTLS error
	if s.tlsCert != "" || s.tlsKey != "" {
		certificate, err := openCertificate(s.tlsCert, s.tlsKey, v.log, v.happened, sys.now)
		if errTLS = err; err == nil {
			v.tls = certificate.config()
		}
	}

	telemetryOptions := telemetry.Options{Metrics: v.registry, Shared: s.redisURL != "", TraceState: s.traceState}
	var errOTLP error
	if s.otlp != "" {
		provider, err := telemetry.ExportOTLP(s.otlp, telemetry.OTLP{
			Headers: sys.getenv("OTEL_EXPORTER_OTLP_HEADERS"), InsecureHosts: s.insecureHosts, Log: v.log, Now: sys.now,
		})
		if errOTLP = err; err == nil {
			telemetryOptions.Spans = provider
			v.closers = append(v.closers, func() error {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), otlpPatience)
				defer cancel()
				provider.Shutdown(ctx) // what is lost is in the log
				return nil
			})
		}
	}
	observes, errTelemetry := telemetry.New(telemetryOptions)
	observer.Store(observes)

	authenticate, errUsers := s.users(ctx, v.log, sys.now, v.happened)
	if s.forwardAuth != "" {
		v.needs = append(v.needs, s.checkApp)
	}
	if errUsers != nil { // in New's place, which would only see that there is none
		authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{}, errUsers }
	}
	credentials := func() (string, bridge.Secret, error) { return bridge.CredentialsFromEnv(sys.getenv) }
	_, secret, err := credentials()
	if err != nil { // New reports it; a missing key of Redis's would be the same news
		secret = bridge.NewSecret("none")
	}
	key, errKey := bridge.KeyFromEnv(sys.getenv, secret)
	switch {
	case errKey != nil: // or a missing key of Redis's would be the same news
		key = bridge.NewSecret("none")
	case err == nil:
		errKey = checkKey(sys.getenv, key, secret)
	}
	store := bridge.NewLocalStore(sys.now)
	var errRedis error
	if s.redisURL != "" {
		shared, err := redisstore.Open(redisstore.Options{
			URL: s.redisURL, InsecureHosts: s.insecureHosts, Prefix: s.redisPrefix, PoolSize: max(s.redisPool, 0), Key: key,
			Local: store, Log: v.log, Observe: v.happened, Now: sys.now,
		})
		if err != nil {
			errRedis = fmt.Errorf("--redis-url: %w", err)
		} else {
			store = shared
			v.closers = append(v.closers, shared.Close)
			v.needs = append(v.needs, func(ctx context.Context) error {
				if err := shared.Check(ctx); err != nil {
					return fmt.Errorf("--redis-url: %w", err)
				}
				return nil
			})
		}
	}
	var errBridge error
	v.handler, errBridge = bridge.New(bridge.Config{
		Upstream: sys.getenv("GRID_BASE_URL"), Credentials: credentials, Key: key,
		Authenticate: authenticate, AllowOrigins: s.origins, TrustedProxies: s.proxies.networks, TrustUnix: s.proxies.unix,
		Prefix: s.prefix, Timeout: s.timeout,
		Payloads: s.payloads, Limits: s.limits, Store: store,
		Log: v.log, LogAddress: bridge.LogAddress(s.logAddress), Audit: audit, Observer: observes, Now: sys.now,
	})
	return v, errors.Join(errAudit, errTLS, errOTLP, errTelemetry, errUsers, errKey, errRedis, errBridge)
}
