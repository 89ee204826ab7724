// Package telemetry makes Prometheus metrics and OpenTelemetry spans of what a
// bridge tells its observer. An embedder who wants neither does not import it, nor
// what it drags in.
//
// Everything that leaves it is of a closed set, or a trace context that was parsed
// and written anew: no user, address, id, query or header.
package telemetry

import (
	"context"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"gridsigner/bridge"
)

// Options say what is made of the news, and where it goes.
type Options struct {
	// Metrics is where metrics are registered, nil for nowhere.
	Metrics prometheus.Registerer

	// Shared says that the bridge has a store that replicas share: the metrics of it
	// are registered only then, so that a replica which shares nothing does not look
	// like one whose Redis is gone, nor like one whose Redis is well.
	Shared bool

	// Version is what gridbridge_build_info says. If it is empty, that is what the Go
	// toolchain has written into the program.
	Version string

	// Spans makes a span of each request, and below it one of each call to Grid. nil
	// for none: a client's trace context is then passed on to Grid as it came.
	//
	// A client's trace context is the parent of the request's span, so that an app can
	// follow a request of its own. Whoever can send a request can make one up, and
	// its flag "sampled" too. To have that decide lets strangers fill a
	// collector, or stay out of it, and the SDK's default sampler does so. Give the
	// provider one that decides by itself: [ExportOTLP] records every request,
	// whatever its flag is. So does
	// ParentBased(root, WithRemoteParentSampled(root), WithRemoteParentNotSampled(root))
	// with a root that looks at neither flag nor trace id.
	Spans trace.TracerProvider

	// TraceState passes a client's tracestate on to Grid, and has it in spans. Off by
	// default: it may say more of the client's systems than Grid should know. Without
	// it Grid gets none, not one of a sampler's either.
	TraceState bool
}

// Observer is a [bridge.Observer]. None of its methods waits for anybody.
type Observer struct {
	*metrics
	tracer     trace.Tracer
	traceState bool
}

var _ bridge.Observer = (*Observer)(nil)

// New returns an observer. It fails if a metric's name is taken where it is to be
// registered.
func New(o Options) (*Observer, error) {
	m, err := newMetrics(o)
	if err != nil {
		return nil, err
	}
	provider := o.Spans
	if provider == nil {
		provider = noop.NewTracerProvider() // whose spans are the client's trace context
	}
	return &Observer{m, provider.Tracer("gridsigner/bridge"), o.TraceState}, nil
}

// Request begins the span of a request. If ctx is of a span, as it is behind
// an embedder's own middleware, that is its parent, whatever the headers say.
func (o *Observer) Request(ctx context.Context, h http.Header) (context.Context, func(bridge.Record)) {
	o.inFlight.Inc()
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = propagation.TraceContext{}.Extract(ctx, carrier{h, o.traceState})
	}
	ctx, span := o.tracer.Start(ctx, "request", serverSpan...)
	return ctx, func(r bridge.Record) {
		o.inFlight.Dec()
		o.countRequest(&r)
		if span.IsRecording() {
			describeRequest(span, &r)
		}
		span.End()
	}
}

// Call begins the span of a call to Grid, and names it in h as the parent of what
// Grid does.
func (o *Observer) Call(ctx context.Context, method, route string, h http.Header) func(bridge.Called) {
	ctx, span := o.tracer.Start(ctx, "call", clientSpan...)
	propagation.TraceContext{}.Inject(ctx, carrier{h, o.traceState})
	return func(c bridge.Called) {
		o.countCall(method, route, &c)
		if span.IsRecording() {
			describeCall(span, method, route, &c)
		}
		span.End()
	}
}

// Happened counts what happened. What it does not know it leaves out.
func (o *Observer) Happened(e bridge.Event) { o.countEvent(e) }

// Made once, as each would be made for every span.
var (
	serverSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer)}
	clientSpan = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
)

// describeRequest says in span what the log line says, but for who it was.
func describeRequest(span trace.Span, r *bridge.Record) {
	span.SetName(r.Method + " " + r.Route)
	list := append(make([]attribute.KeyValue, 0, 6), attribute.String("http.request.method", r.Method), attribute.String("http.route", r.Route),
		attribute.Int("http.response.status_code", r.Status), attribute.String("gridbridge.correlation_id", r.Correlation))
	if r.Code != "" {
		list = append(list, attribute.String("gridbridge.code", r.Code))
	}
	if r.Reason != "" {
		list = append(list, attribute.String("gridbridge.reason", string(r.Reason)))
	}
	span.SetAttributes(list...)
	if r.Status >= 500 {
		span.SetStatus(codes.Error, r.Code)
	}
}

func describeCall(span trace.Span, method, route string, c *bridge.Called) {
	span.SetName(method + " " + route)
	list := append(make([]attribute.KeyValue, 0, 4), attribute.String("http.request.method", method), attribute.String("url.template", route))
	if c.Status != 0 {
		list = append(list, attribute.Int("http.response.status_code", c.Status))
	}
	if c.Reason != "" {
		list = append(list, attribute.String("gridbridge.reason", string(c.Reason)))
	}
	span.SetAttributes(list...)
	if c.Status >= 500 || c.Reason != "" {
		span.SetStatus(codes.Error, string(c.Reason))
	}
}

// maxTraceState is what every system must be able to pass on (W3C Trace
// Context, 3.3.1.5).
const maxTraceState = 512

// carrier is the headers of a request as far as they are of its trace context. Of a
// header that is there twice there is no telling which one the others on the way
// go by, so it has none.
type carrier struct {
	h     http.Header
	state bool // whether it has a tracestate
}

func (c carrier) has(name string) bool {
	return name == "Traceparent" || name == "Tracestate" && c.state
}

func (c carrier) Get(key string) string {
	name := http.CanonicalHeaderKey(key)
	lines := c.h[name]
	if !c.has(name) || len(lines) != 1 || len(lines[0]) > maxTraceState {
		return ""
	}
	return lines[0]
}

func (c carrier) Set(key, value string) {
	if name := http.CanonicalHeaderKey(key); c.has(name) {
		c.h[name] = []string{value}
	}
}

func (c carrier) Keys() []string { return propagation.TraceContext{}.Fields() }
