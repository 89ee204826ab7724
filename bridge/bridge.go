// Package bridge is the part of an app's backend that talks to Lightspark Grid
// for a browser. It forwards the few requests of its allow-list with the API
// credentials added, for users that it knows and on accounts that are theirs.
//
// Mount what [New] returns, or run cmd/gridbridge. Paths below the prefix are
// Grid's own; so are status codes and bodies, byte for byte. The bridge's own
// refusals use Grid's error envelope with codes that begin with BRIDGE_.
//
// # What it guarantees
//
// A request that reaches Grid is made from scratch out of checked parts: no
// header, query, path or cookie of the client is copied unread. The credentials
// go to the configured upstream and nowhere else: no redirect is followed, no
// proxy variable obeyed, and no message or log line holds them. No request with
// a side effect is ever sent twice. A response is read and checked whole before
// its first byte is relayed.
package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"gridsigner/signer"
)

// bridge is the handler. It is immutable but for its caches.
type bridge struct {
	upstream     string
	credentials  *credentials
	authenticate func(*http.Request) (User, error)
	prefix       string
	payloads     signer.Payloads
	timeout      time.Duration
	log          *slog.Logger
	transport    *http.Transport
	origins      *origins
	limits       Limits
	proxies      []netip.Prefix
	store        store
	metrics      *metrics
	tracer       trace.Tracer
	now          func() time.Time
	inFlight     atomic.Int64
}

// New returns the handler. It answers every path: those outside its prefix
// with 404, so it can be a server's only handler. Every error of the
// configuration is reported at once.
func New(c Config) (http.Handler, error) {
	errConfig := c.complete()
	origins, errOrigins := newOrigins(c.AllowOrigins)
	b := &bridge{
		upstream:     c.Upstream,
		credentials:  c.credentials(),
		authenticate: c.Authenticate,
		prefix:       c.Prefix,
		payloads:     c.Payloads,
		timeout:      c.Timeout,
		log:          c.Log,
		transport:    newTransport(c.Timeout),
		origins:      origins,
		limits:       c.Limits,
		proxies:      c.TrustedProxies,
		tracer:       newTracer(c.Tracer),
		now:          c.Now,
	}
	var errMetrics error
	b.metrics, errMetrics = newMetrics(c.Metrics, func() float64 { return float64(b.inFlight.Load()) })
	if err := errors.Join(errConfig, errOrigins, errMetrics); err != nil {
		return nil, err
	}
	local := newLocalStore(c.Now)
	b.store = local
	if c.Redis != nil {
		b.store = &sharedStore{Redis: c.Redis, local: local, now: c.Now, log: c.Log, metrics: b.metrics}
	}
	return b, nil
}

// ServeHTTP answers a request and logs it.
func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	ctx, span := b.tracer.Start(withTrace(r.Context(), r.Header), "request", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	r = r.WithContext(ctx)
	e := &entry{method: "-", route: "-", correlation: uuid.NewString(), trace: traceID(span.SpanContext())}
	w.Header().Set("X-Correlation-Id", e.correlation)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	err := b.enter()
	defer b.leave()
	var a *answer
	if err == nil {
		a, err = b.serve(w, r, e)
	}
	if err != nil {
		ref, ok := errors.AsType[*refusal](err)
		if !ok {
			ref = errInternal
		}
		e.status, e.code = ref.status, ref.code
		ref.write(w, e.correlation)
	} else {
		e.status = a.status
		a.write(w)
	}
	took := time.Since(start)
	e.log(r.Context(), b.log, took)
	e.describe(span)
	b.metrics.count(e, took)
}

// serve takes a request through the checks in their order, cheapest first, and
// then to Grid. It sets headers of w but writes nothing, so a panic anywhere
// below it still becomes one well-formed answer.
func (b *bridge) serve(w http.ResponseWriter, r *http.Request, e *entry) (a *answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			// The value may quote anything. The stack holds names and addresses.
			b.log.LogAttrs(r.Context(), slog.LevelError, "panic",
				slog.String("correlationId", e.correlation), slog.String("stack", string(debug.Stack())))
			a, err = nil, errInternal
		}
	}()
	// The path as the client escaped it. http.ServeMux would clean it and
	// redirect; what is checked has to be what was sent.
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), b.prefix)
	if !ok {
		return nil, errRouteNotFound
	}
	method, preflight := b.origins.preflight(r, b.origins.allow(w, r))
	if !preflight {
		method = r.Method
	}
	rt, rawID, allow, err := match(method, path)
	if err != nil {
		if allow != nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
		}
		return nil, err
	}
	e.method, e.route = rt.Method, rt.template
	if preflight {
		e.method = http.MethodOptions
		return b.origins.permit(w, rt), nil
	}
	if rt.Intent != "" && slices.ContainsFunc(walletHeaders, func(name string) bool { return len(r.Header[name]) > 0 }) {
		e.signed = &event{intent: rt.Intent} // a signed leg is audited whatever becomes of it
	}
	if err := b.origins.check(r); err != nil {
		return nil, err
	}
	if err := b.limitAddress(r.Context(), r, rt); err != nil {
		return nil, err
	}
	user, err := b.authenticate(r)
	if err == nil {
		err = user.check()
	}
	switch {
	case err == nil:
	case errors.Is(r.Context().Err(), context.Canceled):
		return nil, errClientGone // which is no fault of whoever was asked about the user
	case errors.Is(err, ErrAuthUnavailable):
		return nil, errAuthUnavailable.after(time.Second)
	default:
		return nil, errUnauthenticated
	}
	e.user = user.ID
	if err := b.limitUser(r.Context(), user, rt); err != nil {
		return nil, err
	}
	c, err := rt.parse(w, r, rawID)
	if err != nil {
		return nil, err
	}
	if len(c.headers) == 0 {
		e.signed = nil // it only looked like one: the headers do not go with the body
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.timeout)
	defer cancel()
	if a, err := b.authorize(ctx, user, c); a != nil || err != nil {
		return a, err
	}
	if err := b.limitThing(ctx, c); err != nil {
		return nil, err
	}
	return b.exchange(ctx, user, c, e)
}

// exchange is the call itself, between the checks of the signed retry.
func (b *bridge) exchange(ctx context.Context, user User, c *call, e *entry) (*answer, error) {
	mark := ""
	if len(c.headers) > 0 {
		e.signed.account = c.account
		var err error
		if mark, err = b.admit(ctx, user, c, e.signed); err != nil {
			return nil, err
		}
	}
	a, err := b.do(ctx, c)
	if mark != "" && b.goesOn(ctx, c, mark, a) {
		b.store.release(ctx, mark)
	}
	switch {
	case err != nil:
		return nil, err
	case a.status == http.StatusUnauthorized:
		// What was refused is what the user showed or, once in the life of a
		// credential, the bridge's own: a list, to which the user adds nothing,
		// tells. Whatever else becomes of that is no matter.
		if _, err := b.do(ctx, &call{route: lists["Session"], id: c.account}); errors.Is(err, errUpstreamCredential) {
			return nil, err
		}
	case a.status == http.StatusAccepted:
		if err := b.remember(ctx, user, c, a); err != nil {
			return nil, err
		}
	case a.status < 300 && a.body != nil && !a.isOf(c):
		return nil, errUpstreamInvalid
	case mark != "":
		e.signed.processing = a.isProcessing()
	case c.route.op == signer.OpChallengeCredential && a.status < 300:
		if err := b.rememberPasskey(ctx, user, c, a); err != nil {
			return nil, err
		}
	}
	return a, nil
}
