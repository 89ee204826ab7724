package bridge_test

import (
	"bufio"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"

	"gridsigner/bridge"
	"gridsigner/bridge/gridsim"
	"gridsigner/signer"
)

// bodiesNear are bodies that are one step away from one: without a member, with one more, or
// with another value.
func bodiesNear(t *testing.T, body string) []string {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal([]byte(body), &whole); err != nil {
		t.Fatal(err)
	}
	all := []string{"null", "[]", `"x"`, "{}"}
	var walk func(object map[string]any)
	walk = func(object map[string]any) {
		add := func() {
			text, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
		for _, name := range append(slices.Sorted(maps.Keys(object)), "other", "clientPublicKey", "accountId", "userHandle", "transports") {
			was, is := object[name]
			for _, value := range []any{nil, 1, true, "", "x", []any{}, []any{"x"}, []any{1}, map[string]any{}, "OAUTH", "PASSKEY", "SMS_OTP",
				alice, strings.ToLower(alice), session, clientKey, strings.ToUpper(clientKey), clientKey + "0", "05" + clientKey[2:], uncompressed, "02" + uncompressed[2:]} {
				object[name] = value
				add()
			}
			delete(object, name)
			add()
			if !is {
				continue
			}
			object[name] = was
			if inner, ok := was.(map[string]any); ok {
				walk(inner)
			}
		}
	}
	walk(whole)
	return all
}

// TestOpenAPITakesWhatTheSignerTakes holds the schemas of bodies against the readers that the
// bridge goes by: what one takes the other takes, of each sample and of all that is near one.
func TestOpenAPITakesWhatTheSignerTakes(t *testing.T) {
	d := bridge.OpenDocument(t)
	everySample(t, func(t *testing.T, s sample) {
		if s.body == "" {
			return
		}
		taken := 0
		for _, body := range append(bodiesNear(t, s.body), s.body, s.body) {
			_, err := s.op.Judge(body)
			if errDocument := d.CheckBody(s.op.Route().Method, s.path(s.id), body); (errDocument == nil) != (err == nil) {
				t.Errorf("%s\nis taken: %t, by the document: %v", body, err == nil, errDocument)
			}
			if err == nil {
				taken++
			}
		}
		if taken < 2 {
			t.Errorf("%d bodies are taken", taken)
		}
	})
}

// held is a bridge, all of whose exchanges are held against the document.
type held struct {
	*client
	document *bridge.Document
	key      *ecdsa.PrivateKey // of the user's sessions
	seen     map[string]bool   // see [bridge.Document.CheckResponse]
}

// exchange sends text. The bridge and the document agree on whether it is a request.
func (h *held) exchange(text string) reply {
	h.t.Helper()
	got := h.raw(text)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	if err != nil {
		h.t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	where, err := h.document.CheckResponse(r.Method, r.URL.Path, got.status, got.header, got.body)
	if err != nil {
		h.t.Errorf("%s %s: the document does not have %d %s: %v", r.Method, r.URL.Path, got.status, got.body, err)
	}
	h.seen[where] = true
	isNone := slices.Contains([]string{"BRIDGE_INPUT_INVALID", "BRIDGE_HEADER_MISSING", "BRIDGE_CONTENT_TYPE_UNSUPPORTED"}, got.code)
	if err := h.document.CheckRequest(r, string(body)); (err != nil) != isNone {
		h.t.Errorf("%q\nis answered with %d %s, by the document: %v", text, got.status, got.code, err)
	}
	return got
}

// ask sends a request of an operation with header lines, wants a status, and returns the body.
// What Grid is not done with is sent again.
func (h *held) ask(op signer.Operation, id string, body any, want int, lines ...string) map[string]string {
	h.t.Helper()
	text := sample{op: op, id: id, body: mustJSON(body)}.text(append(slices.Clone(lines), "X-Gridsigner: 1")...)
	got := h.exchange(text)
	if strings.Contains(got.body, "PROCESSING") {
		got = h.exchange(text)
	}
	if got.status != want {
		h.t.Fatalf("%s = %d %s, want %d", op, got.status, got.body, want)
	}
	var all map[string]any
	json.Unmarshal([]byte(got.body), &all) // a 204 has none
	texts := map[string]string{}
	for name, value := range all {
		texts[name] = fmt.Sprint(value)
	}
	return texts
}

// sign makes both legs of an operation.
func (h *held) sign(op signer.Operation, id string, body any, want int) map[string]string {
	h.t.Helper()
	challenge := h.ask(op, id, body, 202)
	return h.ask(op, id, body, want, stampBy(h.t.(*testing.T), h.key, challenge["payloadToSign"], challenge["requestId"])...)
}

// mustJSON is a body, "" for none.
func mustJSON(body any) string {
	if body == nil {
		return ""
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// newHeld starts a simulator and a bridge to it. Each signed request is PROCESSING once.
func newHeld(t *testing.T, sim *gridsim.Sim, change ...func(*bridge.Config)) *held {
	t.Helper()
	seed := sim.Seed()
	grid := httptest.NewServer(sim)
	t.Cleanup(grid.Close)
	whose := func(c *bridge.Config) {
		c.Upstream, c.ClientID = grid.URL, seed.ClientID
		c.Authenticate = func(r *http.Request) (bridge.User, error) {
			if r.Header.Get("Authorization") != "Bearer alice" {
				return bridge.User{}, http.ErrNoCookie
			}
			return bridge.User{ID: "user-alice", Accounts: []string{seed.AccountID}}, nil
		}
	}
	return &held{newClient(t, grid.URL, append([]func(*bridge.Config){whose}, change...)...), bridge.OpenDocument(t), newKey(t), map[string]bool{}}
}

// TestOpenAPIAgainstTheSimulator lives a user's life, in which every operation has every
// success that the document has.
func TestOpenAPIAgainstTheSimulator(t *testing.T) {
	sim, err := gridsim.New(gridsim.Config{ClientSecret: canary, SeedEmailOTP: true, AllowMagic: true, ProcessingReplies: 1})
	if err != nil {
		t.Fatal(err)
	}
	h, seed := newHeld(t, sim), sim.Seed()
	type object = map[string]any
	point := pointOf(t, h.key)
	key := fmt.Sprintf("%x", point)

	token := oidcToken(seed.OIDC, key)
	first := h.ask(signer.OpVerifyCredential, seed.CredentialID, object{"type": "OAUTH", "oidcToken": token, "clientPublicKey": key}, 200)
	h.ask(signer.OpListCredentials, seed.AccountID, nil, 200)
	h.ask(signer.OpListSessions, seed.AccountID, nil, 200)
	second := h.sign(signer.OpRefreshSession, first["id"], object{"clientPublicKey": key}, 201)
	h.sign(signer.OpRevokeSession, first["id"], nil, 204)
	h.ask(signer.OpRevokeSession, first["id"], nil, 404)

	byPhone := h.sign(signer.OpAddCredential, "", object{"type": "SMS_OTP", "accountId": seed.AccountID}, 201)
	h.sign(signer.OpRemoveCredential, byPhone["id"], nil, 204)

	sent := h.ask(signer.OpChallengeCredential, seed.EmailCredentialID, object{}, 200)
	inbox := sim.Inbox()
	public, err := signer.P256PublicKey(point)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := signer.SealOTP(t.Context(), signer.HostPrimitives{}, sent["otpEncryptionTargetBundle"], inbox[len(inbox)-1].Code, public, seed.OTPSigner)
	if err != nil {
		t.Fatal(err)
	}
	h.sign(signer.OpVerifyCredential, seed.EmailCredentialID, object{"type": "EMAIL_OTP", "encryptedOtpBundle": sealed}, 200)

	byPasskey := h.sign(signer.OpAddCredential, "", newPasskey(t, seed.AccountID), 201)
	asked := h.ask(signer.OpChallengeCredential, byPasskey["id"], object{"clientPublicKey": key}, 200)
	magic := object{"credentialId": "c", "clientDataJson": "d", "authenticatorData": "a", "signature": "sandbox-valid-passkey-signature"}
	h.ask(signer.OpVerifyCredential, byPasskey["id"], object{"type": "PASSKEY", "assertion": magic}, 200, "Request-Id: "+asked["requestId"])

	to, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h.sign(signer.OpExportWallet, seed.AccountID, object{"clientPublicKey": fmt.Sprintf("%x", to.PublicKey().Bytes())}, 200)
	h.ask(signer.OpListCredentials, seed.AccountID, nil, 200)
	h.ask(signer.OpListSessions, seed.AccountID, nil, 200)
	h.ask(signer.OpVerifyCredential, seed.CredentialID, object{"type": "OAUTH", "oidcToken": "h.p.s", "clientPublicKey": key}, 400)
	h.sign(signer.OpRevokeSession, second["id"], nil, 204)

	for _, success := range h.document.Successes() {
		if !h.seen[success] {
			t.Errorf("%s is in the document, and was not seen", success)
		}
	}
}

// oidcToken signs in with gridsim, which does not look at the signature.
func oidcToken(identity gridsim.OIDCIdentity, key string) string {
	nonce, now := sha256.Sum256([]byte(key)), time.Now().Unix()
	claims := mustJSON(map[string]any{"iss": identity.Issuer, "aud": identity.Audience, "sub": identity.Subject, "nonce": fmt.Sprintf("%x", nonce), "iat": now, "exp": now + 60})
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"RS256"}`)) + "." + encode([]byte(claims)) + "." + encode([]byte("signature"))
}

// newPasskey is the body that adds a passkey, attested by nobody (WebAuthn Level 2, 6.5).
func newPasskey(t *testing.T, account string) map[string]any {
	t.Helper()
	point, err := newKey(t).PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	id, encode := []byte(rand.Text()), base64.RawURLEncoding.EncodeToString
	challenge := encode([]byte(rand.Text()))
	cose, err := webauthncbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
	if err != nil {
		t.Fatal(err)
	}
	rpID := sha256.Sum256([]byte("app.example"))
	authData := slices.Concat(rpID[:], []byte{1<<0 | 1<<6}, make([]byte, 4+16), []byte{0, byte(len(id))}, id, cose)
	attestation, err := webauthncbor.Marshal(map[string]any{"fmt": "none", "attStmt": map[string]any{}, "authData": authData})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{"type": "PASSKEY", "accountId": account, "nickname": "Laptop", "challenge": challenge, "attestation": map[string]any{
		"credentialId": encode(id), "attestationObject": encode(attestation), "transports": []string{"internal"},
		"clientDataJson": encode([]byte(`{"type":"webauthn.create","challenge":"` + challenge + `","origin":"https://app.example"}`)),
	}}
}

// TestOpenAPIAgainstRefusals has requests refused that are none by the document either, and
// others that are fine by it.
func TestOpenAPIAgainstRefusals(t *testing.T) {
	sim, err := gridsim.New(gridsim.Config{ClientSecret: canary})
	if err != nil {
		t.Fatal(err)
	}
	h := newHeld(t, sim)
	account := sim.Seed().AccountID
	get := "GET /api/grid/auth/sessions?accountId=" + account + " HTTP/1.1\r\nHost: app.example\r\n"
	list, end := get+"Authorization: Bearer alice\r\n", "\r\n"
	revoke := "DELETE /api/grid/auth/sessions/" + missing + " HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\n"
	add := "POST /api/grid/auth/credentials HTTP/1.1\r\nHost: app.example\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1\r\n"
	own, foreign := codeOf(account), codeOf(mallory)
	for _, v := range []struct {
		name, text string
		status     int
		code       string
	}{
		{"a stranger", get + end, 401, "BRIDGE_UNAUTHENTICATED"},
		{"another site", list + "Sec-Fetch-Site: cross-site\r\n" + end, 403, "BRIDGE_CROSS_ORIGIN"},
		{"no account", strings.Replace(list, account, "", 1) + end, 400, "BRIDGE_INPUT_INVALID"},
		{"one more parameter", strings.Replace(list, account, account+"&a=b", 1) + end, 400, "BRIDGE_INPUT_INVALID"},
		{"two accounts", strings.Replace(list, account, account+"&accountId="+account, 1) + end, 400, "BRIDGE_INPUT_INVALID"},
		{"another's account", strings.Replace(list, account, mallory, 1) + end, 404, "BRIDGE_NOT_FOUND"},
		{"a trace", list + "Traceparent: of no form\r\n" + end, 200, ""},
		{"no header of ours", revoke + end, 403, "BRIDGE_HEADER_MISSING"},
		{"another header of ours", revoke + "X-Gridsigner: true\r\n" + end, 403, "BRIDGE_HEADER_MISSING"},
		{"twice", revoke + "X-Gridsigner: 1\r\nX-Gridsigner: 1\r\n" + end, 403, "BRIDGE_HEADER_MISSING"},
		{"an id of another kind", strings.Replace(revoke, missing, account, 1) + "X-Gridsigner: 1\r\n" + end, 400, "BRIDGE_INPUT_INVALID"},
		{"an id that is escaped", strings.Replace(revoke, ":", "%3A", 1) + "X-Gridsigner: 1\r\n" + end, 404, "BRIDGE_NOT_FOUND"},
		{"an account beside it", revoke + "X-Gridsigner: 1\r\nX-Gridsigner-Account: " + account + "\r\n" + end, 404, "BRIDGE_NOT_FOUND"},
		{"no account beside it", revoke + "X-Gridsigner: 1\r\nX-Gridsigner-Account: mine\r\n" + end, 400, "BRIDGE_INPUT_INVALID"},
		{"half of a pair", revoke + "X-Gridsigner: 1\r\nRequest-Id: " + requestID + "\r\n" + end, 400, "BRIDGE_HEADERS_INCOMPLETE"},
		{"no request id", revoke + "X-Gridsigner: 1\r\nRequest-Id: mine\r\n" + end, 400, "BRIDGE_INPUT_INVALID"},
		{"no signature", revoke + "X-Gridsigner: 1\r\nGrid-Wallet-Signature: a,b\r\nRequest-Id: " + requestID + "\r\n" + end, 400, "BRIDGE_INPUT_INVALID"},
		{"a challenge of nobody", revoke + "X-Gridsigner: 1\r\nGrid-Wallet-Signature: " + signature + "\r\nRequest-Id: " + requestID + "\r\n" + end, 404, "BRIDGE_NOT_FOUND"},
		{"a body where there is none", revoke + "X-Gridsigner: 1\r\nContent-Length: 2\r\n" + end + "{}", 400, "BRIDGE_INPUT_INVALID"},
		{"no body", add + end, 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"another type", add + "Content-Type: text/plain\r\nContent-Length: 2\r\n" + end + "{}", 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED"},
		{"another body", add + "Content-Type: application/json\r\nContent-Length: 2\r\n" + end + "{}", 400, "BRIDGE_INPUT_INVALID"},
		{"another's account in the body", add + "Content-Type: application/json\r\nContent-Length: " + itoa(len(foreign)) + "\r\n" + end + foreign, 404, "BRIDGE_NOT_FOUND"},
		{"a challenge", add + "Content-Type: application/json\r\nContent-Length: " + itoa(len(own)) + "\r\n" + end + own, 202, ""},
	} {
		t.Run(v.name, func(t *testing.T) {
			h.t = t
			if got := h.exchange(v.text); got.status != v.status || got.code != v.code {
				t.Errorf("answer = %d %s, want %d %s", got.status, got.body, v.status, v.code)
			}
		})
	}
	t.Run("too many", func(t *testing.T) {
		narrow := newHeld(t, sim, func(c *bridge.Config) { c.Limits.User = bridge.Limit{Rate: 1, Per: time.Hour, Burst: 1} })
		narrow.exchange(list + end)
		if got := narrow.exchange(list + end); got.status != 429 || got.header.Get("Retry-After") == "" {
			t.Errorf("answer = %d %s, want 429 and when to come back", got.status, got.body)
		}
	})
}

// codeOf adds codes by phone as a way to sign in to account.
func codeOf(account string) string { return `{"type":"SMS_OTP","accountId":"` + account + `"}` }
