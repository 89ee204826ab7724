package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

func TestAuthUnavailable(t *testing.T) {
	u := newUpstream(t, nil)
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{}, bridge.ErrAuthUnavailable }
	})
	got := c.send("GET", anyGet, "")
	assertRefused(t, u, got, 503, "BRIDGE_AUTH_UNAVAILABLE")
	if got.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// TestClientGoesAwayFromTheApp hangs up while the app is asked: that is no fault
// of the app's.
func TestClientGoesAwayFromTheApp(t *testing.T) {
	reached := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	}))
	defer app.Close()
	authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: app.URL})
	if err != nil {
		t.Fatal(err)
	}
	c := newClient(t, newUpstream(t, nil).URL, func(config *bridge.Config) { config.Authenticate = authenticate })
	conn, err := net.Dial("tcp", c.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /api/grid"+anyGet+" HTTP/1.1\r\nHost: app.example\r\nCookie: sid=1\r\n\r\n")
	<-reached
	conn.Close()
	c.server.Close() // waits for the bridge to be done
	if log := c.log.String(); !strings.Contains(log, `"status":499,"code":"BRIDGE_CLIENT_GONE"`) {
		t.Errorf("log = %s, want BRIDGE_CLIENT_GONE", log)
	}
}

// TestUserCheck has an Authenticate function be careless.
func TestUserCheck(t *testing.T) {
	for _, v := range []struct {
		name string
		user bridge.User
		want error
	}{
		{"good", bridge.User{ID: strings.Repeat("i", 255), Accounts: []string{alice}}, nil},
		{"no-accounts", bridge.User{ID: "u"}, nil},
		{"no-id", bridge.User{Accounts: []string{alice}}, bridge.ReasonUserID},
		{"long-id", bridge.User{ID: strings.Repeat("i", 256)}, bridge.ReasonUserID},
		{"seventeen-accounts", bridge.User{ID: "u", Accounts: make([]string, 17)}, bridge.ReasonTooManyAccounts},
		{"account-of-another-kind", bridge.User{ID: "u", Accounts: []string{session}}, bridge.ReasonClaimForm},
	} {
		if err := v.user.Check(); err != v.want {
			t.Errorf("%s: error = %v, want %v", v.name, err, v.want)
		}
	}
}

