package bridge_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// hostile are header lines that must make no difference to what Grid gets.
var hostile = []string{
	"Cookie: sid=" + canary,
	"X-Forwarded-For: 10.0.0.1",
	"X-Forwarded-Host: evil.example",
	"Forwarded: for=10.0.0.1",
	"X-HTTP-Method-Override: POST",
	"Idempotency-Key: 7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21",
	"Grid_Wallet_Signature: AAAA",
	"Request_Id: Request:00000000-0000-0000-0000-000000000000",
	"Proxy-Authorization: Basic AAAA",
	"Connection: Grid-Wallet-Signature, Authorization",
	"Accept-Encoding: gzip",
	"User-Agent: evil",
	"X-Stamp: AAAA",
	"Referer: https://app.example/?token=1",
	"Origin: http://app.example", // its own; a stranger's is refused
}

func TestForwardsNothingButCheckedParts(t *testing.T) {
	const verify = `{"type": "OAUTH", "oidcToken":"h.p.s\u003cé\ud83d\ude00","clientPublicKey":"` + clientKey + `"}`
	// Both headers where they mean nothing, and then where they do.
	unread := []string{"Grid-Wallet-Signature: " + signature, "Request-Id: " + requestID}
	signed := sign(t, challengeOf(payload, requestID), signer.FormatAuto) // deterministic: what the first leg's challenge asks for
	answer := unread[1:]
	tests := []struct {
		name, method, path, body string
		lines                    []string
		want                     string   // the path that upstream receives last
		headers                  []string // and of the headers those that differ
	}{
		{"list sessions", "GET", "/auth/sessions?accountId=" + alice, "", nil, "/auth/sessions?accountId=" + alice, nil},
		{"list credentials with escapes", "GET", "/auth/credentials?account%49d=" + strings.ReplaceAll(alice, ":", "%3a"), "", nil,
			"/auth/credentials?accountId=" + alice, nil},
		{"signature on a list", "GET", "/auth/sessions?accountId=" + alice, "", unread, "/auth/sessions?accountId=" + alice, nil},
		{"revoke, first leg", "DELETE", "/auth/sessions/" + session, "", nil, "/auth/sessions/" + session, nil},
		{"revoke with an escaped colon", "DELETE", "/auth/sessions/" + strings.Replace(session, ":", "%3A", 1), "", nil, "/auth/sessions/" + session, nil},
		{"revoke on the second account", "DELETE", "/auth/sessions/" + secondary, "", nil, "/auth/sessions/" + secondary, nil},
		{"revoke, signed leg", "DELETE", "/auth/sessions/" + session, "", signed, "/auth/sessions/" + session, signed},
		{"refresh", "POST", "/auth/sessions/" + strings.Replace(session, ":", "%3A", 1) + "/refresh", ` {"clientPublicKey" :"` + clientKey + `"}`, nil,
			"/auth/sessions/" + session + "/refresh", nil},
		{"add", "POST", "/auth/credentials", passkeyBody(`\u003cé\ud83d\ude00<&>`), nil, "/auth/credentials", nil},
		{"remove", "DELETE", "/auth/credentials/" + method, "", nil, "/auth/credentials/" + method, nil},
		{"verify", "POST", "/auth/credentials/" + method + "/verify", verify, unread, "/auth/credentials/" + method + "/verify", nil},
		{"ask for a code", "POST", "/auth/credentials/" + email + "/challenge", " { }\n", unread, "/auth/credentials/" + email + "/challenge", nil},
		{"ask a passkey", "POST", "/auth/credentials/" + passkey + "/challenge", askPasskey, unread, "/auth/credentials/" + passkey + "/challenge", nil},
		{"verify a code", "POST", "/auth/credentials/" + email + "/verify", codeBody("EMAIL_OTP", `"{\"encappedPublic\":\"04\",\u0022ciphertext\":\"00\"}"`), nil,
			"/auth/credentials/" + email + "/verify", nil},
		{"verify a passkey", "POST", "/auth/credentials/" + passkey + "/verify", assertion(`c\u003cé\ud83d\ude00`), answer, "/auth/credentials/" + passkey + "/verify", answer},
		{"export", "POST", "/internal-accounts/" + strings.Replace(alice, ":", "%3A", 1) + "/export", sealingKey, nil, "/internal-accounts/" + alice + "/export", nil},
	}
	for _, v := range tests {
		for _, extra := range [][]string{nil, hostile} {
			t.Run(fmt.Sprintf("%s, hostile headers: %t", v.name, extra != nil), func(t *testing.T) {
				u := newUpstream(t, respondJSON(200, `{"status":"PROCESSING"}`))
				c := newClient(t, u.URL)
				c.firstLeg(u, requestID)
				c.begin(u, sample{id: passkey, issued: ofPasskey})
				if got := c.send(v.method, v.path, v.body, append(v.lines, extra...)...); got.status != 200 {
					t.Fatalf("answer = %d %s", got.status, got.body)
				}
				sent := u.tap.received()
				last := sent[strings.LastIndex(sent, v.method+" /"):]
				if want := u.wire(v.method, v.want, v.body, v.headers...); last != want {
					t.Errorf("upstream received\n%q\nwant\n%q", last, want)
				}
			})
		}
	}
}

