package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"gridsigner/bridge"
)

// batch is a request to a collector.
type batch struct {
	*http.Request
	body []byte
}

// collected is what a collector got.
type collected struct {
	*httptest.Server
	closed  chan struct{} // a connection was
	mu      sync.Mutex
	batches []batch
}

func (c *collected) all() []batch {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.batches
}

// newCollector starts a collector that answers with answer.
func newCollector(t *testing.T, answer http.HandlerFunc) *collected {
	t.Helper()
	c := &collected{closed: make(chan struct{}, 100)}
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		c.mu.Lock()
		c.batches = append(c.batches, batch{r, body})
		c.mu.Unlock()
		if err != nil {
			t.Error(err)
		}
		answer(w, r)
	}))
	c.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			c.closed <- struct{}{}
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func accept(http.ResponseWriter, *http.Request) {}

// export starts an exporter whose log is the buffer.
func export(t *testing.T, endpoint string, o OTLP) (*sdktrace.TracerProvider, *bytes.Buffer) {
	t.Helper()
	handler := otel.GetErrorHandler()
	t.Cleanup(func() { otel.SetErrorHandler(handler) })
	log := &bytes.Buffer{} // written by one goroutine, and read after its end
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	provider, err := ExportOTLP(endpoint, o)
	if err != nil {
		t.Fatal(err)
	}
	return provider, log
}

// decode reads an ExportTraceServiceRequest by hand: its only field is the first one, of
// ResourceSpans. The package that has its type imports gRPC.
func decode(t *testing.T, body []byte) (list []*tracepb.ResourceSpans) {
	t.Helper()
	for len(body) > 0 {
		field, kind, n := protowire.ConsumeTag(body)
		if field != 1 || kind != protowire.BytesType {
			t.Fatalf("field %d of type %d, want messages of field 1", field, kind)
		}
		message, size := protowire.ConsumeBytes(body[n:])
		spans := &tracepb.ResourceSpans{}
		if err := proto.Unmarshal(message, spans); err != nil || size < 0 {
			t.Fatal(err)
		}
		list, body = append(list, spans), body[n+size:]
	}
	return list
}

