package bridge_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

const (
	alice           = "InternalAccount:019542f5-b3e7-1d02-0000-00000000000a"
	aliceToo        = "InternalAccount:019542f5-b3e7-1d02-0000-0000000000aa"
	mallory         = "InternalAccount:019542f5-b3e7-1d02-0000-00000000000b"
	session         = "Session:019542f5-b3e7-1d02-0000-000000000001"
	foreign         = "Session:019542f5-b3e7-1d02-0000-000000000002"
	missing         = "Session:019542f5-b3e7-1d02-0000-000000000003"
	secondary       = "Session:019542f5-b3e7-1d02-0000-000000000004"
	method          = "AuthMethod:019542f5-b3e7-1d02-0000-000000000001" // OAUTH
	passkey         = "AuthMethod:019542f5-b3e7-1d02-0000-000000000002"
	email           = "AuthMethod:019542f5-b3e7-1d02-0000-000000000003"
	phone           = "AuthMethod:019542f5-b3e7-1d02-0000-000000000004"
	secondaryMethod = "AuthMethod:019542f5-b3e7-1d02-0000-000000000005"
	foreignMethod   = "AuthMethod:019542f5-b3e7-1d02-0000-00000000000b"
	requestID       = "Request:7c4a8d09-ca37-4e3e-9e0d-8c2b3e9a1f21"
	signature       = "eyJwdWJsaWNLZXkiOiIwMiJ9"

	clientID = "canary-client-id"
	canary   = canaryPart + "/+ %&51f2~?" // searched for in every answer and log line: it reads differently in every form
	version  = "/grid/2025-10-13"

	canaryPart = "canary-client-secret" // what no escaping changes
)

// tap records every byte that a listener's connections receive.
type tap struct {
	net.Listener
	mu    sync.Mutex
	bytes bytes.Buffer
}

type tapped struct {
	net.Conn
	tap *tap
}

func (l *tap) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return tapped{conn, l}, err
}

func (c tapped) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.tap.mu.Lock()
	defer c.tap.mu.Unlock()
	c.tap.bytes.Write(p[:n])
	return n, err
}

// received returns what arrived since the last call.
func (l *tap) received() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.bytes.Reset()
	return l.bytes.String()
}

// upstream is a Grid that lists the things of the accounts above and hands
// everything else to answer.
type upstream struct {
	*httptest.Server
	tap       *tap
	challenge atomic.Pointer[string] // body of the 202 to a first leg, nil for what answer says
}

// payload is what Grid asks a client to sign to revoke a session.
const payload = `{"organizationId":"org","parameters":{"apiKeyIds":["key"],"userId":"user"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`

// otherPayload revokes another session.
var otherPayload = strings.Replace(payload, `"key"`, `"other"`, 1)

// challengeOf is the body of a 202 with payload.
func challengeOf(payload, requestID string) string {
	text, _ := json.Marshal(payload)
	return `{"type":"OAUTH","payloadToSign":` + string(text) + `,"requestId":"` + requestID + `","expiresAt":"2026-08-22T10:05:00Z"}`
}

var sessionKey = func() *signer.Key {
	key, err := signer.GenerateP256()
	if err != nil {
		panic(err)
	}
	return key
}()

