package bridge_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
)

func TestForwardAuth(t *testing.T) {
	both := alice + ", " + aliceToo
	answer := func(status int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Add(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	tests := []struct {
		name        string
		app         http.HandlerFunc
		user        bridge.User
		refused     bool
		unavailable bool
	}{
		{"headers", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", both), bridge.User{ID: "u", Accounts: []string{alice, aliceToo}}, false, false},
		{"204", answer(204, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", alice), bridge.User{ID: "u", Accounts: []string{alice}}, false, false},
		{"no accounts", answer(200, "", "X-Gridsigner-User", "u"), bridge.User{ID: "u"}, false, false},
		{"JSON", answer(200, `{"user":"u","accounts":["`+alice+`"]}`, "Content-Type", "application/json"), bridge.User{ID: "u", Accounts: []string{alice}}, false, false},
		{"401", answer(401, "", "X-Gridsigner-User", "u"), bridge.User{}, true, false},
		{"403", answer(403, ""), bridge.User{}, true, false},
		{"login page", answer(302, "", "Location", "/login", "X-Gridsigner-User", "u"), bridge.User{}, true, false},
		{"500", answer(500, "", "X-Gridsigner-User", "u"), bridge.User{}, true, true},
		{"404", answer(404, ""), bridge.User{}, true, true},
		{"nobody named", answer(200, ""), bridge.User{}, true, true},
		{"HTML", answer(200, `{"user":"u"}`, "Content-Type", "text/html"), bridge.User{}, true, true},
		{"two users", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-User", "v"), bridge.User{}, true, true},
		{"accounts twice", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", alice, "X-Gridsigner-Accounts", mallory), bridge.User{}, true, true},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for range 1000 {
				io.WriteString(w, strings.Repeat(" ", 1<<10))
			}
		}, bridge.User{}, true, true},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, bridge.User{}, true, true},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			app := httptest.NewServer(v.app)
			defer app.Close()
			authenticate, err := bridge.NewForwardAuth(bridge.ForwardAuth{URL: app.URL})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "sid=1")
			user, err := authenticate(r)
			if user.ID != v.user.ID || !slices.Equal(user.Accounts, v.user.Accounts) || (err != nil) != v.refused || errors.Is(err, bridge.ErrAuthUnavailable) != v.unavailable {
				t.Errorf("user = %+v, %v; want %+v, refused %t, unavailable %t", user, err, v.user, v.refused, v.unavailable)
			}
		})
	}
}

func TestForwardAuthAsks(t *testing.T) {
	var now clock
	var asked atomic.Int32
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for name := range r.Header {
			if !slices.Contains([]string{"Cookie", "Authorization", "Accept", "User-Agent"}, name) {
				t.Errorf("the app received %s", name)
			}
		}
		if r.Header.Get("Cookie") == "sid=1" || r.Header.Get("Authorization") == "sid=1" {
			w.Header().Set("X-Gridsigner-User", "u-"+r.Header.Get("Cookie"))
			return
		}
		w.WriteHeader(401)
	}))
	defer app.Close()
	authenticate, err := bridge.NewForwardAuth(bridge.ForwardAuth{URL: app.URL, Now: now.time})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name    string
		headers map[string]string
		ok      bool
		asked   int32
	}{
		{"nothing to show", map[string]string{"X-Gridsigner-User": "u"}, false, 0},
		{"cookie", map[string]string{"Cookie": "sid=1", "X-Gridsigner-User": "admin", "Referer": "x"}, true, 1},
		{"cookie again", map[string]string{"Cookie": "sid=1"}, true, 0},
		{"the same as Authorization", map[string]string{"Authorization": "sid=1"}, true, 1},
		{"both", map[string]string{"Cookie": "sid=1", "Authorization": "sid=1"}, true, 1},
		{"wrong cookie", map[string]string{"Cookie": "sid=2"}, false, 1},
		{"wrong cookie again", map[string]string{"Cookie": "sid=2"}, false, 1},
		{"later", map[string]string{"Cookie": "sid=1"}, true, 1},
	} {
		if v.name == "later" {
			now.advance(5 * time.Second)
		}
		r := httptest.NewRequest("GET", "/", nil)
		for name, value := range v.headers {
			r.Header.Set(name, value)
		}
		before := asked.Load()
		user, err := authenticate(r)
		if (err == nil) != v.ok || asked.Load()-before != v.asked || v.ok && user.ID == "admin" {
			t.Errorf("%s: user = %+v, %v, asked %d times; want ok %t, asked %d times", v.name, user, err, asked.Load()-before, v.ok, v.asked)
		}
	}
}

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
	authenticate, err := bridge.NewForwardAuth(bridge.ForwardAuth{URL: app.URL})
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

func TestDiscovery(t *testing.T) {
	key := newES256(t, "k")
	var document string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tenant/.well-known/openid-configuration":
			io.WriteString(w, document)
		case "/keys":
			w.Write(jwks(key))
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	issuer := server.URL + "/tenant"
	for _, v := range []struct {
		name, document string
		ok             bool
	}{
		{"good", `{"issuer":"` + issuer + `","jwks_uri":"` + server.URL + `/keys"}`, true},
		{"another issuer", `{"issuer":"` + server.URL + `","jwks_uri":"` + server.URL + `/keys"}`, false},
		{"no keys", `{"issuer":"` + issuer + `"}`, false},
		{"keys in the open", `{"issuer":"` + issuer + `","jwks_uri":"http://keys.example/"}`, false},
		{"keys elsewhere", `{"issuer":"` + issuer + `","jwks_uri":"` + server.URL + `/moved"}`, false},
		{"not JSON", `<html>`, false},
	} {
		document = v.document
		authenticate, err := bridge.NewOIDC(t.Context(), bridge.OIDC{
			Issuer: issuer, Audience: "a", AccountsClaim: "c", Keys: bridge.DiscoverKeys(issuer),
		})
		if (err == nil) != v.ok {
			t.Errorf("%s: error = %v, want ok %t", v.name, err, v.ok)
			continue
		}
		if err == nil {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+key.token(t, map[string]any{"alg": "ES256", "kid": "k"}, map[string]any{
				"iss": issuer, "aud": "a", "sub": "u", "exp": time.Now().Add(time.Hour).Unix()}))
			if user, err := authenticate(r); err != nil || user.ID != "u" {
				t.Errorf("user = %+v, %v; want u", user, err)
			}
		}
	}
}