func TestExport(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	c := newCollector(t, accept)
	provider, log := export(t, c.URL, OTLP{Headers: "api-key=a%20b, X-Tenant = t ,", Version: "v1"})
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Spans: provider, Metrics: registry})
	observe(o, t, hostile)
	func() {
		defer func() { recover() }()
		_, span := provider.Tracer("app").Start(t.Context(), "panics")
		defer span.End()
		panic(canary)
	}()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-c.closed // the exporter holds no connection
	if len(c.all()) != 1 || log.Len() != 0 {
		t.Fatalf("%d batches, want one; the log has %q", len(c.all()), log)
	}
	r := c.all()[0]
	if got := r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + r.Header.Get("Api-Key") + " " + r.Header.Get("X-Tenant"); got != "POST /v1/traces application/x-protobuf a b t" {
		t.Errorf("request = %s", got)
	}
	list := decode(t, r.body)
	if len(list) != 1 || len(list[0].ScopeSpans) != 2 {
		t.Fatalf("%d resources, want one with two scopes", len(list))
	}
	slices.SortFunc(list[0].ScopeSpans, func(a, b *tracepb.ScopeSpans) int { return strings.Compare(b.Scope.Name, a.Scope.Name) }) // ours first
	resource := list[0].Resource.String()
	for _, want := range []string{"gridbridge", "v1", "deployment.environment.name"} {
		if !strings.Contains(resource, want) {
			t.Errorf("resource = %s, want %s in it", resource, want)
		}
	}
	var got []string
	for _, s := range list[0].ScopeSpans[0].Spans {
		text := s.Name + " " + strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_") + " " + strings.TrimPrefix(s.Status.GetCode().String(), "STATUS_CODE_")
		for _, a := range s.Attributes {
			if a.Key == "gridbridge.code" || a.Key == "http.response.status_code" {
				text += " " + a.Value.GetStringValue()
			}
		}
		got = append(got, text)
		if s.TraceState != "" {
			t.Errorf("%s has the tracestate %q", s.Name, s.TraceState)
		}
	}
	want := []string{
		"GET /auth/sessions CLIENT UNSET ", "DELETE /auth/sessions/{id} CLIENT ERROR", "DELETE /auth/sessions/{id} SERVER ERROR  BRIDGE_UPSTREAM_TIMEOUT",
		"GET /auth/sessions CLIENT ERROR ", "GET /auth/sessions SERVER ERROR ", "- - SERVER UNSET  BRIDGE_ROUTE_NOT_FOUND",
	}
	if !slices.Equal(got, want) {
		t.Errorf("spans =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	assertNoCanary(t, "what was exported", string(r.body))
	assertNoCanary(t, "the metrics", strings.Join(samples(t, registry), "\n"))
}

// TestClientDoesNotChoose wants every request recorded, and Grid told so, whatever a client's
// flag says.
func TestClientDoesNotChoose(t *testing.T) {
	c := newCollector(t, accept)
	provider, _ := export(t, c.URL+"/other/path", OTLP{})
	o := newObserver(t, Options{Spans: provider})
	for _, flags := range []string{"00", "01", "02", "03"} {
		ctx, end := o.Request(t.Context(), headers("Traceparent: "+parent[:53]+flags))
		sent := http.Header{}
		o.Call(ctx, "GET", "/auth/sessions", sent)(bridge.Called{Status: 200})
		end(bridge.Record{Status: 200})
		if got := sent.Get("Traceparent"); !strings.HasSuffix(got, "1") && !strings.HasSuffix(got, "3") {
			t.Errorf("with the client's flags %s Grid sees %s, want it sampled", flags, got)
		}
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := c.all()[0]
	if n := len(decode(t, r.body)[0].ScopeSpans[0].Spans); n != 8 || r.URL.Path != "/other/path" {
		t.Errorf("%d spans to %s, want 8 to /other/path", n, r.URL.Path)
	}
}

// TestCollectorSaysNothing wants no word of a collector, of where it is, or of what is sent
// to it in the log, and no redirect followed.
func TestCollectorSaysNothing(t *testing.T) {
	other := newCollector(t, accept)
	tests := []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"refuses", func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Api-Key"), http.StatusUnauthorized)
		}, "spans=6 reason=status status=401"},
		{"redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/"+canary, http.StatusTemporaryRedirect)
		}, "spans=6 reason=status status=307"},
		{"hangs up", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "spans=6 reason=hung-up status=0"},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			c := newCollector(t, v.answer)
			provider, log := export(t, c.URL+"/"+canary, OTLP{Headers: "api-key=" + canary})
			observe(newObserver(t, Options{Spans: provider}), t, nil)
			provider.Shutdown(t.Context())
			if got := log.String(); strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "level=WARN msg=\"spans lost\" "+v.want+"\n") {
				t.Errorf("log = %q, want %s", got, v.want)
			}
			assertNoCanary(t, "the log", log.String())
			if strings.Contains(log.String(), "127.0.0.1") || len(c.all()) != 1 {
				t.Errorf("log = %q, %d tries, want one", log, len(c.all()))
			}
		})
	}
	if len(other.all()) != 0 {
		t.Error("a redirect was followed")
	}
}

// TestUnreachable has nobody listen on port 1, and makes more spans than the queue holds.
func TestUnreachable(t *testing.T) {
	provider, log := export(t, "http://127.0.0.1:1", OTLP{Now: func() time.Time { return time.Unix(1, 0) }})
	o := newObserver(t, Options{Spans: provider})
	for range 1000 {
		observe(o, t, nil)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "reason=refused") {
		t.Errorf("log = %q, want one line", got)
	}
}

