package bridge_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// audit returns the audit lines, without what differs from run to run.
func (c *client) audit() (lines []string) {
	for line := range strings.Lines(c.log.String()) {
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) != nil || fields["msg"] != "audit" {
			continue
		}
		for _, name := range []string{"time", "level", "msg", "correlationId"} {
			delete(fields, name)
		}
		text, _ := json.Marshal(fields)
		lines = append(lines, string(text))
	}
	return lines
}

func TestAudit(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL)
	path := "/auth/sessions/" + session
	good := c.firstLeg(u, requestID)
	wrong := sign(t, challengeOf(otherPayload, requestID), signer.FormatStamp)
	unknown := []string{good[0], "Request-Id: Request:00000000-0000-0000-0000-000000000001"}
	for _, lines := range [][]string{nil, wrong, unknown, good, good} {
		c.send("DELETE", path, "", lines...)
	}
	c.server.Close()
	sum := sha256.Sum256([]byte(payload))
	line := func(status int, code, format, payloadHash string) string {
		return `{"account":"` + alice + `","code":"` + code + `","format":"` + format + `","intent":"revoke-session","method":"DELETE","payloadSha256":"` +
			payloadHash + `","processing":false,"route":"/auth/sessions/{id}","status":` + itoa(status) + `,"user":"user-alice"}`
	}
	hash := hex.EncodeToString(sum[:])
	want := []string{
		line(401, "BRIDGE_SIGNATURE_INVALID", "", hash),
		line(401, "BRIDGE_CHALLENGE_UNKNOWN", "", ""),
		line(204, "", "stamp", hash),
		line(409, "BRIDGE_SIGNATURE_REPLAYED", "stamp", hash),
	}
	if got := c.audit(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestAuditOfRefusals sends signed legs that are refused before a signature is
// looked at, and one request that only looks like one.
func TestAuditOfRefusals(t *testing.T) {
	var now clock
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Now, config.Limits.User = now.time, few })
	pair := []string{"Grid-Wallet-Signature: " + signature, "Request-Id: " + requestID}
	c.send("GET", anyGet, "", pair...) // the route takes neither
	c.send("DELETE", "/auth/sessions/"+foreign, "", pair...)
	c.send("DELETE", "/auth/sessions/"+session, "", pair[0])
	c.send("DELETE", "/auth/sessions/"+session, "", pair...) // the fourth of three
	c.send("DELETE", "/auth/sessions/"+session, "", append(pair, "Sec-Fetch-Site: cross-site")...)
	c.send("DELETE", "/auth/sessions/"+session, "", "Request-Id: 1", "Sec-Fetch-Site: cross-site")
	c.server.Close()
	line := func(status int, code, user string) string {
		return `{"account":"","code":"BRIDGE_` + code + `","format":"","intent":"revoke-session","method":"DELETE","payloadSha256":"","processing":false,"route":"/auth/sessions/{id}","status":` +
			itoa(status) + `,"user":"` + user + `"}`
	}
	want := []string{
		line(404, "NOT_FOUND", "user-alice"),
		line(400, "HEADERS_INCOMPLETE", "user-alice"),
		line(429, "RATE_LIMITED", "user-alice"),
		line(403, "CROSS_ORIGIN", ""),
		line(403, "CROSS_ORIGIN", ""),
	}
	if got := c.audit(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTraceContext(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	tests := []struct {
		name  string
		lines []string
		want  string // header lines upstream
	}{
		{"parent", []string{"Traceparent: " + parent}, "Traceparent: " + parent},
		{"parent and state", []string{"traceparent: " + parent, "tracestate: a=b,c=d"}, "Traceparent: " + parent + "\nTracestate: a=b,c=d"},
		{"state alone", []string{"Tracestate: a=b"}, ""},
		{"long state", []string{"Traceparent: " + parent, "Tracestate: a=" + strings.Repeat("b", 511)}, "Traceparent: " + parent},
		{"state with a control character", []string{"Traceparent: " + parent, "Tracestate: a\tb"}, "Traceparent: " + parent},
		{"twice", []string{"Traceparent: " + parent, "Traceparent: " + parent}, ""},
		{"upper case", []string{"Traceparent: " + strings.ToUpper(parent)}, ""},
		{"no trace id", []string{"Traceparent: 00-" + strings.Repeat("0", 32) + parent[35:]}, ""},
		{"other version", []string{"Traceparent: 01" + parent[2:]}, ""},
		{"something else", []string{"Traceparent: " + canary}, ""},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
			c := newClient(t, u.URL)
			c.send("DELETE", "/auth/sessions/"+session, "", v.lines...)
			for request := range strings.SplitSeq(strings.TrimSuffix(u.tap.received(), "\r\n\r\n"), "\r\n\r\n") { // the look-up's, too
				var got []string
				for line := range strings.SplitSeq(request, "\r\n") {
					if strings.HasPrefix(line, "Trace") {
						got = append(got, line)
					}
				}
				if strings.Join(got, "\n") != v.want {
					t.Errorf("upstream received %q, want %q", got, v.want)
				}
			}
			c.server.Close()
			if logged := strings.Contains(c.log.String(), `"traceId":"0af7651916cd43dd8448eb211c80319c"`); logged != (v.want != "") {
				t.Errorf("trace id in the log: %t\n%s", logged, c.log.String())
			}
		})
	}
}

