package bridge_test

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gridsigner/bridge"
)

var discard = log.New(io.Discard, "", 0)

func TestRefusesInput(t *testing.T) {
	uuid := strings.TrimPrefix(session, "Session:")
	pair := "Grid-Wallet-Signature: " + signature + "\r\nRequest-Id: " + requestID + "\r\n"
	tests := []struct {
		name, request string // the request line without the version, then header lines
		status        int
		code          string
	}{
		{"unknown path", "GET /api/grid/auth/unknown", 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"outside the prefix", "GET /auth/sessions?accountId=" + alice, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"prefix only", "GET /api/grid", 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"prefix run on", "GET /api/gridauth/sessions?accountId=" + alice, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"control route of the simulator", "POST /api/grid/_sim/clock", 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"escaped literal segment", "GET /api/grid/auth/%73essions?accountId=" + alice, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"upper case", "GET /api/grid/AUTH/sessions?accountId=" + alice, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"trailing slash", "DELETE /api/grid/auth/sessions/" + session + "/", 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"double slash", "DELETE /api/grid/auth//sessions/" + session, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"dot segments between", "DELETE /api/grid/auth/x/../sessions/" + session, 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"dot segments behind", "DELETE /api/grid/auth/sessions/" + session + "/../../credentials", 404, "BRIDGE_ROUTE_NOT_FOUND"},
		{"dot segments before", "DELETE /api/grid/../grid/auth/sessions/" + session, 404, "BRIDGE_ROUTE_NOT_FOUND"},

		{"wrong method", "POST /api/grid/auth/sessions/" + session, 405, "BRIDGE_METHOD_NOT_ALLOWED"},
		{"HEAD", "HEAD /api/grid/auth/sessions", 405, ""},
		{"OPTIONS", "OPTIONS /api/grid/auth/sessions", 405, "BRIDGE_METHOD_NOT_ALLOWED"},
		{"lower-case method", "delete /api/grid/auth/sessions/" + session, 405, "BRIDGE_METHOD_NOT_ALLOWED"},

		{"id empty", "DELETE /api/grid/auth/sessions/", 400, "BRIDGE_INPUT_INVALID"},
		{"id bare", "DELETE /api/grid/auth/sessions/" + uuid, 400, "BRIDGE_INPUT_INVALID"},
		{"id of another kind", "DELETE /api/grid/auth/sessions/" + method, 400, "BRIDGE_INPUT_INVALID"},
		{"id too short", "DELETE /api/grid/auth/sessions/" + session[:len(session)-1], 400, "BRIDGE_INPUT_INVALID"},
		{"id too long", "DELETE /api/grid/auth/sessions/" + session + "0", 400, "BRIDGE_INPUT_INVALID"},
		{"id of 16 KB", "DELETE /api/grid/auth/sessions/Session:" + strings.Repeat("0", 16<<10), 400, "BRIDGE_INPUT_INVALID"},
		{"id is dots", "DELETE /api/grid/auth/sessions/..", 400, "BRIDGE_INPUT_INVALID"},
		{"id is escaped dots", "DELETE /api/grid/auth/sessions/%2e%2e", 400, "BRIDGE_INPUT_INVALID"},
		{"id goes up", "DELETE /api/grid/auth/sessions/..%2f..%2fcredentials%2f" + method, 400, "BRIDGE_INPUT_INVALID"},
		{"id goes up behind", "DELETE /api/grid/auth/sessions/" + session + "%2f..", 400, "BRIDGE_INPUT_INVALID"},
		{"id with a backslash", "DELETE /api/grid/auth/sessions/" + session + "%5c..", 400, "BRIDGE_INPUT_INVALID"},
		{"id with NUL", "DELETE /api/grid/auth/sessions/" + session + "%00", 400, "BRIDGE_INPUT_INVALID"},
		{"id with CR LF", "DELETE /api/grid/auth/sessions/" + session + "%0d%0aX:%20y", 400, "BRIDGE_INPUT_INVALID"},
		{"id with a query inside", "DELETE /api/grid/auth/sessions/" + session + "%3fa=b", 400, "BRIDGE_INPUT_INVALID"},
		{"id with a parameter", "DELETE /api/grid/auth/sessions/" + session + ";a=b", 400, "BRIDGE_INPUT_INVALID"},
		{"id escaped twice", "DELETE /api/grid/auth/sessions/" + strings.Replace(session, ":", "%253A", 1), 400, "BRIDGE_INPUT_INVALID"},
		{"id with a full-width colon", "DELETE /api/grid/auth/sessions/Session%EF%BC%9A" + uuid, 400, "BRIDGE_INPUT_INVALID"},
		{"id with a space", "DELETE /api/grid/auth/sessions/%20" + session, 400, "BRIDGE_INPUT_INVALID"},

		{"query missing", "GET /api/grid/auth/sessions", 400, "BRIDGE_INPUT_INVALID"},
		{"query empty", "GET /api/grid/auth/sessions?accountId=", 400, "BRIDGE_INPUT_INVALID"},
		{"query malformed", "GET /api/grid/auth/sessions?accountId=1", 400, "BRIDGE_INPUT_INVALID"},
		{"query twice", "GET /api/grid/auth/sessions?accountId=" + alice + "&accountId=" + mallory, 400, "BRIDGE_INPUT_INVALID"},
		{"query twice by escape", "GET /api/grid/auth/sessions?accountId=" + alice + "&account%49d=" + mallory, 400, "BRIDGE_INPUT_INVALID"},
		{"query unknown", "GET /api/grid/auth/sessions?accountId=" + alice + "&limit=1", 400, "BRIDGE_INPUT_INVALID"},
		{"query by another case", "GET /api/grid/auth/sessions?accountid=" + alice, 400, "BRIDGE_INPUT_INVALID"},
		{"query with a semicolon", "GET /api/grid/auth/sessions?accountId=" + alice + ";accountId=" + mallory, 400, "BRIDGE_INPUT_INVALID"},
		{"query with a bad escape", "GET /api/grid/auth/sessions?accountId=" + alice + "&%zz", 400, "BRIDGE_INPUT_INVALID"},
		{"query where none is taken", "DELETE /api/grid/auth/sessions/" + session + "?accountId=" + alice, 400, "BRIDGE_INPUT_INVALID"},

		{"signature alone", "DELETE /api/grid/auth/sessions/" + session + "\r\nGrid-Wallet-Signature: " + signature, 400, "BRIDGE_HEADERS_INCOMPLETE"},
		{"request id alone", "DELETE /api/grid/auth/sessions/" + session + "\r\nRequest-Id: " + requestID, 400, "BRIDGE_HEADERS_INCOMPLETE"},
		{"signature twice", "DELETE /api/grid/auth/sessions/" + session + "\r\n" + pair + "Grid-Wallet-Signature: " + signature, 400, "BRIDGE_INPUT_INVALID"},
		{"request id twice", "DELETE /api/grid/auth/sessions/" + session + "\r\n" + pair + "request-id: " + requestID, 400, "BRIDGE_INPUT_INVALID"},
		{"signature a list", "DELETE /api/grid/auth/sessions/" + session + "\r\nRequest-Id: " + requestID + "\r\nGrid-Wallet-Signature: A, B", 400, "BRIDGE_INPUT_INVALID"},
		{"signature empty", "DELETE /api/grid/auth/sessions/" + session + "\r\nRequest-Id: " + requestID + "\r\nGrid-Wallet-Signature:", 400, "BRIDGE_INPUT_INVALID"},
		{"signature over 4 KiB", "DELETE /api/grid/auth/sessions/" + session + "\r\nRequest-Id: " + requestID + "\r\nGrid-Wallet-Signature: " + strings.Repeat("A", 4<<10+1), 400, "BRIDGE_INPUT_INVALID"},
		{"request id of another form", "DELETE /api/grid/auth/sessions/" + session + "\r\nGrid-Wallet-Signature: A\r\nRequest-Id: 1", 400, "BRIDGE_INPUT_INVALID"},

		{"body where none is taken", "DELETE /api/grid/auth/sessions/" + session + "\r\nContent-Length: 2\r\n\r\n{}", 400, "BRIDGE_INPUT_INVALID"},
		{"chunked body where none is taken", "DELETE /api/grid/auth/sessions/" + session + "\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0", 400, "BRIDGE_INPUT_INVALID"},
		{"empty chunked body where none is taken", "DELETE /api/grid/auth/sessions/" + session + "\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0", 400, "BRIDGE_INPUT_INVALID"},
		{"body missing", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: application/json\r\nContent-Length: 0", 400, "BRIDGE_INPUT_INVALID"},
		{"body not JSON", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\r\n{}{}", 400, "BRIDGE_INPUT_INVALID"},
		{"body a form", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 2\r\n\r\n{}", 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"body a text", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"body without a type", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Length: 2\r\n\r\n{}", 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"two types", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"body over 64 KiB", "POST /api/grid/auth/credentials/" + method + "/verify\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n" + strings.Repeat(" ", 65537), 413, "BRIDGE_BODY_TOO_LARGE"},

		{"account of another user", "GET /api/grid/auth/sessions?accountId=" + mallory, 404, "BRIDGE_NOT_FOUND"},
		{"account that does not exist", "GET /api/grid/auth/credentials?accountId=InternalAccount:00000000-0000-0000-0000-000000000000", 404, "BRIDGE_NOT_FOUND"},
	}
	u := newUpstream(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, u.URL)
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			line, rest, _ := strings.Cut(v.request, "\r\n")
			if !strings.Contains(rest, "\r\n\r\n") {
				rest += "\r\n\r\n"
			}
			if rest != "\r\n\r\n" {
				rest = "\r\n" + rest
			}
			c.t = t
			got := c.raw(line + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1" + rest + "\r\n\r\n")
			assertRefused(t, u, got, v.status, v.code)
			if allow := got.header.Get("Allow"); (allow != "") != (v.status == 405) {
				t.Errorf("Allow = %q with status %d", allow, v.status)
			}
		})
	}
}

