package bridge_test

import (
	"net/http"
	"strings"
	"testing"

	"gridsigner/bridge"
)

func TestOnlyTheAppMayChangeThings(t *testing.T) {
	const app = "X-Gridsigner: 1"
	tests := []struct {
		name  string
		lines []string
		code  string // "" for let pass
	}{
		{"another program", []string{app}, ""},
		{"same origin", []string{app, "Sec-Fetch-Site: same-origin", "Origin: https://app.example"}, ""},
		{"same origin, old browser", []string{app, "Origin: https://app.example"}, ""},
		{"typed by the user", []string{app, "Sec-Fetch-Site: none"}, ""},
		{"allowed origin", []string{app, "Sec-Fetch-Site: cross-site", "Origin: https://friend.example"}, ""},
		{"other site", []string{app, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example"}, "BRIDGE_CROSS_ORIGIN"},
		{"other site, no origin", []string{app, "Sec-Fetch-Site: cross-site"}, "BRIDGE_CROSS_ORIGIN"},
		{"sibling", []string{app, "Sec-Fetch-Site: same-site", "Origin: https://blog.app.example"}, "BRIDGE_CROSS_ORIGIN"},
		{"other site, old browser", []string{app, "Origin: https://evil.example"}, "BRIDGE_CROSS_ORIGIN"},
		{"sandboxed frame", []string{app, "Origin: null"}, "BRIDGE_CROSS_ORIGIN"},
		{"look-alike", []string{app, "Origin: https://friend.example.evil.example"}, "BRIDGE_CROSS_ORIGIN"},
		{"other scheme of a friend", []string{app, "Origin: http://friend.example"}, "BRIDGE_CROSS_ORIGIN"},
		{"other port of a friend", []string{app, "Origin: https://friend.example:8443"}, "BRIDGE_CROSS_ORIGIN"},
		{"no header", nil, "BRIDGE_HEADER_MISSING"},
		{"header of another value", []string{"X-Gridsigner: 0"}, "BRIDGE_HEADER_MISSING"},
		{"header twice", []string{app, app}, "BRIDGE_HEADER_MISSING"},
		{"header look-alike", []string{"X_Gridsigner: 1"}, "BRIDGE_HEADER_MISSING"},
		{"no header, same origin", []string{"Sec-Fetch-Site: same-origin"}, "BRIDGE_HEADER_MISSING"},
	}
	u := newUpstream(t, respondJSON(200, `{"status":"PROCESSING"}`))
	c := newClient(t, u.URL, func(config *bridge.Config) { config.AllowOrigins = []string{"https://friend.example"} })
	everySample(t, func(t *testing.T, s sample) {
		c.t = t
		c.begin(u, s)
		for _, v := range tests {
			t.Run(v.name, func(t *testing.T) {
				c.t = t
				u.tap.received()
				got := c.raw(s.text(v.lines...))
				if v.code == "" || v.code == "BRIDGE_HEADER_MISSING" && s.op.Route().Method == "GET" {
					if got.status != 200 {
						t.Errorf("answer = %d %s, want 200", got.status, got.code)
					}
					return
				}
				assertRefused(t, u, got, 403, v.code)
			})
		}
	})
}

func TestCrossOriginAnswers(t *testing.T) {
	u := newUpstream(t, respondJSON(200, ofAlice))
	c := newClient(t, u.URL, func(config *bridge.Config) { config.AllowOrigins = []string{"https://friend.example"} })
	everySample(t, func(t *testing.T, s sample) {
		c.t = t
		for origin, allowed := range map[string]bool{
			"https://friend.example": true, "https://evil.example": false, "null": false,
			"https://friend.example.evil.example": false, "HTTPS://FRIEND.EXAMPLE": false,
		} {
			got := c.raw(s.text("X-Gridsigner: 1", "Origin: "+origin))
			preflight := c.raw("OPTIONS /api/grid" + s.path(s.id) + " HTTP/1.1\r\nHost: app.example\r\nOrigin: " + origin +
				"\r\nAccess-Control-Request-Method: " + s.op.Route().Method + "\r\n\r\n")
			want := ""
			if allowed {
				want = origin
			}
			for _, answer := range []reply{got, preflight} {
				if g := answer.header.Get("Access-Control-Allow-Origin"); g != want || !strings.HasPrefix(answer.header.Get("Vary"), "Origin") {
					t.Errorf("origin %s: Access-Control-Allow-Origin = %q, want %q; Vary = %q", origin, g, want, answer.header.Get("Vary"))
				}
			}
			if status := map[bool]int{true: 204, false: 405}[allowed]; preflight.status != status {
				t.Errorf("preflight from %s = %d, want %d", origin, preflight.status, status)
			}
			if methods := preflight.header.Get("Access-Control-Allow-Methods"); allowed && methods != s.op.Route().Method {
				t.Errorf("Access-Control-Allow-Methods = %q, want %q", methods, s.op.Route().Method)
			}
		}
	})
	c.t = t
	// How the signer asks what time it is: any answer will do, if its page may read the Date.
	got := c.raw("HEAD /api/grid/ HTTP/1.1\r\nHost: app.example\r\nOrigin: https://friend.example\r\n\r\n")
	if got.header.Get("Date") == "" || got.header.Get("Access-Control-Allow-Origin") != "https://friend.example" ||
		!strings.Contains(got.header.Get("Access-Control-Expose-Headers"), "Date") {
		t.Errorf("HEAD from an allowed origin: %v, want a Date that it may read", got.header)
	}
	for _, request := range []string{"/auth/unknown HTTP/1.1", "/auth/sessions HTTP/1.1"} {
		got := c.raw("OPTIONS /api/grid" + request + "\r\nHost: app.example\r\nOrigin: https://friend.example\r\nAccess-Control-Request-Method: PURGE\r\n\r\n")
		if got.status < 400 || got.header.Get("Access-Control-Allow-Methods") != "" {
			t.Errorf("preflight of %s = %d, allows %q", request, got.status, got.header.Get("Access-Control-Allow-Methods"))
		}
	}
}

func TestAllowedOriginsAreChecked(t *testing.T) {
	for _, origin := range []string{"", "*", "null", "friend.example", "https://friend.example/", "https://friend.example/a", "https://Friend.example",
		"https://*.friend.example", "http://friend.example", "https://user@friend.example", "https://friend.example?a",
		"https://friend.example:443", "https://friend.example:", "http://localhost:80"} { // of these a browser leaves the port out
		_, err := bridge.New(bridge.Config{
			ClientID: clientID, ClientSecret: bridge.NewSecret(canary), AllowOrigins: []string{"https://good.example:8443", origin},
			Authenticate: func(*http.Request) (bridge.User, error) { return bridge.User{}, nil },
		})
		if err == nil || !strings.Contains(err.Error(), "is not an origin") {
			t.Errorf("origin %q: error = %v, want one", origin, err)
		}
	}
}
