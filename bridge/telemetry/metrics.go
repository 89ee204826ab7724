package telemetry

import (
	"errors"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"gridsigner/bridge"
)

// Metric is a row of the list of metrics, from which they are made, and the table of
// them in the README.
type Metric struct {
	Name, Type string   // as Prometheus has them
	Labels     []string // each with a closed set of values
	Says       string   // what it says: Prometheus' help
	Do         string   // what to do about it
}

// Metrics is the list of all metrics, in the README's order.
func Metrics() []Metric { return slices.Clone(table) }

var table []Metric

// row is where in the table a metric is.
func row(name, kind string, labels []string, says, do string) int {
	table = append(table, Metric{name, kind, labels, says, do})
	return len(table) - 1
}

// The one list of metrics. A label's values are the bridge's own words, and statuses of
// HTTP: never text of a client's or of Grid's, which could fill the memory of whoever
// keeps them. Most combinations of labels never occur.
var (
	requestsTotal = row("gridbridge_requests_total", "counter", []string{"method", "route", "status", "code", "reason"},
		"Requests answered. code is the bridge's own refusal, empty if Grid answered; reason is why, and in the log line too.",
		"Alert on the share of 5xx. `BRIDGE_UPSTREAM_CREDENTIALS`: Grid refuses the API credentials; replace their files. `BRIDGE_AUTH_UNAVAILABLE`: the issuer or the app does not answer. 401 with one reason from everybody: the issuer's settings. A rise of 404, 409 or 429: somebody tries things; look for the user in the log.")
	requestSeconds = row("gridbridge_request_seconds", "histogram", []string{"route"},
		"Time from the head of a request to its answer.",
		"Alert on what users should not wait for. Compare with `gridbridge_grid_call_seconds`: what is beyond that is the issuer's, the app's, Redis' or the bridge's own.")
	inFlight = row("gridbridge_in_flight", "gauge", nil,
		"Requests being answered.",
		"Near `--max-in-flight` load is shed as `BRIDGE_OVERLOADED`: Grid or the app is slow, or there are too few replicas.")
	callsTotal = row("gridbridge_grid_calls_total", "counter", []string{"method", "route", "status", "reason"},
		"Calls to Grid, look-ups of owners too. status is - if there was no answer; reason is why an answer, or the lack of one, could not be used.",
		"`timeout`, `dns`, `refused`, `tls`, `hung-up`: the way to Grid. Other reasons: Grid answers what the bridge does not relay; compare versions. 429: the company's limit at Grid.")
	callSeconds = row("gridbridge_grid_call_seconds", "histogram", []string{"route"},
		"Time of a call to Grid.",
		"A rise is Grid's, or of the way there.")
	signedTotal = row("gridbridge_signed_total", "counter", []string{"checked"},
		"Signed legs by how they were checked, whatever came of it: verified in full, or in form alone, as another replica may have the challenge.",
		"`form` should be nought but while Redis is away; Grid checks all of it in any case.")
	reloadsTotal = row("gridbridge_reloads_total", "counter", []string{"what", "reason"},
		"Times that the credentials, an issuer's keys or the server's certificate were read again; reason is empty if they could be.",
		"Alert on any reason: what was read last stays in use, so nothing is broken yet. `credentials`, `certificate`: the files. `keys`: the issuer.")
	sharedFailures = row("gridbridge_shared_failures_total", "counter", []string{"reason"},
		"Exchanges with what replicas share that came to nothing. Only with a shared store.",
		"`password`, `forbidden`, `forged`: look at who else uses that Redis. Others: the way to Redis.")
	sharedUp = row("gridbridge_shared_up", "gauge", nil,
		"1 unless what replicas share did not answer last time. Only with a shared store.",
		"Alert on 0 for minutes: limits are then each replica's own, so a user has them once per replica.")
	linesDropped = row("gridbridge_log_lines_dropped_total", "counter", nil,
		"Lines of the traffic log that nobody took in time.",
		"Alert on any: whatever reads standard error is too slow or stuck.")
	connectionsClosed = row("gridbridge_connections_closed_total", "counter", nil,
		"Connections closed to make room for others.",
		"A rise: clients hold more connections than they use, or somebody tries to take all of them.")
	buildInfo = row("gridbridge_build_info", "gauge", []string{"version", "revision", "goversion"},
		"1, with what is running.",
		"Join it to see what came with a release.")
)

var seconds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}

// metrics count.
type metrics struct {
	requests          *prometheus.CounterVec
	requestSeconds    *prometheus.HistogramVec
	inFlight          prometheus.Gauge
	calls             *prometheus.CounterVec
	callSeconds       *prometheus.HistogramVec
	signed            *prometheus.CounterVec
	reloads           *prometheus.CounterVec
	sharedFailures    *prometheus.CounterVec
	sharedUp          prometheus.Gauge
	linesDropped      prometheus.Counter
	connectionsClosed prometheus.Counter
}

