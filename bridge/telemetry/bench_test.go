package telemetry

import (
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"gridsigner/bridge"
)

// BenchmarkRequest is what a request with one call to Grid costs beside what the bridge
// does.
func BenchmarkRequest(b *testing.B) {
	record := bridge.Record{Method: "DELETE", Route: "/auth/sessions/{id}", Status: 204, Correlation: "c", Took: time.Second, Checked: bridge.CheckedVerified}
	client := headers("Traceparent: " + parent)
	for _, v := range []struct {
		name  string
		h     http.Header
		spans []sdktrace.TracerProviderOption
	}{
		{"metrics", http.Header{}, nil},
		{"metrics and a client's trace", client, nil},
		{"metrics and spans", client, []sdktrace.TracerProviderOption{sdktrace.WithSampler(sdktrace.AlwaysSample())}},
	} {
		b.Run(v.name, func(b *testing.B) {
			options := Options{Metrics: prometheus.NewRegistry()}
			if v.spans != nil {
				options.Spans = sdktrace.NewTracerProvider(append(v.spans, sdktrace.WithSpanProcessor(sdktrace.NewBatchSpanProcessor(nil)))...)
				defer options.Spans.(*sdktrace.TracerProvider).Shutdown(b.Context())
			}
			o := newObserver(b, options)
			b.ReportAllocs()
			for b.Loop() {
				ctx, end := o.Request(b.Context(), v.h)
				o.Call(ctx, "DELETE", "/auth/sessions/{id}", http.Header{})(bridge.Called{Status: 204, Took: time.Second})
				end(record)
			}
		})
	}
}
