package telemetry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"gridsigner/bridge"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	traceID = "0af7651916cd43dd8448eb211c80319c"
	parent  = "00-" + traceID + "-b7ad6b7169203331-01"
	canary  = "canary/Secret+4711" // its hex, its base64 and its percent-encoding differ from it
)

func newObserver(t testing.TB, o Options) *Observer {
	t.Helper()
	observer, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return observer
}

// headers of lines, which are "Name: value".
func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// hostile is what a client may send to have it written down somewhere.
var hostile = headers("Traceparent: 00-"+traceID+"-b7ad6b7169203331-01", "Tracestate: k="+canary, "Cookie: "+canary, "Authorization: Bearer "+canary,
	"Baggage: k="+url.QueryEscape(canary), "X-Request-Id: "+canary, "User-Agent: "+canary, "B3: "+canary, "Grid-Wallet-Signature: "+canary)

func assertNoCanary(t *testing.T, where, text string) {
	t.Helper()
	for _, form := range []string{canary, url.QueryEscape(canary), url.PathEscape(canary), hex.EncodeToString([]byte(canary)), base64.RawStdEncoding.EncodeToString([]byte(canary)), "Secret"} {
		if strings.Contains(text, form) {
			t.Errorf("%s holds what a client sent:\n%q", where, text)
		}
	}
}

// TestPropagation sends a client's trace context through an observer without spans of its
// own, with and without its tracestate.
func TestPropagation(t *testing.T) {
	tests := []struct {
		name      string
		lines     []string
		want      string // headers that Grid sees
		withState string // the same with TraceState, if that differs
	}{
		{"nothing", nil, "", ""},
		{"parent", []string{"Traceparent: " + parent}, "Traceparent: " + parent, ""},
		{"not sampled", []string{"Traceparent: " + parent[:53] + "00"}, "Traceparent: " + parent[:53] + "00", ""},
		{"parent and state", []string{"traceparent: " + parent, "tracestate: a=b,c=d"}, "Traceparent: " + parent, "Traceparent: " + parent + "\nTracestate: a=b,c=d"},
		{"state alone", []string{"Tracestate: a=b"}, "", ""},
		{"state of 512 bytes", []string{"Traceparent: " + parent, "Tracestate: " + wideState(512)}, "Traceparent: " + parent, "Traceparent: " + parent + "\nTracestate: " + wideState(512)},
		{"state of 513 bytes", []string{"Traceparent: " + parent, "Tracestate: " + wideState(513)}, "Traceparent: " + parent, ""},
		{"state with a control character", []string{"Traceparent: " + parent, "Tracestate: a=b\x01"}, "Traceparent: " + parent, ""},
		{"state with a tab", []string{"Traceparent: " + parent, "Tracestate: a\tb"}, "Traceparent: " + parent, ""},
		{"state with a line break", []string{"Traceparent: " + parent, "Tracestate: a=b\r\nX: y"}, "Traceparent: " + parent, ""},
		{"state beyond ASCII", []string{"Traceparent: " + parent, "Tracestate: a=\u00fc"}, "Traceparent: " + parent, ""},
		{"state twice", []string{"Traceparent: " + parent, "Tracestate: a=b", "Tracestate: c=d"}, "Traceparent: " + parent, ""},
		{"twice", []string{"Traceparent: " + parent, "Traceparent: " + parent}, "", ""},
		{"two that differ", []string{"Traceparent: " + parent, "Traceparent: " + strings.Replace(parent, "0af", "1af", 1)}, "", ""},
		{"upper case", []string{"Traceparent: " + strings.ToUpper(parent)}, "", ""},
		{"no trace id", []string{"Traceparent: 00-" + strings.Repeat("0", 32) + parent[35:]}, "", ""},
		{"no span id", []string{"Traceparent: " + parent[:36] + strings.Repeat("0", 16) + "-01"}, "", ""},
		{"unknown flags", []string{"Traceparent: " + parent[:53] + "ff"}, "", ""},
		{"flag random", []string{"Traceparent: " + parent[:53] + "03"}, "Traceparent: " + parent[:53] + "03", ""},
		{"version ff", []string{"Traceparent: ff" + parent[2:]}, "", ""},
		{"a fifth field", []string{"Traceparent: " + parent + "-" + canary}, "", ""},
		{"a blank before it", []string{"Traceparent:  " + parent}, "", ""},
		{"a control character", []string{"Traceparent: " + parent[:54] + "\x01"}, "", ""},
		{"something else", []string{"Traceparent: " + canary}, "", ""},
		{"long", []string{"Traceparent: " + strings.Repeat("0", 1<<16)}, "", ""},
		{"a later version, whose further fields are left behind", []string{"Traceparent: 01" + parent[2:] + "-" + canary}, "Traceparent: " + parent, ""},
		{"baggage", []string{"Traceparent: " + parent, "Baggage: a=b"}, "Traceparent: " + parent, ""},
	}
	for _, v := range tests {
		for _, state := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", v.name, state), func(t *testing.T) {
				o := newObserver(t, Options{TraceState: state})
				ctx, end := o.Request(t.Context(), headers(v.lines...))
				sent := headers("Accept: application/json")
				o.Call(ctx, "GET", "/auth/sessions", sent)(bridge.Called{Status: 200})
				end(bridge.Record{Status: 200})
				var got []string
				for _, name := range []string{"Traceparent", "Tracestate"} {
					for _, value := range sent[name] {
						got = append(got, name+": "+value)
					}
				}
				want := v.want
				if state && v.withState != "" {
					want = v.withState
				}
				if strings.Join(got, "\n") != want || len(sent) != 1+len(got) {
					t.Errorf("Grid sees %q, want %q and Accept", sent, want)
				}
			})
		}
	}
}