// lines is a log whose lines are waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// TestShutdownGivesUp has a collector that never answers. Meanwhile requests are not held
// up, and once Shutdown's time is up nothing goes on.
func TestShutdownGivesUp(t *testing.T) {
	arrived := make(chan struct{}, 1)
	c := newCollector(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done() // the client is gone
	})
	provider, _ := export(t, c.URL, OTLP{})
	log := make(lines, 1)
	otel.SetErrorHandler(&failures{log: slog.New(slog.NewTextHandler(log, nil)), now: time.Now})
	o := newObserver(t, Options{Spans: provider})
	observe(o, t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- provider.Shutdown(ctx) }()
	<-arrived
	for range 1000 {
		observe(o, t, nil)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown = %v, want that its time is up", err)
	}
	if line := <-log; !strings.HasSuffix(line, "spans=6 reason=canceled status=0\n") {
		t.Errorf("log = %q, want that sending was given up", line)
	}
}

func TestExportRefuses(t *testing.T) {
	handler := otel.GetErrorHandler()
	for name, v := range map[string]struct {
		endpoint string
		o        OTLP
		want     string
	}{
		"plain":               {"http://collector.example/" + canary, OTLP{}, "the collector's URL: must be https, or http on loopback"},
		"another is named":    {"http://collector.example", OTLP{InsecureHosts: []string{"other.example"}}, "the collector's URL: must be https, or http on loopback"},
		"credentials":         {"https://user:" + url.QueryEscape(canary) + "@collector.example", OTLP{}, "the collector's URL: a URL with credentials or a fragment"},
		"query":               {"https://collector.example/?key=" + canary, OTLP{}, "the collector's URL: a URL with a query"},
		"no URL":              {canary, OTLP{}, "the collector's URL: not an absolute URL"},
		"gRPC":                {"grpc://collector.example:4317", OTLP{}, "the collector's URL: must be https, or http on loopback"},
		"header without name": {"https://collector.example", OTLP{Headers: "=" + canary}, "the headers: want name=value, with commas in between, percent-encoded"},
		"header of one word":  {"https://collector.example", OTLP{Headers: "a=b," + canary}, "the headers: want name=value, with commas in between, percent-encoded"},
		"header's name":       {"https://collector.example", OTLP{Headers: "a b=" + canary}, "the headers: want name=value, with commas in between, percent-encoded"},
		"header's encoding":   {"https://collector.example", OTLP{Headers: "a=%zz" + canary}, "the headers: want name=value, with commas in between, percent-encoded"},
		"header's line break": {"https://collector.example", OTLP{Headers: "a=b%0d%0aX:%20" + canary}, "the headers: want name=value, with commas in between, percent-encoded"},
		"all at once":         {"ftp://x", OTLP{Headers: canary}, "the collector's URL: must be https, or http on loopback\nthe headers: want name=value, with commas in between, percent-encoded"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := ExportOTLP(v.endpoint, v.o); err == nil || err.Error() != v.want {
				t.Errorf("error = %v, want %s", err, v.want)
			}
		})
	}
	if otel.GetErrorHandler() != handler {
		t.Error("a refusal has taken the process's error handler")
	}
	provider, _ := export(t, "http://collector.example", OTLP{InsecureHosts: []string{"collector.example"}})
	provider.Shutdown(t.Context()) // with nothing to send
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", canary)
	if _, err := ExportOTLP("https://collector.example", OTLP{}); err == nil {
		t.Error("OTEL_RESOURCE_ATTRIBUTES is not looked at")
	} else {
		assertNoCanary(t, "an error", err.Error())
	}
}

// TestFailuresAreFewLines moves a clock.
func TestFailuresAreFewLines(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	f := &failures{log: slog.New(slog.NewTextHandler(&out, nil)), now: func() time.Time { return now }}
	for range 100 {
		f.Handle(errors.New(canary))
		f.Handle(&lostSpans{spans: 2, why: "timeout"})
		now = now.Add(time.Second)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "spans=0 reason=unknown status=0") || !strings.HasSuffix(lines[1], "spans=120 reason=unknown status=0") {
		t.Errorf("log =\n%s\nwant two lines, the second with the spans lost until then", out.String())
	}
	assertNoCanary(t, "the log", out.String())
}
