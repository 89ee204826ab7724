package bridge

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// maxTraceState is what every system must be able to pass on (W3C Trace
// Context, 3.3.1.5).
const maxTraceState = 512

// newTracer returns a tracer of provider. Without one its spans are nothing but
// the client's trace context, which is then passed on to Grid as it came.
func newTracer(provider trace.TracerProvider) trace.Tracer {
	if provider == nil {
		provider = noop.NewTracerProvider()
	}
	return provider.Tracer("gridsigner/bridge")
}

// withTrace is ctx with the trace context that a client sent. What is not well
// formed is left behind, as if it had not been sent: a trace is no reason to
// refuse a request.
func withTrace(ctx context.Context, h http.Header) context.Context {
	parent, state := h["Traceparent"], h["Tracestate"]
	if len(parent) != 1 {
		return ctx
	}
	config, ok := parseTraceParent(parent[0])
	if !ok {
		return ctx
	}
	if len(state) == 1 && len(state[0]) <= maxTraceState {
		config.TraceState, _ = trace.ParseTraceState(state[0]) // empty on error
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(config))
}

// parseTraceParent knows version 00: version "-" trace id "-" parent id "-"
// flags, of 2, 32, 16 and 2 lower-case hex digits.
func parseTraceParent(v string) (c trace.SpanContextConfig, ok bool) {
	field := strings.Split(v, "-")
	if len(field) != 4 || field[0] != "00" || len(field[3]) != 2 || field[3] != strings.ToLower(field[3]) {
		return c, false
	}
	var errs [3]error
	var flags []byte
	c.TraceID, errs[0] = trace.TraceIDFromHex(field[1]) // neither is all zeros
	c.SpanID, errs[1] = trace.SpanIDFromHex(field[2])
	flags, errs[2] = hex.DecodeString(field[3])
	if errs != [3]error{} {
		return c, false
	}
	c.TraceFlags = trace.TraceFlags(flags[0])
	return c, true
}

// setTrace sets the headers that name span as the parent of what Grid does.
func setTrace(h http.Header, span trace.SpanContext) {
	if !span.IsValid() {
		return
	}
	h.Set("Traceparent", "00-"+span.TraceID().String()+"-"+span.SpanID().String()+"-"+span.TraceFlags().String())
	if state := span.TraceState().String(); state != "" {
		h.Set("Tracestate", state)
	}
}

// traceID is the id of span's trace, "" if there is none.
func traceID(span trace.SpanContext) string {
	if !span.HasTraceID() {
		return ""
	}
	return span.TraceID().String()
}

// describe says in span, if anybody records it, what the log line says.
func (e *entry) describe(span trace.Span) {
	if !span.IsRecording() {
		return
	}
	span.SetName(e.method + " " + e.route)
	span.SetAttributes(attribute.String("http.request.method", e.method), attribute.String("http.route", e.route),
		attribute.Int("http.response.status_code", e.status), attribute.String("gridbridge.code", e.code),
		attribute.String("gridbridge.correlation_id", e.correlation))
	if e.status >= 500 {
		span.SetStatus(codes.Error, e.code)
	}
}

// describeAnswer says in span, if anybody records it, what came of the request
// to Grid. err is a refusal: its text is a code.
func describeAnswer(span trace.Span, c *call, a *answer, err error) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("http.request.method", c.route.Method), attribute.String("url.template", c.route.template))
	switch {
	case err != nil:
		span.SetStatus(codes.Error, err.Error())
	case a != nil: // neither, if it panicked
		span.SetAttributes(attribute.Int("http.response.status_code", a.status))
	}
}