// wideState is a tracestate of n bytes.
func wideState(n int) string {
	text := "a=" + strings.Repeat("b", 254) + ",c="
	return text + strings.Repeat("d", n-len(text))
}

// observe runs three requests: one that Grid answers, one that it fails, and one that is
// refused.
func observe(o *Observer, t *testing.T, h http.Header) {
	ctx, end := o.Request(t.Context(), h)
	o.Call(ctx, "GET", "/auth/sessions", http.Header{})(bridge.Called{Status: 200, Took: time.Second})
	o.Call(ctx, "DELETE", "/auth/sessions/{id}", http.Header{})(bridge.Called{Reason: bridge.ReasonTimeout, Took: time.Second})
	end(bridge.Record{Method: "DELETE", Route: "/auth/sessions/{id}", Status: 504, Code: "BRIDGE_UPSTREAM_TIMEOUT", Reason: bridge.ReasonTimeout, Correlation: "c1",
		User: canary, Client: canary, Took: 3 * time.Second, Calls: 2, CallsTook: 2 * time.Second, Checked: bridge.CheckedVerified})
	ctx, end = o.Request(t.Context(), nil)
	o.Call(ctx, "GET", "/auth/sessions", http.Header{})(bridge.Called{Status: 500})
	end(bridge.Record{Method: "GET", Route: "/auth/sessions", Status: 500, Correlation: "c2"})
	_, end = o.Request(t.Context(), nil)
	end(bridge.Record{Method: "-", Route: "-", Status: 404, Code: "BRIDGE_ROUTE_NOT_FOUND", Reason: "no-route", Correlation: "c3"})
}