func TestCredentialsChange(t *testing.T) {
	var now clock
	var asked atomic.Int32
	u := newUpstream(t, respondJSON(200, `{}`))
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Now = now.time
		config.Credentials = func() (string, bridge.Secret, error) {
			switch asked.Add(1) {
			case 1:
				return "id", bridge.NewSecret("one"), nil
			case 2:
				return "", bridge.Secret{}, errors.New("no vault takes " + canary)
			case 3:
				return "id", bridge.NewSecret(""), nil
			}
			return "id", bridge.NewSecret("two"), nil
		}
	})
	for i, want := range []string{"aWQ6b25l", "aWQ6b25l", "aWQ6b25l", "aWQ6dHdv"} { // id:one, id:two
		for range 2 { // asked once in ten seconds
			c.send("GET", anyGet, "")
			if sent := u.tap.received(); !strings.Contains(sent, "Authorization: Basic "+want+"\r\n") {
				t.Errorf("step %d: upstream received\n%s\nwant %s", i, sent, want)
			}
		}
		now.advance(10 * time.Second)
	}
	if got := strings.Count(c.log.String(), "credentials not read"); asked.Load() != 4 || got != 2 {
		t.Errorf("asked %d times with %d warnings, want 4 and 2", asked.Load(), got)
	}
}

// TestMetricLabels sends every refusal that a stranger can cause, and holds the
// labels against what the bridge has lists of.
func TestMetricLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	u := newUpstream(t, respondJSON(200, `{}`))
	c := newClient(t, u.URL, func(config *bridge.Config) { config.Metrics = registry })
	c.send("PURGE", "/"+url.PathEscape(canary), "")
	c.send("GET", anyGet, "")
	c.send(canaryPart, anyGet, "")
	c.send("DELETE", "/auth/sessions/"+foreign, "", "Traceparent: "+canary)
	c.server.Close()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	allowed := " method route status code GET DELETE - /auth/sessions /auth/sessions/{id} 200 404 405 BRIDGE_NOT_FOUND BRIDGE_ROUTE_NOT_FOUND BRIDGE_METHOD_NOT_ALLOWED "
	for _, family := range families {
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if !strings.Contains(allowed, " "+label.GetName()+" ") || label.GetValue() != "" && !strings.Contains(allowed, " "+label.GetValue()+" ") {
					t.Errorf("%s has the label %s=%q", family.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
		assertNoCanary(t, "a metric", family.String())
	}
}
