package bridge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gridsigner/bridge"
)

// reasons returns, of each request in the log, why it was refused.
func (c *client) reasons() (all []string) {
	for line := range strings.Lines(c.log.take()) {
		var fields struct{ Msg, Reason string }
		if json.Unmarshal([]byte(line), &fields) == nil && fields.Msg == "request" {
			all = append(all, fields.Reason)
		}
	}
	return all
}

// TestReasons sends what is refused, and holds the log against why.
func TestReasons(t *testing.T) {
	u := newUpstream(t, respondJSON(200, `{"data":[],"accountId":"`+mallory+`"}`))
	c := newClient(t, u.URL)
	const path = "/auth/sessions/" + session
	own := func(reason string, send func() reply) {
		t.Helper()
		if send(); strings.Join(c.reasons(), " ") != reason {
			t.Errorf("not the reason %s", reason)
		}
	}
	for reason, v := range map[string]struct {
		method, path, body string
		lines              []string
	}{
		"no-route": {"GET", "/customers", "", nil}, "method": {"PUT", path, "", nil}, "id": {"DELETE", "/auth/sessions/x", "", nil},
		"query": {"DELETE", path + "?a=b", "", nil}, "headers": {"DELETE", path, "", []string{"Request-Id: 1 2", "Grid-Wallet-Signature: AAAA"}},
		"half-a-pair": {"DELETE", path, "", []string{"Request-Id: " + requestID}}, "body": {"DELETE", path, "{}", nil},
		"body-size":    {"POST", "/auth/credentials", strings.Repeat(" ", 65<<10), nil},
		"content-type": {"POST", "/auth/credentials", "{}", []string{"Content-Type: text/plain"}},
		"other-site":   {"DELETE", path, "", []string{"Sec-Fetch-Site: cross-site"}}, "no-header": {"DELETE", path, "", []string{"X-Gridsigner: 1"}},
		"not-theirs":    {"DELETE", "/auth/sessions/" + missing, "", nil},
		"no-challenge":  {"DELETE", path, "", []string{"Grid-Wallet-Signature: " + signature, "Request-Id: " + requestID}},
		"other-account": {"DELETE", path, "", nil},
	} {
		own(reason, func() reply { return c.send(v.method, v.path, v.body, v.lines...) })
	}
	signed := c.firstLeg(u, requestID)
	c.reasons()
	own("other-request", func() reply { return c.send("POST", path+"/refresh", askPasskey, signed...) })
	own("signature-form", func() reply { return c.send("DELETE", path, "", "Grid-Wallet-Signature: AAAA", signed[1]) })
	wrong := sign(t, challengeOf(otherPayload, requestID), "stamp")
	own("signature", func() reply { return c.send("DELETE", path, "", wrong...) })
	c.send("DELETE", path, "", signed...)
	c.reasons()
	own("replay", func() reply { return c.send("DELETE", path, "", signed...) })
}

// TestReasonsOfUsers has an Authenticate function say why it refuses, or not.
func TestReasonsOfUsers(t *testing.T) {
	for _, v := range []struct {
		err    error
		status int
		reason string
	}{
		{bridge.ReasonTokenExpired, 401, "token-expired"},
		{fmt.Errorf("a token of %s: %w", canary, bridge.ReasonTokenAudience), 401, "token-audience"},
		{fmt.Errorf("%w: %w", bridge.ErrAuthUnavailable, bridge.ReasonDNS), 503, "dns"},
		{errors.New(canary), 401, "unknown"},
		{bridge.ErrAuthUnavailable, 503, "unknown"},
	} {
		c := newClient(t, newUpstream(t, nil).URL, func(config *bridge.Config) {
			config.Authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{}, v.err }
		})
		if got := c.send("GET", anyGet, ""); got.status != v.status {
			t.Errorf("answer = %d, want %d", got.status, v.status)
		}
		if got := c.reasons(); len(got) != 1 || got[0] != v.reason {
			t.Errorf("reason = %q, want %s", got, v.reason)
		}
	}
}

// TestReasonsOfGrid has Grid, or what stands in for it, be wrong in one way each.
func TestReasonsOfGrid(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	strange := httptest.NewTLSServer(nil)
	defer strange.Close()
	strange.Config.ErrorLog = discard
	answering := func(status int, contentType, body string) string {
		u := newUpstream(t, nil)
		u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			io.WriteString(w, body)
		})
		return u.URL
	}
	hangsUp := newUpstream(t, nil)
	hangsUp.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	hangsUp.Config.ErrorLog = discard
	for reason, url := range map[string]string{
		"refused": "http://" + closed.Addr().String(), "tls": strange.URL, "dns": "https://no-such-host.invalid",
		"hung-up": hangsUp.URL, "not-json": answering(200, "text/html", "<p>"), "status": answering(302, "text/html", ""),
		"too-large": answering(200, "application/json", `"`+strings.Repeat("x", 1<<20)+`"`), "credentials": answering(401, "application/json", "{}"),
		"other-account": answering(200, "application/json", `{"data":[{"id":"`+foreign+`","accountId":"`+mallory+`"}]}`),
	} {
		c := newClient(t, url)
		if got := c.send("GET", anyGet, ""); got.status != 502 {
			t.Errorf("%s: answer = %d %s, want 502", reason, got.status, got.code)
		}
		if got := c.reasons(); len(got) != 1 || got[0] != reason {
			t.Errorf("reason = %q, want %s", got, reason)
		}
	}
}

// TestCredentialsAreNotEchoed has Grid repeat, in an error, what it was sent.
func TestCredentialsAreNotEchoed(t *testing.T) {
	basic := ""
	for name, say := range map[string]func(string) string{
		"as it is":         func(s string) string { return s },
		"with escapes":     func(s string) string { return strings.ReplaceAll(s, "Q", `\u0051`) },
		"without a scheme": func(s string) string { return strings.TrimPrefix(s, "Basic ") },
		"decoded": func(string) string {
			text, _ := json.Marshal(clientID + ":" + canary)
			return strings.Trim(string(text), `"`)
		},
	} {
		u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
			basic = r.Header.Get("Authorization")
			respondJSON(400, `{"status":400,"code":"INVALID_INPUT","message":"got `+say(basic)+`"}`)(w, r)
		})
		c := newClient(t, u.URL) // which looks for the secret in each answer
		if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID" {
			t.Errorf("%s: answer = %d %s, want 502 BRIDGE_UPSTREAM_INVALID", name, got.status, got.code)
		}
		if got := c.reasons(); len(got) != 1 || got[0] != "echo" || basic == "" {
			t.Errorf("%s: reason = %q, want echo", name, got)
		}
	}
}