// describe writes spans down, the ids as where they first appeared.
func describe(spans []sdktrace.ReadOnlySpan) (lines []string) {
	ids := map[trace.SpanID]int{}
	for _, s := range spans {
		ids[s.SpanContext().SpanID()] = len(ids) + 1
	}
	for i, s := range spans {
		line := fmt.Sprintf("%d<%d %s %q %s %s", i+1, ids[s.Parent().SpanID()], s.SpanKind(), s.Name(), s.Status().Code, s.Status().Description)
		attributes := slices.Clone(s.Attributes())
		slices.SortFunc(attributes, func(a, b attribute.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
		for _, a := range attributes {
			line += " " + string(a.Key) + "=" + a.Value.String()
		}
		lines = append(lines, line)
	}
	return lines
}

func TestSpans(t *testing.T) {
	r := tracetest.NewSpanRecorder()
	o := newObserver(t, Options{Spans: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r)), TraceState: true})
	observe(o, t, headers("Traceparent: "+parent, "Tracestate: a=b"))
	want := []string{
		`1<3 client "GET /auth/sessions" Unset  http.request.method=GET http.response.status_code=200 url.template=/auth/sessions`,
		`2<3 client "DELETE /auth/sessions/{id}" Error timeout gridbridge.reason=timeout http.request.method=DELETE url.template=/auth/sessions/{id}`,
		`3<0 server "DELETE /auth/sessions/{id}" Error BRIDGE_UPSTREAM_TIMEOUT gridbridge.code=BRIDGE_UPSTREAM_TIMEOUT gridbridge.correlation_id=c1 gridbridge.reason=timeout http.request.method=DELETE http.response.status_code=504 http.route=/auth/sessions/{id}`,
		`4<5 client "GET /auth/sessions" Error  http.request.method=GET http.response.status_code=500 url.template=/auth/sessions`,
		`5<0 server "GET /auth/sessions" Error  gridbridge.correlation_id=c2 http.request.method=GET http.response.status_code=500 http.route=/auth/sessions`,
		`6<0 server "- -" Unset  gridbridge.code=BRIDGE_ROUTE_NOT_FOUND gridbridge.correlation_id=c3 gridbridge.reason=no-route http.request.method=- http.response.status_code=404 http.route=-`,
	}
	if got := describe(r.Ended()); !slices.Equal(got, want) {
		t.Errorf("spans =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range r.Ended()[:3] {
		if s.SpanContext().TraceID().String() != traceID || s.SpanContext().TraceState().String() != "a=b" {
			t.Errorf("%s is of trace %s, state %s, want the client's", s.Name(), s.SpanContext().TraceID(), s.SpanContext().TraceState())
		}
	}
	if p := r.Ended()[2].Parent(); p.SpanID().String() != "b7ad6b7169203331" || !p.IsRemote() {
		t.Errorf("the request's parent is %s, want the client's span", p.SpanID())
	}
	if s := r.Ended()[3].SpanContext(); s.TraceID().String() == traceID {
		t.Error("a request without a trace context is of another's trace")
	}
}

// TestCallNamesItsSpan wants Grid to see the span of the call, not the client's nor the
// request's, and a look-up beside any request to have one of its own.
func TestCallNamesItsSpan(t *testing.T) {
	r := tracetest.NewSpanRecorder()
	o := newObserver(t, Options{Spans: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))})
	ctx, end := o.Request(t.Context(), hostile)
	for _, c := range []struct{ span int }{{0}, {1}} {
		sent := headers("Traceparent: " + canary)
		o.Call(ctx, "GET", "/auth/sessions", sent)(bridge.Called{Status: 200})
		if got, want := sent.Get("Traceparent"), "00-"+traceID+"-"+r.Ended()[c.span].SpanContext().SpanID().String()+"-01"; got != want || len(sent) != 1 {
			t.Errorf("Grid sees %q, want %s", sent, want)
		}
	}
	end(bridge.Record{})
	o.Call(t.Context(), "GET", "/auth/sessions", http.Header{})(bridge.Called{Status: 200})
	if alone := r.Ended()[3]; alone.Parent().IsValid() || alone.SpanContext().TraceID().String() == traceID {
		t.Error("a call beside any request has a parent")
	}
}

// TestOwnSpanComesFirst is a bridge behind an embedder's middleware.
func TestOwnSpanComesFirst(t *testing.T) {
	r := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r))
	o := newObserver(t, Options{Spans: provider})
	ctx, middleware := provider.Tracer("app").Start(t.Context(), "app")
	_, end := o.Request(ctx, headers("Traceparent: "+parent))
	end(bridge.Record{Status: 200})
	middleware.End()
	if got, want := r.Ended()[0].Parent().SpanID(), middleware.SpanContext().SpanID(); got != want {
		t.Errorf("the request's parent is %s, want the middleware's %s", got, want)
	}
}

func TestLogHandler(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(LogHandler(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	o := newObserver(t, Options{})
	ctx, end := o.Request(t.Context(), hostile)
	defer end(bridge.Record{})
	log.InfoContext(t.Context(), "outside")
	log.Info("without a context")
	log.InfoContext(ctx, "request", "a", 1)
	log.With("b", 2).InfoContext(ctx, "with")
	log.WithGroup("g").InfoContext(ctx, "group", "c", 3)
	log.DebugContext(ctx, "below the level")
	want := `level=INFO msg=outside
level=INFO msg="without a context"
level=INFO msg=request a=1 traceId=` + traceID + `
level=INFO msg=with b=2 traceId=` + traceID + `
level=INFO msg=group g.c=3 g.traceId=` + traceID + `
`
	if out.String() != want {
		t.Errorf("log =\n%swant\n%s", out.String(), want)
	}
	assertNoCanary(t, "the log", out.String())
}
