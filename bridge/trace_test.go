package bridge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"gridsigner/bridge"
)

// recorder is a provider of OpenTelemetry that writes down what it is told. The
// SDK would be a large dependency of a small test.
type recorder struct {
	noop.TracerProvider
	mu    sync.Mutex
	begun byte
	ended []string
}

type recordedSpan struct {
	noop.Span
	r          *recorder
	id, parent trace.SpanContext
	name       string
	attributes []attribute.KeyValue
	status     string
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return recordingTracer{r: r} }

type recordingTracer struct {
	noop.Tracer
	r *recorder
}

func (t recordingTracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	t.r.begun++
	parent := trace.SpanContextFromContext(ctx)
	id := parent.WithSpanID(trace.SpanID{7: t.r.begun})
	if !parent.HasTraceID() {
		id = id.WithTraceID(trace.TraceID{15: t.r.begun})
	}
	span := &recordedSpan{r: t.r, id: id, parent: parent, name: name}
	return trace.ContextWithSpan(ctx, span), span
}

func (s *recordedSpan) SpanContext() trace.SpanContext { return s.id }
func (s *recordedSpan) IsRecording() bool              { return true }
func (s *recordedSpan) SetName(name string)            { s.name = name }
func (s *recordedSpan) SetAttributes(list ...attribute.KeyValue) {
	s.attributes = append(s.attributes, list...)
}
func (s *recordedSpan) SetStatus(code codes.Code, why string) { s.status = code.String() + " " + why }

func (s *recordedSpan) End(...trace.SpanEndOption) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	text := fmt.Sprintf("%s<%s %s %s", s.id.SpanID().String()[14:], s.parent.SpanID().String()[14:], s.name, s.status)
	for _, a := range s.attributes {
		if a.Key != "gridbridge.correlation_id" && !strings.HasPrefix(s.name, a.Value.String()+" ") && !strings.HasSuffix(s.name, " "+a.Value.String()) {
			text += " " + string(a.Key) + "=" + a.Value.String()
		}
	}
	s.r.ended = append(s.r.ended, strings.Join(strings.Fields(text), " "))
}

func TestSpans(t *testing.T) {
	r := &recorder{}
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	u.Config.ErrorLog = discard
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Tracer = r })
	c.send("DELETE", "/auth/sessions/"+session, "", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b71692033ff-01", "Tracestate: a=b")
	c.send("GET", "/"+url.PathEscape(canary), "", "Cookie: "+canary)
	c.server.Close()
	want := []string{
		"02<01 GET /auth/sessions http.response.status_code=200",
		"03<01 DELETE /auth/sessions/{id} Error BRIDGE_UPSTREAM_FAILED",
		"01<ff DELETE /auth/sessions/{id} Error BRIDGE_UPSTREAM_FAILED http.response.status_code=502 gridbridge.code=BRIDGE_UPSTREAM_FAILED",
		"04<00 - - http.response.status_code=404 gridbridge.code=BRIDGE_ROUTE_NOT_FOUND",
	}
	if !slices.Equal(r.ended, want) {
		t.Errorf("spans =\n%s\nwant\n%s", strings.Join(r.ended, "\n"), strings.Join(want, "\n"))
	}
	sent := u.tap.received()
	for _, line := range []string{
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000002-01\r\nTracestate: a=b\r\n",
		"Traceparent: 00-0af7651916cd43dd8448eb211c80319c-0000000000000003-01\r\nTracestate: a=b\r\n",
	} {
		if !strings.Contains(sent, line) {
			t.Errorf("upstream received\n%s\nwant %q in it", sent, line)
		}
	}
	if log := c.log.String(); !strings.Contains(log, `"traceId":"0af7651916cd43dd8448eb211c80319c"`) {
		t.Errorf("log = %s, want the trace's id in it", log)
	}
}