// registry registers what is made with it, and keeps what went wrong.
type registry struct {
	prometheus.Registerer // nil for nowhere
	errs                  []error
}

func (r *registry) register(c prometheus.Collector) {
	if r.Registerer != nil {
		r.errs = append(r.errs, r.Register(c))
	}
}

func (r *registry) counter(row int) *prometheus.CounterVec {
	m := table[row]
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: m.Name, Help: m.Says}, m.Labels)
	r.register(c)
	return c
}

func (r *registry) gauge(row int) *prometheus.GaugeVec {
	m := table[row]
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: m.Name, Help: m.Says}, m.Labels)
	r.register(g)
	return g
}

func (r *registry) histogram(row int) *prometheus.HistogramVec {
	m := table[row]
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: m.Name, Help: m.Says, Buckets: seconds}, m.Labels)
	r.register(h)
	return h
}

func newMetrics(o Options) (*metrics, error) {
	all := &registry{Registerer: o.Metrics}
	shared := all
	if !o.Shared {
		shared = &registry{}
	}
	m := &metrics{
		requests: all.counter(requestsTotal), requestSeconds: all.histogram(requestSeconds), inFlight: all.gauge(inFlight).WithLabelValues(),
		calls: all.counter(callsTotal), callSeconds: all.histogram(callSeconds),
		signed: all.counter(signedTotal), reloads: all.counter(reloadsTotal),
		sharedFailures: shared.counter(sharedFailures), sharedUp: shared.gauge(sharedUp).WithLabelValues(),
		linesDropped: all.counter(linesDropped).WithLabelValues(), connectionsClosed: all.counter(connectionsClosed).WithLabelValues(),
	}
	m.sharedUp.Set(1) // a success is news only after a failure
	all.gauge(buildInfo).WithLabelValues(build(o.Version)...).Set(1)
	return m, errors.Join(all.errs...)
}

// status is a label of its own for each status of HTTP's; Grid may answer with others.
func status(code int) string {
	if code < 100 || code >= len(statuses) {
		return "-"
	}
	return statuses[code]
}

var statuses = func() (text [600]string) {
	for code := range text {
		text[code] = strconv.Itoa(code)
	}
	return text
}()

func (m *metrics) countRequest(r *bridge.Record) {
	m.requests.WithLabelValues(r.Method, r.Route, status(r.Status), r.Code, string(r.Reason)).Inc()
	m.requestSeconds.WithLabelValues(r.Route).Observe(r.Took.Seconds())
	switch r.Checked {
	case bridge.CheckedVerified, bridge.CheckedForm:
		m.signed.WithLabelValues(string(r.Checked)).Inc()
	}
}

func (m *metrics) countCall(method, route string, c *bridge.Called) {
	m.calls.WithLabelValues(method, route, status(c.Status), string(c.Reason)).Inc()
	m.callSeconds.WithLabelValues(route).Observe(c.Took.Seconds())
}

func (m *metrics) countEvent(e bridge.Event) {
	switch e.Kind {
	case bridge.EventCredentials, bridge.EventKeys, bridge.EventCertificate:
		m.reloads.WithLabelValues(string(e.Kind), string(e.Reason)).Inc()
	case bridge.EventShared:
		switch e.Reason {
		case "":
			m.sharedUp.Set(1)
			return
		case bridge.ReasonBusy, bridge.ReasonForged: // which say nothing of Redis itself
		default:
			m.sharedUp.Set(0)
		}
		m.sharedFailures.WithLabelValues(string(e.Reason)).Inc()
	case bridge.EventLog:
		m.linesDropped.Inc()
	case bridge.EventConnection:
		m.connectionsClosed.Inc()
	}
}

// build is [Build] with a version that was given, if it was.
func build(given string) []string {
	version, revision, goVersion := Build()
	if given != "" {
		version = given
	}
	return []string{version, revision, goVersion}
}

// Build is what is running, as gridbridge_build_info has it. The version is this module's,
// which in another's program is not the program's; the revision is known of this
// module's own program alone.
func Build() (version, revision, goVersion string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", "", runtime.Version()
	}
	of := &info.Main
	if of.Path == module {
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" {
				revision = setting.Value
			}
		}
	} else if i := slices.IndexFunc(info.Deps, func(m *debug.Module) bool { return m.Path == module }); i >= 0 {
		of = info.Deps[i]
	}
	if of.Path == module {
		version = of.Version
	}
	return version, revision, runtime.Version()
}

// module is the path of this one.
var module = strings.TrimSuffix(reflect.TypeFor[Metric]().PkgPath(), "/bridge/telemetry")
