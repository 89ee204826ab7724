package bridge_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// audit returns the audit lines: of each the stage, and what is wanted of the rest.
func (c *client) audit(fields ...string) (lines []string) {
	for line := range strings.Lines(c.log.String()) {
		var all map[string]any
		if json.Unmarshal([]byte(line), &all) != nil || all["msg"] != "audit" {
			continue
		}
		text := ""
		for _, name := range append([]string{"stage"}, fields...) {
			if value, ok := all[name]; ok {
				part, _ := json.Marshal(value)
				text += " " + name + "=" + strings.Trim(string(part), `"`)
			}
		}
		lines = append(lines, strings.TrimSpace(text))
	}
	return lines
}

// hold compares audit lines.
func holdAudit(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("audit =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAudit(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "grid-42")
		w.WriteHeader(204)
	})
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
	key := bridge.NewSecret(canary)
	who := " user=user-alice account=" + alice + " method=DELETE route=/auth/sessions/{id} intent=revoke-session idHash=" + bridge.AuditHash(key, session) + " requestHash="
	request, hash := who+bridge.AuditHash(key, requestID), " payloadSha256="+hex.EncodeToString(sum[:])
	holdAudit(t, c.audit("user", "account", "method", "route", "intent", "idHash", "requestHash", "payloadSha256", "format", "checked", "status", "code", "reason", "gridStatus", "gridRequestId", "processing"),
		"stage=refused"+request+hash+" format= checked=verified status=401 code=BRIDGE_SIGNATURE_INVALID reason=signature",
		"stage=refused"+who+bridge.AuditHash(key, "Request:00000000-0000-0000-0000-000000000001")+" payloadSha256= format= checked= status=401 code=BRIDGE_CHALLENGE_UNKNOWN reason=no-challenge",
		"stage=sent"+request+hash+" format=stamp checked=verified",
		"stage=answered"+request+hash+" format=stamp checked=verified status=204 code= reason= gridStatus=204 gridRequestId=grid-42 processing=false",
		"stage=refused"+request+hash+" format=stamp checked=verified status=409 code=BRIDGE_SIGNATURE_REPLAYED reason=replay")
	for _, id := range []string{session, requestID, session[8:], requestID[8:]} {
		if strings.Contains(c.log.String(), id) {
			t.Errorf("the log holds the id %s:\n%s", id, c.log.String())
		}
	}
}

// TestAuditOfRefusals sends signed legs that are refused before a signature is
// looked at, some that only look like one, and some of nobody or beyond the limits: whoever
// could fill an audit would make it useless.
func TestAuditOfRefusals(t *testing.T) {
	var now clock
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Now = now.time
		config.Limits.User = bridge.Limit{Rate: 1, Per: time.Minute, Burst: 6} // two of which look for the foreign one
	})
	pair := []string{"Grid-Wallet-Signature: " + signature, "Request-Id: " + requestID}
	c.send("GET", anyGet, "", pair...) // the route takes neither
	c.send("DELETE", "/auth/sessions/"+foreign, "", pair...)
	c.send("DELETE", "/auth/sessions/"+session, "", pair[0])
	for range 3 {
		c.send("DELETE", "/auth/sessions/"+session, "", pair...) // the last one of which is too much
	}
	c.send("DELETE", "/auth/sessions/"+session, "", append(pair, "Sec-Fetch-Site: cross-site")...)
	c.raw("DELETE /api/grid/auth/sessions/" + session + " HTTP/1.1\r\nHost: app.example\r\nX-Gridsigner: 1\r\n" + strings.Join(pair, "\r\n") + "\r\n\r\n") // nobody's
	c.server.Close()
	holdAudit(t, c.audit("user", "status", "code"),
		"stage=refused user=user-alice status=404 code=BRIDGE_NOT_FOUND",
		"stage=refused user=user-alice status=401 code=BRIDGE_CHALLENGE_UNKNOWN",
		"stage=refused user=user-alice status=401 code=BRIDGE_CHALLENGE_UNKNOWN")
}

// TestLegGoesOnWithoutItsClient has the client of a signed leg hang up once Grid has it: what
// Grid did is what is audited.
func TestLegGoesOnWithoutItsClient(t *testing.T) {
	reached, proceed := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-proceed
		w.WriteHeader(204)
	})
	gone := make(chan struct{})
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Audit = &strictAudit{Handler: config.Log.Handler()}
		authenticate := config.Authenticate
		config.Authenticate = func(r *http.Request) (bridge.User, error) {
			if r.Header.Get("Request-Id") != "" {
				context.AfterFunc(r.Context(), func() { close(gone) })
			}
			return authenticate(r)
		}
	})
	signed := c.firstLeg(u, requestID)
	ctx, hangUp := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "DELETE", c.server.URL+"/api/grid/auth/sessions/"+session, nil)
	req.Header.Set("Authorization", "Bearer alice")
	req.Header.Set("X-Gridsigner", "1")
	for _, line := range signed {
		name, value, _ := strings.Cut(line, ": ")
		req.Header.Set(name, value)
	}
	go func() {
		<-reached
		hangUp()
		<-gone // the bridge's server has seen it
		close(proceed)
	}()
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Fatal("the client got an answer")
	}
	c.server.Close()
	holdAudit(t, c.audit("status", "code", "gridStatus"), "stage=sent", "stage=answered status=204 code= gridStatus=204")
}

