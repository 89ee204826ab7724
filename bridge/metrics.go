package bridge

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count. Every label has a bounded set of values: methods, routes and
// codes are those of the bridge's own lists, never text of a client's.
type metrics struct {
	requests       *prometheus.CounterVec
	seconds        *prometheus.HistogramVec
	inFlight       prometheus.GaugeFunc
	sharedUp       prometheus.Gauge
	sharedFailures prometheus.Counter
}

// newMetrics registers the metrics at where, unless that is nil.
func newMetrics(where prometheus.Registerer, inFlight func() float64) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gridbridge_requests_total", Help: "Requests answered. code is the bridge's own refusal, empty if Grid answered.",
		}, []string{"method", "route", "status", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gridbridge_request_seconds", Help: "Time from the first byte of a request to its answer.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}, []string{"route"}),
		inFlight: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "gridbridge_in_flight", Help: "Requests being answered.",
		}, inFlight),
		sharedUp: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "gridbridge_shared_up", Help: "1 while limits are shared with other replicas through Redis, else 0.",
		}),
		sharedFailures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gridbridge_shared_failures_total", Help: "Operations that Redis did not answer.",
		}),
	}
	if where == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.inFlight, m.sharedUp, m.sharedFailures} {
		errs = append(errs, where.Register(c))
	}
	return m, errors.Join(errs...)
}

func (m *metrics) count(e *entry, took time.Duration) {
	m.requests.WithLabelValues(e.method, e.route, strconv.Itoa(e.status), e.code).Inc()
	m.seconds.WithLabelValues(e.route).Observe(took.Seconds())
}
