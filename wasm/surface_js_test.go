package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

// These tests run in Node, which has WebCrypto, Response and AbortSignal as a
// browser does, and see the module as whoever uses it without our loader does:
// through globalThis.gridsigner, with P-256 keys of WebCrypto's. Only fetch is
// replaced; the tests in web/e2e have real browsers and servers.

func TestMain(m *testing.M) {
	go main()
	for js.Global().Get("gridsigner").IsUndefined() {
		time.Sleep(time.Millisecond) // yields to main
	}
	os.Exit(m.Run())
}

const (
	requestID = "Request:019542f5-b3e7-1d02-0000-000000000003"
	sessionID = "Session:019542f5-b3e7-1d02-0000-000000000009"
	accountID = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001"
	payload   = `{"organizationId":"org_sim","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`
	payment   = `{"organizationId":"org_sim","parameters":{"signWith":"w","type":"t","unsignedTransaction":"u"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_SIGN_TRANSACTION_V2"}`
	// The example of Grid's contract of April 2026.
	opaque = "Y2hhbGxlbmdlLXBheWxvYWQtdG8tc2lnbg=="
)

var curves = []string{"P-256", "secp256k1"}

// failure is what a Promise rejected with.
type failure struct{ js.Value }

func (f failure) code() string { return f.Get("code").String() }

// start calls an exported function.
func start(name string, args ...any) (promise js.Value) {
	return js.Global().Get("gridsigner").Call(name, args...)
}

// invoke calls an exported function and waits for its Promise.
func invoke(t *testing.T, name string, args ...any) (js.Value, *failure) {
	t.Helper()
	return wait(t, start(name, args...))
}

func wait(t *testing.T, promise js.Value) (js.Value, *failure) {
	t.Helper()
	v, err := await(t.Context(), promise)
	if err == nil {
		return v, nil
	}
	e, ok := err.(js.Error)
	if !ok {
		t.Fatal(err)
	}
	if got := e.Value.Get("name").String(); got != "GridSignerError" || !e.Value.InstanceOf(js.Global().Get("Error")) {
		t.Errorf("rejected with what is no GridSignerError: %v", e.Value)
	}
	return js.Undefined(), &failure{e.Value}
}

// resolve returns what a call resolves to, or ends the test.
func resolve(t *testing.T, name string, args ...any) js.Value {
	t.Helper()
	v, f := invoke(t, name, args...)
	if f != nil {
		t.Fatalf("%s: %s %s", name, f.code(), f.Get("message"))
	}
	return v
}

func wantCode(t *testing.T, want signer.Kind, name string, args ...any) *failure {
	t.Helper()
	_, f := invoke(t, name, args...)
	if f == nil {
		t.Fatalf("%s succeeded, want %s", name, want)
	}
	if f.code() != string(want) {
		t.Errorf("%s: code = %s, want %s (%s)", name, f.code(), want, f.Get("message"))
	}
	if got := f.Get("retryable").Bool(); got != want.Retryable() {
		t.Errorf("%s: retryable = %v, want %v", name, got, want.Retryable())
	}
	return f
}

func eval(source string) js.Value { return js.Global().Call("eval", "("+source+")") }

// with returns m with one field more, or another value of it.
func with(m map[string]any, name string, value any) map[string]any {
	m = maps.Clone(m)
	m[name] = value
	return m
}

func newChallenge() map[string]any { return challengeFor(payload) }

func challengeFor(payload string) map[string]any {
	return map[string]any{
		"payloadToSign": payload, "requestId": requestID, "type": "OAUTH",
		"expiresAt": time.Now().Add(time.Minute).UTC().Format(time.RFC3339),
	}
}

// verify holds a stamp against its payload and key.
func verify(t *testing.T, header, publicKey string) {
	t.Helper()
	verifyStamp(t, header, publicKey, payload)
}

func verifyStamp(t *testing.T, header, publicKey, payload string) {
	t.Helper()
	raw, err := base64.RawURLEncoding.Strict().DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	var stamp struct{ PublicKey, Scheme, Signature string }
	if err := json.Unmarshal(raw, &stamp); err != nil {
		t.Fatal(err)
	}
	if stamp.PublicKey != publicKey {
		t.Errorf("stamp's key = %s, want %s", stamp.PublicKey, publicKey)
	}
	curve := map[string]string{"SIGNATURE_SCHEME_TK_API_P256": "P-256", "SIGNATURE_SCHEME_TK_API_SECP256K1": "secp256k1"}[stamp.Scheme]
	if !verifies(t, curve, publicKey, payload, unhex(t, stamp.Signature)) {
		t.Error("signature does not verify")
	}
}

