package bridge_test

import (
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
