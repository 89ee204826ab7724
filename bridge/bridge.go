// Package bridge is the part of an app's backend that talks to Lightspark Grid
// for a browser. It forwards the few requests of its allow-list with the API
// credentials added, for users that it knows and on accounts that are theirs.
//
// Serve what [New] returns with [NewServer], or run cmd/gridbridge. Paths below the prefix are
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
//
// # Packages
//
// This one is made of the standard library, package uuid and [gridsigner/signer].
// What needs more stands beside it: package identity knows users by OpenID Connect
// and by forward auth, redisstore shares with other replicas, telemetry makes metrics
// and spans. For tests gridsim stands in for Grid, and conformance asks of any bridge
// whether it is safe.
package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"gridsigner/bridge/internal/outbound"
	"gridsigner/signer"
)

// bridge is the handler. It is immutable but for its caches.
type bridge struct {
	Config
	credentials *credentials
	transport   *http.Transport
	origins     *origins
	flood       *flood
	lookups     lookups
	auditKey    []byte
	inFlight    atomic.Int64
}

// New returns the handler. It answers every path, those outside its prefix by
// [Config.App], so it can be a server's only handler. Every error of the
// configuration is reported at once.
func New(c Config) (http.Handler, error) {
	errConfig := c.fillIn()
	origins, errOrigins := newOrigins(c.AllowOrigins)
	if err := errors.Join(errConfig, errOrigins); err != nil {
		return nil, err
	}
	return &bridge{
		Config:      c,
		credentials: c.credentials(c.Observer.Happened),
		transport:   outbound.NewTransport(c.Timeout),
		origins:     origins,
		flood:       newFlood(c.Limits, c.Now),
		auditKey:    c.Key.Derive("audit"),
	}, nil
}

// visit is a request on its way through the bridge, and what is found out about it.
type visit struct {
	Record
	leg       *leg // nil unless it is a signed leg or a passkey's answer, of a known user within the limits
	bodyRead  bool
	otherSite bool // what origins.ofOtherSite says of it
	quiet     bool // one of many refusals that are alike: not worth a line
}

// ServeHTTP answers a request, and accounts for it.
func (b *bridge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if b.isApps(r) {
		b.App.ServeHTTP(w, r)
		return
	}
	start := time.Now()
	b.makeTime(w, r)
	ctx, end := b.Observer.Request(r.Context(), r.Header)
	address := b.address(r)
	r = r.WithContext(context.WithValue(ctx, addressKey{}, address))
	v := &visit{Record: Record{Method: "-", Route: "-", Correlation: uuid.NewString()}}
	w.Header().Set("X-Correlation-Id", v.Correlation)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")

	a, ref := b.answer(w, r, v)
	if ref != nil {
		v.Status, v.Code, v.Reason = ref.status, ref.code, ref.reason
	} else {
		v.Status = a.status
	}
	b.audit(r.Context(), v)
	// net/http would wait for a body that nobody has read before it answers, for as
	// long as reading may take.
	if !v.bodyRead && hasBody(r) && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if ref != nil {
		ref.write(w, v.Correlation)
	} else {
		a.write(w)
	}
	v.Took = time.Since(start)
	v.Client = b.describe(address)
	if !v.quiet {
		v.log(r.Context(), b.Log)
	}
	end(v.Record)
}

// answer serves r. What is no refusal of the bridge's becomes one.
func (b *bridge) answer(w http.ResponseWriter, r *http.Request, v *visit) (*answer, *refusal) {
	b.inFlight.Add(1)
	defer b.inFlight.Add(-1)
	a, err := b.serve(w, r, v)
	if err == nil {
		return a, nil
	}
	if a, ok := errors.AsType[*answer](err); ok {
		v.Reason = reasonLookUp
		return a, nil
	}
	if ref, ok := errors.AsType[*refusal](err); ok {
		return nil, ref
	}
	return nil, errInternal
}