// verifies asks OpenSSL, which shares no code with the module and knows both
// curves. It takes a compressed key by way of SPKI, and throws on what is no point.
func verifies(t *testing.T, curve, publicKey, payload string, der []byte) bool {
	t.Helper()
	prefix := map[string]string{
		"P-256":     "3039301306072a8648ce3d020106082a8648ce3d030107032200",
		"secp256k1": "3036301006072a8648ce3d020106052b8104000a032200",
	}[curve]
	return eval(`(key, message, der) => require("node:crypto").verify("sha256", message, { key, format: "der", type: "spki" }, der)`).
		Invoke(toUint8Array(unhex(t, prefix+publicKey)), toUint8Array([]byte(payload)), toUint8Array(der)).Bool()
}

// readVectors reads a file of the corpus.
func readVectors(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile("../signer/testdata/vectors/" + file)
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSurface(t *testing.T) {
	names := js.Global().Get("Object").Call("keys", js.Global().Get("gridsigner"))
	var got []string
	for i := range names.Length() {
		got = append(got, names.Index(i).String())
	}
	slices.Sort(got)
	want := "checkOtpTarget createKey importKey lendKey openExport openSessionKey perform removeKey revokeSession sealOtp signChallenge"
	if got := strings.Join(got, " "); got != want {
		t.Errorf("the surface is %s\nwant           %s", got, want)
	}
}

// What a page has put on Object.prototype, whether by mistake or not, is no
// option, no half of a key and no field of a challenge.
func TestInheritedPropertiesAreNotRead(t *testing.T) {
	p256, secp := newKey(t, "P-256"), newKey(t, "secp256k1")
	pollute := eval(`(names, value) => { for (const name of names) Object.prototype[name] = value }`)
	clean := eval(`(names) => { for (const name of names) delete Object.prototype[name] }`)
	names := []any{
		"signal", "timeoutMs", "intent", "format", "payloads", "organizationId", "allow", "clock", "key", "id", "sign", "curve",
		"publicKey", "credentials", "onProgress", "bridgeUrl", "privateKey", "targetPublicKey", "body", "account", "credentialType", "contact", "payloadToSign", "requestId", "expiresAt", "type",
	}
	polluted := false
	for _, value := range []any{nil, "inherited", 0, eval("() => { throw new Error('called') }"), eval("AbortSignal.abort()")} {
		requests := fakeFetch(t, challengeAnswer(payload), revokedAnswer, challengeAnswer(payload), revokedAnswer, emptyList)
		// At first without, so that Node has loaded all that it loads when it is first used.
		if polluted {
			pollute.Invoke(names, value)
		}
		polluted = true
		for _, key := range []js.Value{p256, secp} {
			if _, f := invoke(t, "signChallenge", newChallenge(), map[string]any{"key": key}); f != nil {
				t.Errorf("%v: signChallenge: %s %s", value, f.code(), f.Get("message"))
			}
			if _, f := invoke(t, "revokeSession", sessionID, revokeOptions(key)); f != nil {
				t.Errorf("%v: revokeSession: %s %s", value, f.code(), f.Get("message"))
			}
		}
		if _, f := invoke(t, "perform", "list-sessions", map[string]any{"id": accountID, "bridgeUrl": bridgeURL}); f != nil {
			t.Errorf("%v: perform: %s %s", value, f.code(), f.Get("message"))
		}
		wantCode(t, signer.ErrArgumentInvalid, "signChallenge", newChallenge(), map[string]any{})
		wantCode(t, signer.ErrArgumentInvalid, "signChallenge", map[string]any{}, map[string]any{"key": secp})
		wantCode(t, signer.ErrArgumentInvalid, "importKey", map[string]any{"curve": "secp256k1"})
		clean.Invoke(names)
		for i := range requests.Length() {
			if got := requests.Index(i).Get("credentials").String(); got != "same-origin" {
				t.Errorf("credentials = %s", got)
			}
		}
	}
}
