package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"gridsigner/bridge/internal/outbound"
)

const (
	exportTimeout = 10 * time.Second // of one batch
	quiet         = time.Minute      // between two lines of the log about failures
)

// OTLP says how spans get to a collector.
type OTLP struct {
	// Headers are sent with each batch, as OTEL_EXPORTER_OTLP_HEADERS has them: name=value,
	// with commas in between, and percent-encoded. They may hold credentials.
	Headers string

	// InsecureHosts may be talked to without TLS, beside loopback.
	InsecureHosts []string

	// Version of the program, which spans are said to be of. If it is empty, that is what
	// the Go toolchain has written into the program.
	Version string

	// Log gets a line when spans were lost, at most one a minute. nil for none.
	Log *slog.Logger

	// Now is the clock of those lines, nil for [time.Now].
	Now func() time.Time
}

// ExportOTLP returns a provider whose spans go to the collector at endpoint, by
// OTLP over HTTP, in batches. If it has no path, that is /v1/traces. Every request is
// recorded, whatever a client's trace context says: a collector can leave out some.
//
// Nothing waits for the collector. What it does not take is dropped and said in the log,
// without a word of what it answered or where it is; what does not fit into the SDK's queue
// (OTEL_BSP_MAX_QUEUE_SIZE) is dropped and not said. Shutdown sends what is left, and
// gives up when its context ends.
//
// It is for programs: it takes OpenTelemetry's error handler, which is the process's and
// would print to standard error. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES and the
// OTEL_BSP variables are read by the SDK; those of proxies are not, as for all
// that the bridge calls. A collector's certificate may be of a CA in SSL_CERT_FILE.
//
// What sends is our own, and not package otlptracehttp: that imports gRPC, which
// makes the program 14 MB larger instead of 1, and puts debug pages on
// [http.DefaultServeMux]. It also follows redirects, with the headers, and prints
// headers that it cannot parse.
func ExportOTLP(endpoint string, o OTLP) (*sdktrace.TracerProvider, error) {
	where, errURL := outbound.ParseURL(endpoint, o.InsecureHosts...)
	if errURL == nil && where.RawQuery != "" {
		errURL = errors.New("a URL with a query")
	}
	if errURL != nil {
		errURL = fmt.Errorf("the collector's URL: %w", errURL)
	}
	header, errHeaders := parseHeaders(o.Headers)
	of, errResource := resource.New(context.Background(), resource.WithTelemetrySDK(),
		resource.WithAttributes(attribute.String("service.name", "gridbridge"), attribute.String("service.version", build(o.Version)[0])), resource.WithFromEnv())
	if errResource != nil {
		errResource = errors.New("OTEL_RESOURCE_ATTRIBUTES: want name=value, with commas in between") // its text quotes it
	}
	if err := errors.Join(errURL, errHeaders, errResource); err != nil {
		return nil, err
	}
	if where.Path == "" || where.Path == "/" {
		where.Path = "/v1/traces"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	otel.SetErrorHandler(&failures{log: o.Log, now: o.Now})
	c := &collector{url: where.String(), header: header, transport: outbound.NewTransport(exportTimeout)}
	c.sending, c.giveUp = context.WithCancel(context.Background())
	exporter, err := otlptrace.New(context.Background(), c)
	if err != nil {
		return nil, err
	}
	batches := sdktrace.NewBatchSpanProcessor(exporter, sdktrace.WithExportTimeout(exportTimeout))
	return sdktrace.NewTracerProvider(sdktrace.WithResource(of), sdktrace.WithSampler(sdktrace.AlwaysSample()),
		sdktrace.WithoutPanicRecording(), sdktrace.WithSpanProcessor(processor{batches, c})), nil // a panic may quote anything
}

// processor has the collector given up when Shutdown returns: the SDK returns when its
// context ends, but would go on sending.
type processor struct {
	sdktrace.SpanProcessor
	c *collector
}

func (p processor) Shutdown(ctx context.Context) error {
	defer p.c.transport.CloseIdleConnections()
	defer p.c.giveUp()
	return p.SpanProcessor.Shutdown(ctx)
}

// parseHeaders reads a list of name=value. Its errors do not quote it.
func parseHeaders(text string) (http.Header, error) {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" // RFC 9110, 5.6.2
	h := http.Header{}
	for pair := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || name == "" || strings.Trim(name, token) != "" || strings.ContainsFunc(value, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return nil, errors.New("the headers: want name=value, with commas in between, percent-encoded")
		}
		h.Set(name, value)
	}
	h.Set("Content-Type", "application/x-protobuf")
	return h, nil
}

// collector is where spans go: a client of package otlptrace.
type collector struct {
	url       string
	header    http.Header
	transport *http.Transport
	sending   context.Context // ends when what is being sent is given up
	giveUp    context.CancelFunc
}

func (c *collector) Start(context.Context) error { return nil } // connects when there is something to send
func (c *collector) Stop(context.Context) error  { return nil }

// UploadTraces sends spans once. A second try would hold up those that come after them.
func (c *collector) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire this is the request that OTLP wants: field 1 of both is the spans.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return lose(spans, outbound.Unknown, 0)
	}
	ctx, cancel := context.WithTimeout(ctx, exportTimeout)
	defer cancel()
	defer context.AfterFunc(c.sending, cancel)()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return lose(spans, outbound.Unknown, 0)
	}
	req.Header = c.header
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return lose(spans, outbound.FailureOf(err), 0)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection can be used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return lose(spans, "status", resp.StatusCode)
	}
	return nil
}

// lostSpans is why spans were lost, in words that may be logged.
type lostSpans struct {
	spans  int
	why    outbound.Failure
	status int
}

func (e *lostSpans) Error() string { return string(e.why) }

func lose(spans []*tracepb.ResourceSpans, why outbound.Failure, status int) error {
	e := &lostSpans{why: why, status: status}
	for _, resource := range spans {
		for _, scope := range resource.ScopeSpans {
			e.spans += len(scope.Spans)
		}
	}
	return e
}

// failures is OpenTelemetry's error handler. Of errors that are not its own it says only
// which kind they are.
type failures struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex
	last time.Time // that a line was written
	lost int       // spans since then
}

func (f *failures) Handle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e, ok := errors.AsType[*lostSpans](err)
	if !ok {
		e = &lostSpans{why: outbound.FailureOf(err)}
	}
	f.lost += e.spans
	if now := f.now(); f.last.IsZero() || now.Sub(f.last) >= quiet {
		f.log.Warn("spans lost", slog.Int("spans", f.lost), slog.String("reason", string(e.why)), slog.Int("status", e.status))
		f.last, f.lost = now, 0
	}
}