// serve takes a request through the checks in their order, cheapest first, and
// then to Grid. It sets headers of w but writes nothing, so a panic anywhere
// below it still becomes one well-formed answer.
func (b *bridge) serve(w http.ResponseWriter, r *http.Request, v *visit) (a *answer, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value may quote anything. The stack holds names and addresses.
			b.Log.LogAttrs(r.Context(), slog.LevelError, "panic",
				slog.String("correlationId", v.Correlation), slog.String("stack", string(debug.Stack())))
			a, err = nil, errInternal.because(reasonPanic)
		}
	}()
	allowed := b.origins.allow(w, r) // first, so that its pages can read every refusal
	if err := b.holdFlood(r, v); err != nil {
		return nil, err
	}
	rt, rawID, preflight, err := b.route(w, r, v, allowed)
	switch {
	case err != nil:
		return nil, err
	case preflight:
		return b.origins.permit(w, rt), nil
	}
	if err := b.origins.check(r, v.otherSite); err != nil {
		return nil, err
	}
	user, err := b.user(r)
	if err != nil {
		return nil, err
	}
	v.User = user.ID
	c, err := rt.parse(w, r, rawID)
	if err != nil {
		return nil, err
	}
	v.bodyRead = true
	ctx, cancel := context.WithTimeout(r.Context(), b.Timeout)
	defer cancel()
	if user, err = b.withNamed(ctx, user, c); err != nil {
		return nil, err
	}
	kept, err := b.consult(ctx, user, c)
	if err != nil {
		return nil, err
	}
	if len(c.headers) > 0 {
		v.leg = &leg{call: c} // audited whatever becomes of it; within the limits, or one could fill the audit
	}
	if err := b.authorize(ctx, v, user, c, kept); err != nil {
		return nil, err
	}
	if err := b.limitAttempts(ctx, c); err != nil {
		return nil, err
	}
	if v.leg != nil {
		return b.signedLeg(ctx, v, user, c, kept)
	}
	if err := b.flood.grid(); err != nil {
		return nil, err
	}
	a, err = b.send(ctx, v, c)
	if err != nil {
		return nil, err
	}
	return a, b.judge(ctx, v, user, c, a)
}

// route finds the route of r. On a method that its path does not take the answer names
// those that it does.
//
// The path is as the client escaped it. http.ServeMux would clean it and redirect; what
// is checked has to be what was sent.
func (b *bridge) route(w http.ResponseWriter, r *http.Request, v *visit, allowed bool) (rt *route, rawID string, preflight bool, err error) {
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), b.Prefix)
	if !ok {
		return nil, "", false, errRouteNotFound
	}
	method, preflight := b.origins.preflight(r, allowed)
	if !preflight {
		method = r.Method
	}
	rt, rawID, allow, err := match(method, path)
	if err != nil {
		if allow != nil {
			w.Header().Set("Allow", strings.Join(allow, ", "))
		}
		return nil, "", false, err
	}
	v.Method, v.Route = rt.Method, rt.template
	if preflight {
		v.Method = http.MethodOptions
	}
	return rt, rawID, preflight, nil
}

// user asks who is calling.
func (b *bridge) user(r *http.Request) (User, error) {
	user, err := b.Authenticate(r)
	if err == nil {
		err = user.Check()
	}
	reason, known := errors.AsType[Reason](err)
	if !known {
		reason = ReasonUnknown
	}
	switch {
	case err == nil:
		user.Accounts = slices.Clone(user.Accounts)
		slices.Sort(user.Accounts)
		user.Accounts = slices.CompactFunc(user.Accounts, sameID) // each of them may cost a call
		return user, nil
	case errors.Is(r.Context().Err(), context.Canceled):
		return User{}, errClientGone // which is no fault of whoever was asked about the user
	case errors.Is(err, ErrAuthUnavailable):
		return User{}, errAuthUnavailable.because(reason).after(time.Second)
	}
	return User{}, errUnauthenticated.because(reason).asking(err)
}

// judge looks at a, Grid's answer to c, before it is relayed, and keeps the challenge in
// it for the leg that answers it.
func (b *bridge) judge(ctx context.Context, v *visit, user User, c *call, a *answer) error {
	switch {
	case a.status == http.StatusUnauthorized:
		return b.judgeUnauthorized(ctx, v, user, c)
	case a.status == http.StatusAccepted:
		return b.remember(ctx, user, c, a)
	case a.status >= 300 || a.body == nil:
		return nil
	case !a.isOf(c):
		return errUpstreamInvalid.because(reasonOtherAccount)
	case c.route.op == signer.OpChallengeCredential:
		return b.rememberPasskey(ctx, user, c, a)
	}
	return nil
}

// judgeUnauthorized finds out what Grid refused with 401: what the user showed or, once
// in the life of a credential, the bridge's own. A list, to which the user adds nothing,
// tells, with the credentials that c was sent with. If that is not found out the answer is
// why not: with 401 a client would believe that its session is over.
func (b *bridge) judgeUnauthorized(ctx context.Context, v *visit, user User, c *call) error {
	if err := b.chargeUser(ctx, user); err != nil {
		return err
	}
	if err := b.flood.grid(); err != nil {
		return err
	}
	a, err := b.sendAs(ctx, v, &call{route: lists["Session"], id: c.account}, c.sentAs)
	switch {
	case errors.Is(err, errUpstreamCredential):
		b.credentials.renew(ended(ctx), c.sentAs)
		return err
	case err != nil:
		return err
	case a.status == http.StatusTooManyRequests || a.status >= 500:
		return a
	}
	return nil
}
