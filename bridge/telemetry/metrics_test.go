package telemetry

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/readme"
)

// samples are the metrics of registry, a line each: of histograms, how many there were.
func samples(t *testing.T, registry *prometheus.Registry) (lines []string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			line := f.GetName()
			for _, l := range m.GetLabel() {
				line += fmt.Sprintf(" %s=%s", l.GetName(), l.GetValue())
			}
			lines = append(lines, fmt.Sprintf("%s %v", line, m.GetCounter().GetValue()+m.GetGauge().GetValue()+float64(m.GetHistogram().GetSampleCount())))
		}
	}
	return lines
}

var allEvents = []bridge.Event{
	{Kind: bridge.EventCredentials}, {Kind: bridge.EventKeys}, {Kind: bridge.EventCertificate}, {Kind: bridge.EventCredentials, Reason: bridge.ReasonDenied},
	{Kind: bridge.EventKeys, Reason: bridge.ReasonTimeout}, {Kind: bridge.EventShared, Reason: bridge.ReasonRefused},
	{Kind: bridge.EventLog}, {Kind: bridge.EventLog}, {Kind: bridge.EventConnection}, {Kind: canary, Reason: canary}, {},
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Metrics: registry, Shared: true, Version: "v1"})
	if got := samples(t, registry); !slices.Contains(got, "gridbridge_shared_up 1") || !slices.Contains(got, "gridbridge_log_lines_dropped_total 0") {
		t.Errorf("before anything: %q, want shared_up to be 1 and the counters to be there", got)
	}
	observe(o, t, hostile)
	for _, e := range allEvents {
		o.Happened(e)
	}
	_, end := o.Request(t.Context(), nil)
	want := []string{
		"gridbridge_build_info goversion=" + runtime.Version() + " revision= version=v1 1",
		"gridbridge_connections_closed_total 1",
		"gridbridge_grid_call_seconds route=/auth/sessions 2",
		"gridbridge_grid_call_seconds route=/auth/sessions/{id} 1",
		"gridbridge_grid_calls_total method=DELETE reason=timeout route=/auth/sessions/{id} status=- 1",
		"gridbridge_grid_calls_total method=GET reason= route=/auth/sessions status=200 1",
		"gridbridge_grid_calls_total method=GET reason= route=/auth/sessions status=500 1",
		"gridbridge_in_flight 1",
		"gridbridge_log_lines_dropped_total 2",
		"gridbridge_reloads_total reason= what=certificate 1",
		"gridbridge_reloads_total reason= what=credentials 1",
		"gridbridge_reloads_total reason= what=keys 1",
		"gridbridge_reloads_total reason=no-permission what=credentials 1",
		"gridbridge_reloads_total reason=timeout what=keys 1",
		"gridbridge_request_seconds route=- 1",
		"gridbridge_request_seconds route=/auth/sessions 1",
		"gridbridge_request_seconds route=/auth/sessions/{id} 1",
		"gridbridge_requests_total code= method=GET reason= route=/auth/sessions status=500 1",
		"gridbridge_requests_total code=BRIDGE_ROUTE_NOT_FOUND method=- reason=no-route route=- status=404 1",
		"gridbridge_requests_total code=BRIDGE_UPSTREAM_TIMEOUT method=DELETE reason=timeout route=/auth/sessions/{id} status=504 1",
		"gridbridge_shared_failures_total reason=refused 1",
		"gridbridge_shared_up 0",
		"gridbridge_signed_total checked=verified 1",
	}
	got := samples(t, registry)
	if !slices.Equal(got, want) {
		t.Errorf("metrics =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	assertNoCanary(t, "a metric", strings.Join(got, "\n"))
	end(bridge.Record{Checked: bridge.CheckedForm})
	o.Happened(bridge.Event{Kind: bridge.EventShared})
	for _, line := range []string{"gridbridge_in_flight 0", "gridbridge_shared_up 1", "gridbridge_signed_total checked=form 1"} {
		if got := samples(t, registry); !slices.Contains(got, line) {
			t.Errorf("then %q, want %s", got, line)
		}
	}
}

// TestNothingShared wants the metrics of a shared store only where there is one, whatever
// is told.
func TestNothingShared(t *testing.T) {
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Metrics: registry})
	for _, e := range allEvents {
		o.Happened(e)
	}
	if got := strings.Join(samples(t, registry), "\n"); strings.Contains(got, "shared") {
		t.Errorf("metrics =\n%s\nwant none of a shared store", got)
	}
	if _, err := New(Options{Metrics: registry}); err == nil {
		t.Error("two observers have the same metrics")
	}
}