// strictAudit is an audit that looks at its context, as one in a database does, and that
// panics if it is told to.
type strictAudit struct {
	slog.Handler
	panics bool
}

func (a *strictAudit) Handle(ctx context.Context, r slog.Record) error {
	if a.panics {
		panic(canary)
	}
	return errors.Join(ctx.Err(), a.Handler.Handle(ctx, r))
}

// TestAuditThatPanics stops what it would have to write down, and nothing else.
func TestAuditThatPanics(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	audit := &strictAudit{panics: true}
	c := newClient(t, u.URL, func(config *bridge.Config) { audit.Handler = config.Log.Handler(); config.Audit = audit })
	signed := c.firstLeg(u, requestID)
	assertRefused(t, u, c.send("DELETE", "/auth/sessions/"+session, "", signed...), 503, "BRIDGE_AUDIT_UNAVAILABLE")
	audit.panics = false
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("answer = %d %s, want 204: it is not spent", got.status, got.code)
	}
}

// TestAuditHasWhatGridSaid has Grid answer with what is not relayed, and call the call by
// names that are not to be believed.
func TestAuditHasWhatGridSaid(t *testing.T) {
	for name, v := range map[string]struct{ id, contentType, body, want string }{
		"not JSON":    {"grid-1", "text/plain", "done", "status=502 gridStatus=200 gridRequestId=grid-1"},
		"cut short":   {"grid-1", "application/json", `{"a":`, "status=502 gridStatus=200 gridRequestId=grid-1"},
		"our own id":  {requestID, "application/json", ofAlice, "status=200 gridStatus=200 gridRequestId="},
		"its digits":  {requestID[8:], "application/json", ofAlice, "status=200 gridStatus=200 gridRequestId="},
		"the session": {session[8:], "application/json", ofAlice, "status=200 gridStatus=200 gridRequestId="},
		"a story":     {"once upon a time", "application/json", ofAlice, "status=200 gridStatus=200 gridRequestId="},
	} {
		u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Request-Id", v.id)
			w.Header().Set("Content-Type", v.contentType)
			io.WriteString(w, v.body)
		})
		c := newClient(t, u.URL)
		c.send("DELETE", "/auth/sessions/"+session, "", c.firstLeg(u, requestID)...)
		c.server.Close()
		t.Run(name, func(t *testing.T) {
			holdAudit(t, c.audit("status", "gridStatus", "gridRequestId"), "stage=sent", "stage=answered "+v.want)
		})
	}
}

// TestAuditOfALookUpThatFails says why a leg was refused with an answer of Grid's.
func TestAuditOfALookUpThatFails(t *testing.T) {
	u := newUpstream(t, nil)
	u.Config.Handler = respondJSON(503, `{"status":503,"code":"INTERNAL_ERROR"}`)
	c := newClient(t, u.URL)
	c.send("DELETE", "/auth/sessions/"+session, "", "Grid-Wallet-Signature: "+signature, "Request-Id: "+requestID)
	c.server.Close()
	holdAudit(t, c.audit("status", "code", "reason"), "stage=refused status=503 code= reason=look-up")
}

// fullAudit is an audit that takes some lines, and no more.
type fullAudit struct {
	slog.Handler
	takes int
}

func (a *fullAudit) Handle(ctx context.Context, r slog.Record) error {
	if a.takes--; a.takes < 0 {
		return errors.New("no space left on device, says " + canary)
	}
	return a.Handler.Handle(ctx, r)
}

// TestNothingIsDoneUnwritten has the audit fail: before a leg is sent that stops it, and
// it passes when the audit takes lines again; afterwards the client has its answer.
func TestNothingIsDoneUnwritten(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	audit := &fullAudit{}
	c := newClient(t, u.URL, func(config *bridge.Config) { audit.Handler = config.Log.Handler(); config.Audit = audit })
	signed := c.firstLeg(u, requestID)
	assertRefused(t, u, c.send("DELETE", "/auth/sessions/"+session, "", signed...), 503, "BRIDGE_AUDIT_UNAVAILABLE")
	audit.takes = 1
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("answer = %d %s, want 204", got.status, got.code)
	}
	c.server.Close()
	holdAudit(t, c.audit(), "stage=sent")
	if got := strings.Count(c.log.String(), "the audit takes no line"); got != 2 {
		t.Errorf("%d lines say that the audit takes none, want 2:\n%s", got, c.log.String())
	}
}