func TestRelaysAnswers(t *testing.T) {
	organization := strings.Replace(strings.ReplaceAll(payload, `"`, `\"`), `\"org\"`, `\"\u003c<&>é\ud83d\ude00\"`, 1)
	challenge := "{ \"payloadToSign\":\"" + organization + "\",\n\t\"requestId\":\"" + requestID +
		"\", \"expiresAt\":\"2026-08-22T10:05:00Z\", \"unknown\": 1e2}\n"
	tests := []struct {
		name, body string
		status     int
	}{
		{"challenge", challenge, 202},
		{"processing", `{"status":"PROCESSING"}`, 200},
		{"refused signature", `{"status":401,"code":"WALLET_SIGNATURE_INVALID","message":"m"}`, 401},
		{"legacy refusal of a signature", `{"status":401,"code":"UNAUTHORIZED","message":"m"}`, 401},
		{"gone", `{"status":404,"code":"REFERENCE_NOT_FOUND","message":"m"}`, 404},
		{"rate limit", `{"status":429,"code":"RATE_LIMITED","message":"m"}`, 429},
		{"fault", `{"status":500,"code":"INTERNAL_ERROR","message":"m"}`, 500},
		{"revoked", ``, 204},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				h := w.Header()
				h.Set("Content-Type", "application/json; charset=utf-8")
				h.Set("Retry-After", "7")
				h.Set("Set-Cookie", "grid=1")
				h.Set("Access-Control-Allow-Origin", "*")
				h.Set("Cache-Control", "public")
				h.Set("Server", "grid")
				w.WriteHeader(v.status)
				io.WriteString(w, v.body)
			})
			c := newClient(t, u.URL)
			got := c.send("DELETE", "/auth/sessions/"+session, "", c.firstLeg(u, requestID)...)
			if got.status != v.status || got.body != v.body {
				t.Errorf("answer = %d %q, want %d %q", got.status, got.body, v.status, v.body)
			}
			want := map[string]string{"Retry-After": "7", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Vary": "Origin", "Cross-Origin-Resource-Policy": "same-origin"}
			if v.status != 204 {
				want["Content-Type"] = "application/json"
				want["Content-Length"] = itoa(len(v.body))
			}
			got.header.Del("Date")
			got.header.Del("X-Correlation-Id")
			for name := range got.header {
				if got.header.Get(name) != want[name] {
					t.Errorf("header %s = %q, want %q", name, got.header.Get(name), want[name])
				}
				delete(want, name)
			}
			if len(want) != 0 {
				t.Errorf("headers missing: %v", want)
			}
		})
	}
}