// reasons are the texts of all constants of the bridge's reasons, by its sources: most are
// its own.
func reasons(t *testing.T) (list []string) {
	t.Helper()
	for _, name := range []string{"../reason.go", "../internal/outbound/failure.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok {
				for _, value := range spec.Values {
					if text, ok := value.(*ast.BasicLit); ok {
						reason, _ := strconv.Unquote(text.Value)
						list = append(list, reason)
					}
				}
			}
			return true
		})
	}
	if len(list) < 60 {
		t.Fatalf("found %d reasons only", len(list))
	}
	return list
}

// TestLabelsAreClosed drives an observer with every reason, with every status that a
// server can send, and with records that the bridge never makes.
func TestLabelsAreClosed(t *testing.T) {
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Metrics: registry, Shared: true, Version: "v1"})
	known := append(reasons(t), "", "-", "GET", "/auth/sessions", "BRIDGE_INTERNAL", "credentials", "keys", "certificate", "verified", "form", "v1", runtime.Version())
	for status := 100; status < 600; status++ {
		known = append(known, strconv.Itoa(status))
	}
	tell := func(r bridge.Record) {
		ctx, end := o.Request(t.Context(), hostile)
		o.Call(ctx, "GET", "/auth/sessions", http.Header{})(bridge.Called{Status: r.Status, Reason: r.Reason, Took: r.Took})
		end(r)
	}
	for _, reason := range reasons(t) {
		tell(bridge.Record{Method: "GET", Route: "/auth/sessions", Status: 500, Code: "BRIDGE_INTERNAL", Reason: bridge.Reason(reason), User: canary, Client: canary, Correlation: canary})
		for _, kind := range []bridge.EventKind{bridge.EventCredentials, bridge.EventKeys, bridge.EventCertificate, bridge.EventShared, bridge.EventLog, bridge.EventConnection, canary, ""} {
			o.Happened(bridge.Event{Kind: kind, Reason: bridge.Reason(reason)})
		}
	}
	for status := -1; status < 1001; status++ {
		tell(bridge.Record{Status: status})
	}
	tell(bridge.Record{Checked: canary, Took: -time.Second, Calls: -1})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if n := len(f.GetMetric()); n > 600 {
			t.Errorf("%s has %d series", f.GetName(), n)
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(known, l.GetValue()) {
					t.Errorf("%s has %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
		assertNoCanary(t, "a metric", f.String())
	}
}

// TestTableIsWhole holds the table against what is registered.
func TestTableIsWhole(t *testing.T) {
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Metrics: registry, Shared: true})
	observe(o, t, nil)
	for _, e := range allEvents {
		o.Happened(e)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		got = append(got, fmt.Sprint(f.GetName(), " ", strings.ToLower(f.GetType().String()), labels, f.GetHelp()))
	}
	for _, m := range Metrics() {
		if m.Says == "" || m.Do == "" {
			t.Errorf("%s: nothing is said of it", m.Name)
		}
		want = append(want, fmt.Sprint(m.Name, " ", m.Type, slices.Sorted(slices.Values(m.Labels)), m.Says))
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("registered are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestReadmeListsEveryMetric(t *testing.T) {
	table := "| Metric | Labels | What it says | What to do |\n|---|---|---|---|\n"
	for _, m := range Metrics() {
		labels := ""
		for i, l := range m.Labels {
			if i > 0 {
				labels += ", "
			}
			labels += "`" + l + "`"
		}
		table += fmt.Sprintf("| `%s`, %s | %s | %s | %s |\n", m.Name, m.Type, labels, m.Says, m.Do)
	}
	readme.Hold(t, "../README.md", "<!-- metrics: made by the tests -->\n", "<!-- end of metrics -->", table)
}

// TestManyAtOnce is for the race detector.
func TestManyAtOnce(t *testing.T) {
	registry := prometheus.NewRegistry()
	o := newObserver(t, Options{Metrics: registry, Shared: true})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				observe(o, t, hostile)
				for _, e := range allEvents {
					o.Happened(e)
				}
			}
		})
	}
	all.Wait()
	if got := samples(t, registry); !slices.Contains(got, "gridbridge_in_flight 0") || !slices.Contains(got, "gridbridge_signed_total checked=verified 400") {
		t.Errorf("metrics = %q", got)
	}
}

// TestVersion wants the toolchain's words where Options has none.
func TestVersion(t *testing.T) {
	registry := prometheus.NewRegistry()
	newObserver(t, Options{Metrics: registry})
	if got := strings.Join(samples(t, registry), "\n"); !strings.Contains(got, "version=(devel) 1") {
		t.Errorf("metrics =\n%s\nwant the module's version", got)
	}
}