// TestBodiesAreNotWaitedFor announces a body to routes that take none, and never
// sends it: whoever waited for it would hold a place that others need.
func TestBodiesAreNotWaitedFor(t *testing.T) {
	u := newUpstream(t, nil)
	c := newClient(t, u.URL)
	everySample(t, func(t *testing.T, s sample) {
		if s.body != "" {
			t.Skip("takes a body")
		}
		for _, line := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			c.t = t
			got := c.raw(s.text("X-Gridsigner: 1", line))
			assertRefused(t, u, got, 400, "BRIDGE_INPUT_INVALID")
		}
	})
}

func TestAbsoluteFormIsRoutedByPath(t *testing.T) {
	u := newUpstream(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, u.URL)
	got := c.raw("GET http://evil.example/api/grid/auth/sessions?accountId=" + mallory +
		" HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\n\r\n")
	assertRefused(t, u, got, 404, "BRIDGE_NOT_FOUND")
}

func TestUsersThatAreRefused(t *testing.T) {
	tests := []struct {
		name string
		user bridge.User
		err  error
	}{
		{"error", bridge.User{ID: "u", Accounts: []string{alice}}, io.EOF},
		{"no id", bridge.User{Accounts: []string{alice}}, nil},
		{"malformed account", bridge.User{ID: "u", Accounts: []string{alice, "*"}}, nil},
		{"id of 256 bytes", bridge.User{ID: strings.Repeat("u", 256), Accounts: []string{alice}}, nil},
		{"too many accounts", bridge.User{ID: "u", Accounts: slices.Repeat([]string{alice}, 17)}, nil},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, nil)
			c := newClient(t, u.URL, func(config *bridge.Config) {
				config.Authenticate = func(*http.Request) (bridge.User, error) { return v.user, v.err }
			})
			got := c.send("GET", "/auth/sessions?accountId="+alice, "")
			assertRefused(t, u, got, 401, "BRIDGE_UNAUTHENTICATED")
			if challenge := got.header.Get("WWW-Authenticate"); challenge != "Bearer" {
				t.Errorf("WWW-Authenticate = %q, want Bearer", challenge)
			}
		})
	}
}