// TestWWWAuthenticate has an Authenticate function choose the header, by an error of its own
// and by the app's, and be careless.
func TestWWWAuthenticate(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Session realm="app"`)
		w.WriteHeader(401)
	}))
	defer app.Close()
	asksApp, err := identity.NewForwardAuth(identity.ForwardAuth{URL: app.URL})
	if err != nil {
		t.Fatal(err)
	}
	fails := func(err error) func(*http.Request) (bridge.User, error) {
		return func(*http.Request) (bridge.User, error) { return bridge.User{}, err }
	}
	says := func(text string) func(*http.Request) (bridge.User, error) {
		return fails(fmt.Errorf("%w: %w", bridge.ReasonNoToken, bridge.WWWAuthenticate(text)))
	}
	for _, v := range []struct {
		name         string
		authenticate func(*http.Request) (bridge.User, error)
		want         string
	}{
		{"says nothing", fails(bridge.ReasonNoToken), "Bearer"},
		{"chooses", says(`DPoP algs="ES256"`), `DPoP algs="ES256"`},
		{"the app chooses", asksApp, `Session realm="app"`},
		{"two lines", says("Bearer\r\nSet-Cookie: a=b"), "Bearer"},
		{"not ASCII", says("Bearer realm=\"\u00e9\""), "Bearer"},
		{"long", says(strings.Repeat("a", 257)), "Bearer"},
		{"empty", says(""), "Bearer"},
	} {
		u := newUpstream(t, nil)
		c := newClient(t, u.URL, func(config *bridge.Config) { config.Authenticate = v.authenticate })
		got := c.send("GET", anyGet, "", "Cookie: sid=1")
		assertRefused(t, u, got, 401, "BRIDGE_UNAUTHENTICATED")
		if values := got.header.Values("WWW-Authenticate"); len(values) != 1 || values[0] != v.want {
			t.Errorf("%s: WWW-Authenticate = %q, want %q", v.name, values, v.want)
		}
	}
}

// TestOwns has an app whose user has more accounts than the list holds.
func TestOwns(t *testing.T) {
	const header = bridge.HeaderAccount + ": "
	for _, v := range []struct {
		name, method, path, body string
		lines                    []string
		status                   int
		code                     string
		reason                   string
		asked                    string // which account Owns is asked about
	}{
		{name: "an account of the list", method: "GET", path: "/auth/sessions?accountId=" + alice, status: 200},
		{name: "one that Owns knows", method: "GET", path: "/auth/sessions?accountId=" + aliceToo, status: 200, asked: aliceToo},
		{name: "another's", method: "GET", path: "/auth/sessions?accountId=" + mallory, status: 404, code: "BRIDGE_NOT_FOUND", reason: "not-theirs", asked: mallory},
		{name: "another's, and a header that names one's own", method: "GET", path: "/auth/sessions?accountId=" + mallory, lines: []string{header + alice},
			status: 404, code: "BRIDGE_NOT_FOUND", reason: "not-theirs", asked: mallory},
		{name: "a session of the list's account", method: "DELETE", path: "/auth/sessions/" + session, status: 204},
		{name: "a session of one that Owns knows", method: "DELETE", path: "/auth/sessions/" + secondary, lines: []string{header + aliceToo}, status: 204, asked: aliceToo},
		{name: "a session of one that nobody names", method: "DELETE", path: "/auth/sessions/" + secondary, status: 403, code: "BRIDGE_NO_ACCOUNTS", reason: "account-not-named"},
		{name: "another's session on another's account", method: "DELETE", path: "/auth/sessions/" + foreign, lines: []string{header + mallory},
			status: 403, code: "BRIDGE_NO_ACCOUNTS", reason: "account-not-named", asked: mallory},
		{name: "one's own session, and another's account", method: "DELETE", path: "/auth/sessions/" + secondary, lines: []string{header + mallory},
			status: 403, code: "BRIDGE_NO_ACCOUNTS", reason: "account-not-named", asked: mallory},
		{name: "an account in capitals", method: "DELETE", path: "/auth/sessions/" + secondary, lines: []string{header + "InternalAccount:" + strings.ToUpper(strings.TrimPrefix(aliceToo, "InternalAccount:"))},
			status: 204, asked: aliceToo},
		{name: "an account in capitals, in a query", method: "GET", path: "/auth/sessions?accountId=InternalAccount:" + strings.ToUpper(strings.TrimPrefix(mallory, "InternalAccount:")),
			status: 404, code: "BRIDGE_NOT_FOUND", reason: "not-theirs", asked: mallory},
		{name: "another's session on one's own account", method: "DELETE", path: "/auth/sessions/" + foreign, lines: []string{header + aliceToo},
			status: 404, code: "BRIDGE_NOT_FOUND", reason: "not-theirs", asked: aliceToo},
		{name: "two accounts", method: "DELETE", path: "/auth/sessions/" + secondary, lines: []string{header + aliceToo, header + mallory},
			status: 400, code: "BRIDGE_INPUT_INVALID", reason: "headers"},
		{name: "no account", method: "DELETE", path: "/auth/sessions/" + secondary, lines: []string{header + session}, status: 400, code: "BRIDGE_INPUT_INVALID", reason: "headers"},
		{name: "a body", method: "POST", path: "/auth/credentials", body: `{"type":"EMAIL_OTP","accountId":"` + aliceToo + `"}`, status: 204, asked: aliceToo},
		{name: "a body of another's", method: "POST", path: "/auth/credentials", body: `{"type":"EMAIL_OTP","accountId":"` + mallory + `"}`,
			status: 404, code: "BRIDGE_NOT_FOUND", reason: "not-theirs", asked: mallory},
		{name: "fails", method: "GET", path: "/auth/sessions?accountId=" + aliceToo, lines: []string{"X-Fail: 1"}, status: 503, code: "BRIDGE_AUTH_UNAVAILABLE", reason: "ownership", asked: aliceToo},
	} {
		u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
		asked := ""
		c := newClient(t, u.URL, func(config *bridge.Config) {
			fails := false
			config.Authenticate = func(r *http.Request) (bridge.User, error) {
				fails = r.Header.Get("X-Fail") != ""
				return bridge.User{ID: "user-alice", Accounts: []string{alice}}, nil
			}
			config.Owns = func(ctx context.Context, user bridge.User, account string) (bool, error) {
				if asked += account; user.ID != "user-alice" {
					t.Errorf("%s: asked for %q", v.name, user.ID)
				}
				if fails {
					return true, errors.New(canary)
				}
				return account == aliceToo, nil
			}
		})
		got := c.send(v.method, v.path, v.body, v.lines...)
		if got.status != v.status || got.code != v.code || asked != v.asked {
			t.Errorf("%s: answer = %d %q and asked about %q, want %d %q and %q", v.name, got.status, got.code, asked, v.status, v.code, v.asked)
		}
		if reasons := c.reasons(); len(reasons) != 1 || reasons[0] != v.reason {
			t.Errorf("%s: reason = %q, want %q", v.name, reasons, v.reason)
		}
	}
}