// TestBadUpstream gives the bridge every kind of broken Grid, on the revocation
// of a session whose owner was looked up before.
func TestBadUpstream(t *testing.T) {
	hijack := func(f func(net.Conn)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			f(conn)
		}
	}
	respond := func(text string) http.HandlerFunc {
		return hijack(func(conn net.Conn) { io.WriteString(conn, text) })
	}
	var strayed atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { strayed.Add(1) }))
	defer elsewhere.Close()
	json := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
	tests := []struct {
		name   string
		answer http.HandlerFunc
		status int
		code   string
	}{
		{"redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"redirects with JSON", respond("HTTP/1.1 302 Found\r\nLocation: " + elsewhere.URL + "\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"not modified", respond("HTTP/1.1 304 Not Modified\r\n\r\n"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"switches protocols", respond("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"unknown status class", respond("HTTP/1.1 600 Odd\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"resets", hijack(func(conn net.Conn) { conn.(tapped).Conn.(*net.TCPConn).SetLinger(0) }), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"closes", hijack(func(net.Conn) {}), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"garbage", respond(strings.Repeat("\x00\xffgarbage "+canary, 1000)), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"endless header", respond("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"truncated body", respond(json + "Content-Length: 100\r\n\r\n{}"), 502, "BRIDGE_UPSTREAM_FAILED"},
		{"HTML", respond("HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"no type", respond("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"not JSON", respond(json + "Content-Length: 1\r\n\r\n{"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"empty JSON", respond(json + "Content-Length: 0\r\n\r\n"), 502, "BRIDGE_UPSTREAM_INVALID"},
		{"compressed", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			io.WriteString(z, `{}`)
			z.Close()
		}, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"100 MB", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			block := []byte(strings.Repeat(" ", 1<<20))
			for range 100 {
				if _, err := w.Write(block); err != nil {
					return // the bridge hung up, as it should
				}
			}
		}, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"refuses our credentials", respond("HTTP/1.1 401 No\r\nContent-Type: application/json\r\nContent-Length: 45\r\n\r\n" +
			`{"status":401,"code":"UNAUTHORIZED","m":"mm"}`), 502, "BRIDGE_UPSTREAM_CREDENTIALS"},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, v.answer)
			c := newClient(t, u.URL)
			got := c.send("DELETE", "/auth/sessions/"+session, "")
			if got.status != v.status || got.code != v.code {
				t.Errorf("answer = %d %s, want %d %s", got.status, got.code, v.status, v.code)
			}
			if n := strings.Count(u.tap.received(), "DELETE "); n != 1 {
				t.Errorf("upstream received %d DELETEs, want 1", n)
			}
		})
	}
	if n := strayed.Load(); n != 0 {
		t.Errorf("%d requests followed a redirect, want 0", n)
	}
}

func TestUpstreamHangs(t *testing.T) {
	tests := []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"before the headers", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
		{"within the body", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"a":`)
			http.NewResponseController(w).Flush()
			<-r.Context().Done() // the bridge hangs up
		}},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, v.answer)
			c := newClient(t, u.URL, func(config *bridge.Config) { config.Timeout = 200 * time.Millisecond })
			got := c.send("DELETE", "/auth/sessions/"+session, "")
			if got.status != 504 || got.code != "BRIDGE_UPSTREAM_TIMEOUT" {
				t.Errorf("answer = %d %s, want 504 BRIDGE_UPSTREAM_TIMEOUT", got.status, got.code)
			}
		})
	}
}

// TestClientGoesAway hangs up while Grid is working: the request to Grid ends
// too, and the log does not blame Grid.
func TestClientGoesAway(t *testing.T) {
	reached, ended := make(chan struct{}), make(chan struct{})
	u := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
		close(ended)
	})
	c := newClient(t, u.URL)
	conn, err := net.Dial("tcp", c.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "DELETE /api/grid/auth/sessions/"+session+" HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1\r\n\r\n")
	<-reached
	conn.Close()
	<-ended
	c.server.Close() // waits for the bridge to be done
	if log := c.log.String(); !strings.Contains(log, `"status":499,"code":"BRIDGE_CLIENT_GONE"`) {
		t.Errorf("log = %s, want BRIDGE_CLIENT_GONE", log)
	}
}

func TestUpstreamUnreachableOrUntrusted(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	untrusted := httptest.NewTLSServer(http.NotFoundHandler()) // its certificate is nobody's
	untrusted.Config.ErrorLog = discard
	defer untrusted.Close()
	for name, address := range map[string]string{"unreachable": closed.URL, "untrusted": untrusted.URL} {
		t.Run(name, func(t *testing.T) {
			got := newClient(t, address).send("GET", "/auth/sessions?accountId="+alice, "")
			if got.status != 502 || got.code != "BRIDGE_UPSTREAM_FAILED" {
				t.Errorf("answer = %d %s, want 502 BRIDGE_UPSTREAM_FAILED", got.status, got.code)
			}
		})
	}
}