// TestLog holds the log line against its allow-list, and against everything
// that a request carries.
func TestLog(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"accountId":"`+alice+`","encryptedSessionSigningKey":"upstream-body"}`)
	})
	c := newClient(t, u.URL)
	c.send("POST", "/auth/credentials/"+method+"/verify", strings.Replace(verifyBody, "h.p.s", "request-body", 1), "Cookie: cookie-value")
	c.send("DELETE", "/auth/sessions/"+session, "", c.firstLeg(u, requestID)...)
	c.send("PURGE", "/secret-path?secret-query", "")
	c.server.Close()

	text := c.log.String()
	for _, secret := range []string{"upstream-body", "request-body", "cookie-value", "alice\"", "secret-", "PURGE",
		session, method, alice, signature, requestID, "Bearer"} {
		if strings.Contains(strings.NewReplacer(`"user-alice"`, "", `"account":"`+alice+`"`, "").Replace(text), secret) {
			t.Errorf("the log holds %q:\n%s", secret, text)
		}
	}
	allowed := []string{"time", "level", "msg", "method", "route", "status", "code", "reason", "user", "client", "took", "calls", "callsTook", "checked", "correlationId",
		"stage", "account", "intent", "idHash", "requestHash", "payloadSha256", "format", "gridStatus", "gridRequestId", "processing"}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != 6 { // the signed leg has three
		t.Fatalf("%d log lines, want 6:\n%s", len(lines), text)
	}
	for _, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			if !slices.Contains(allowed, name) {
				t.Errorf("field %q is not in the allow-list", name)
			}
		}
	}
}