// sign is the pair of headers for the signed leg of challenge.
func sign(t testing.TB, challenge string, format signer.Format) []string {
	t.Helper()
	c, err := signer.ParseChallenge([]byte(challenge))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.SignChallenge(t.Context(), sessionKey, c, signer.SignOptions{Format: format}, time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	return []string{"Grid-Wallet-Signature: " + signed.Header, "Request-Id: " + signed.RequestID}
}

// firstLeg makes the first leg of revoking [session] with a challenge of
// requestID, and returns the headers of the second.
func (c *client) firstLeg(u *upstream, requestID string) []string {
	c.t.Helper()
	challenge := challengeOf(payload, requestID)
	u.challenge.Store(&challenge)
	defer u.challenge.Store(nil)
	if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 202 || got.body != challenge {
		c.t.Fatalf("first leg = %d %s, want 202 %s", got.status, got.body, challenge)
	}
	u.tap.received()
	return sign(c.t, challenge, signer.FormatAuto)
}

func newUpstream(t testing.TB, answer http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		account := r.URL.Query().Get("accountId")
		rows := map[string]string{
			"/auth/sessions" + alice:    `{"id":"` + session + `","accountId":"` + alice + `"}`,
			"/auth/sessions" + aliceToo: `{"id":"` + secondary + `","accountId":"` + aliceToo + `"}`,
			"/auth/sessions" + mallory:  `{"id":"` + foreign + `","accountId":"` + mallory + `"}`,
			"/auth/credentials" + alice: `{"id":"` + method + `","accountId":"` + alice + `","type":"OAUTH"},{"id":"` + passkey + `","accountId":"` + alice + `","type":"PASSKEY"},` +
				`{"id":"` + email + `","accountId":"` + alice + `","type":"EMAIL_OTP"},{"id":"` + phone + `","accountId":"` + alice + `","type":"SMS_OTP"}`,
			"/auth/credentials" + aliceToo: `{"id":"` + secondaryMethod + `","accountId":"` + aliceToo + `","type":"OAUTH"}`,
			"/auth/credentials" + mallory:  `{"id":"` + foreignMethod + `","accountId":"` + mallory + `","type":"OAUTH"}`,
		}
		if account != "" {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"data":[`+rows[strings.TrimPrefix(r.URL.Path, version)+account]+`]}`)
			return
		}
		if challenge := u.challenge.Load(); challenge != nil && r.Header.Get("Request-Id") == "" {
			w.Header().Set("Content-Type", "application/json")
			if !strings.HasSuffix(r.URL.Path, "/challenge") { // whose answer is a challenge itself
				w.WriteHeader(202)
			}
			io.WriteString(w, *challenge)
			return
		}
		answer(w, r)
	}))
	u.Server, u.tap = server, &tap{Listener: server.Listener}
	server.Listener = u.tap
	server.Start()
	t.Cleanup(server.Close)
	return u
}

// client talks to a bridge and fails the test if the canary comes back.
type client struct {
	t        testing.TB
	server   *httptest.Server
	log      *lockedBuffer
	deadline deadline // of all requests
}

// deadline is a context whose deadline passes when the test says so, so that no
// machine is too slow for what comes before it.
type deadline struct {
	context.Context
	passed chan struct{}
}

func (d deadline) Done() <-chan struct{} { return d.passed }

func (d deadline) Err() error {
	select {
	case <-d.passed:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// take returns what was written since the last call.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.Buffer.Reset()
	return b.Buffer.String()
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

// wide are limits that no test reaches unless it is about them.
var wide = bridge.Limits{Address: much, Network: much, User: much, SignIn: much, SignIns: much, Attempts: much, Pending: much, Grid: much}

var much = bridge.Limit{Rate: 1e6, Per: time.Second, Burst: 1e6}

// newClient starts a bridge to upstreamURL whose user is Alice. The bridge
// believes "Authorization: Bearer alice".
func newClient(t testing.TB, upstreamURL string, change ...func(*bridge.Config)) *client {
	t.Helper()
	c := &client{t: t, log: &lockedBuffer{}, deadline: deadline{context.Background(), make(chan struct{})}}
	config := bridge.Config{
		Upstream: upstreamURL + version,
		ClientID: clientID, ClientSecret: bridge.NewSecret(canary),
		Authenticate: func(r *http.Request) (bridge.User, error) {
			if r.Header.Get("Authorization") != "Bearer alice" {
				return bridge.User{}, http.ErrNoCookie
			}
			return bridge.User{ID: "user-alice", Accounts: []string{alice, aliceToo}}, nil
		},
		Timeout: time.Minute, // a machine that is busy is no fault of Grid's
		Limits:  wide,
		Log:     slog.New(slog.NewJSONHandler(c.log, nil)),
	}
	for _, f := range change {
		f(&config)
	}
	handler, err := bridge.New(config)
	if err != nil {
		t.Fatal(err)
	}
	c.server = httptest.NewUnstartedServer(handler)
	c.server.Config.BaseContext = func(net.Listener) context.Context { return c.deadline }
	c.server.Start()
	t.Cleanup(func() {
		c.server.Close()
		c.closeIdle()
		assertNoCanary(t, "the log", c.log.String())
	})
	return c
}

// closeIdle ends the bridge's connections to Grid.
func (c *client) closeIdle() { bridge.CloseIdle(c.server.Config.Handler) }

func assertNoCanary(t testing.TB, where, text string) {
	t.Helper()
	forms := []string{canaryPart}
	for _, secret := range []string{canary, clientID + ":" + canary} {
		text, _ := json.Marshal(secret)
		forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret), string(text[1:len(text)-1]), hex.EncodeToString([]byte(secret)),
			base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)))
	}
	for _, form := range forms {
		if strings.Contains(text, form) {
			t.Errorf("%s holds the client secret:\n%s", where, text)
		}
	}
}

// reply is an answer read whole, and its code if it is an error envelope.
type reply struct {
	status int
	code   string
	header http.Header
	body   string
	closed bool // the connection, after it
}

// raw sends text as it is: no client library cleans or completes it.
func (c *client) raw(text string) reply {
	c.t.Helper()
	conn, err := net.Dial("tcp", c.server.Listener.Addr().String())
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		c.t.Fatal(err)
	}
	methodName, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: methodName})
	if err != nil {
		c.t.Fatalf("answer to %q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var headers strings.Builder
	resp.Header.Write(&headers)
	assertNoCanary(c.t, "an answer", headers.String()+string(body))
	var envelope struct {
		Status  int
		Code    string
		Message string
		Details struct{ RequestID string }
	}
	json.Unmarshal(body, &envelope)
	if strings.HasPrefix(envelope.Code, "BRIDGE_") {
		if envelope.Status != resp.StatusCode || envelope.Message == "" ||
			envelope.Details.RequestID == "" || envelope.Details.RequestID != resp.Header.Get("X-Correlation-Id") {
			c.t.Errorf("envelope %s does not fit status %d and X-Correlation-Id %q",
				body, resp.StatusCode, resp.Header.Get("X-Correlation-Id"))
		}
	}
	return reply{resp.StatusCode, envelope.Code, resp.Header, string(body), resp.Close}
}

// send sends a well-formed request as Alice, with further header lines.
func (c *client) send(methodName, path, body string, lines ...string) reply {
	c.t.Helper()
	text := methodName + " /api/grid" + path + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1\r\n"
	for _, line := range lines {
		text += line + "\r\n"
	}
	if body != "" {
		text += "Content-Type: application/json\r\nContent-Length: " + itoa(len(body)) + "\r\n"
	}
	return c.raw(text + "\r\n" + body)
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// assertRefused wants a refusal, and that nothing reached upstream.
func assertRefused(t testing.TB, u *upstream, got reply, status int, code string) {
	t.Helper()
	if got.status != status || got.code != code {
		t.Errorf("answer = %d %s, want %d %s", got.status, got.code, status, code)
	}
	if sent := u.tap.received(); sent != "" {
		t.Errorf("upstream received\n%s\nwant nothing", sent)
	}
}
