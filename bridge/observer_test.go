package bridge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gridsigner/bridge"
)

// recorder is an observer that writes down all that it is told.
type recorder struct{ lockedBuffer }

// ofRequest is a key of the context that Request returns.
type ofRequest struct{}

func (r *recorder) say(format string, a ...any) { fmt.Fprintf(r, format+"\n", a...) }

func (r *recorder) Request(ctx context.Context, _ http.Header) (context.Context, func(bridge.Record)) {
	return context.WithValue(ctx, ofRequest{}, "request"), func(record bridge.Record) { r.say("request %+v", record) }
}

func (r *recorder) Call(ctx context.Context, method, route string, h http.Header) func(bridge.Called) {
	h.Set("Traceparent", "set by the observer")
	for name, values := range h {
		r.say("call with %s: %q", name, values)
	}
	return func(called bridge.Called) {
		r.say("call %s %s %d %s in %v", method, route, called.Status, called.Reason, ctx.Value(ofRequest{}))
	}
}

func (r *recorder) Happened(e bridge.Event) { r.say("event %s %s", e.Kind, e.Reason) }

// TestObserver has Grid hang up on a request, and holds what an observer is told
// against what happened.
func TestObserver(t *testing.T) {
	r := &recorder{}
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	u.Config.ErrorLog = discard
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Observer = r })
	c.send("DELETE", "/auth/sessions/"+session, "")
	c.send("GET", "/"+url.PathEscape(canary), "", "Cookie: "+canary)
	c.server.Close()
	var got []string
	for line := range strings.Lines(r.String()) {
		if !strings.HasPrefix(line, "call with") {
			got = append(got, strings.Fields(line)...)
		}
	}
	text := strings.Join(got, " ")
	for _, want := range []string{
		"call GET /auth/sessions 200 in request", "call DELETE /auth/sessions/{id} 0 hung-up in request",
		"request {Method:DELETE Route:/auth/sessions/{id} Status:502 Code:BRIDGE_UPSTREAM_FAILED Reason:hung-up User:user-alice",
		"Calls:2", "request {Method:- Route:- Status:404 Code:BRIDGE_ROUTE_NOT_FOUND Reason:no-route User:",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the observer was told\n%s\nwant %q in it", text, want)
		}
	}
	assertNoCanary(t, "what the observer sees", r.String()) // the credentials are added after it
	if sent := u.tap.received(); strings.Count(sent, "Traceparent: set by the observer") != 2 {
		t.Errorf("upstream received\n%s\nwant what the observer set", sent)
	}
}

// TestRecordsAreOfClosedSets sends every refusal that a stranger can cause, and holds
// what becomes labels of metrics against what the bridge has lists of.
func TestRecordsAreOfClosedSets(t *testing.T) {
	r := &recorder{}
	u := newUpstream(t, respondJSON(200, `{}`))
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Observer = r })
	c.send("PURGE", "/"+url.PathEscape(canary), "")
	c.send("GET", anyGet, "")
	c.send(canaryPart, anyGet, "")
	c.send("DELETE", "/auth/sessions/"+foreign, "", "Traceparent: "+canary)
	c.server.Close()
	allowed := []string{"GET", "DELETE", "-", "/auth/sessions", "/auth/sessions/{id}"}
	for line := range strings.Lines(r.String()) {
		for field := range strings.FieldsSeq(line) {
			name, value, _ := strings.Cut(strings.TrimPrefix(field, "{"), ":")
			if (name == "Method" || name == "Route") && !slices.Contains(allowed, value) {
				t.Errorf("%s = %q, which is of no list", name, value)
			}
		}
	}
	assertNoCanary(t, "the observer", r.String())
}
