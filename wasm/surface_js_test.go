package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

// These tests run in Node, which has WebCrypto, Response and AbortSignal as a
// browser does, and see the module as a page does: through
// globalThis.gridsigner. Only fetch is replaced; the tests in web/e2e have real
// browsers and servers.

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
	// The upstream stamper's public fixture.
	fixtureP256       = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c"
	fixtureP256Public = "02f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316"
)

// failure is what a Promise rejected with.
type failure struct{ js.Value }

func (f failure) code() string { return f.Get("code").String() }

// invoke calls an exported function and waits for its Promise.
func invoke(t *testing.T, name string, args ...any) (js.Value, *failure) {
	t.Helper()
	return wait(t, js.Global().Get("gridsigner").Call(name, args...))
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
	if got := e.Value.Get("name").String(); got != "GridSignerError" {
		t.Errorf("error's name = %q", got)
	}
	return js.Undefined(), &failure{e.Value}
}

func must(t *testing.T, name string, args ...any) js.Value {
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

func newChallenge() map[string]any {
	return map[string]any{
		"payloadToSign": payload, "requestId": requestID, "type": "OAUTH",
		"expiresAt": time.Now().Add(time.Minute).UTC().Format(time.RFC3339),
	}
}

// verify holds a stamp against its payload, with Go's and dcrd's verifiers: a
// WebCrypto signature shares no code with them.
func verify(t *testing.T, header, publicKey string) {
	t.Helper()
	stamp, err := signer.ParseStamp(header)
	if err != nil {
		t.Fatal(err)
	}
	if got := stamp.PublicKey.String(); got != publicKey {
		t.Errorf("stamp's key = %s, want %s", got, publicKey)
	}
	if !stamp.PublicKey.Verify([]byte(payload), stamp.Signature) {
		t.Error("signature does not verify")
	}
}

func TestCreateSignRemove(t *testing.T) {
	for _, curve := range []string{"P-256", "secp256k1"} {
		t.Run(curve, func(t *testing.T) {
			key := must(t, "createKey", map[string]any{"curve": curve})
			if got := key.Get("curve").String(); got != curve {
				t.Errorf("curve = %s", got)
			}
			for i := range 20 { // both halves of s, high bits, and short integers turn up
				byID := any(key.Get("id"))
				if i%2 == 0 {
					byID = key
				}
				s := must(t, "signChallenge", newChallenge(), map[string]any{"key": byID})
				verify(t, s.Get("signature").String(), key.Get("publicKey").String())
				headers := s.Get("headers")
				if headers.Get("Grid-Wallet-Signature").String() != s.Get("signature").String() || headers.Get("Request-Id").String() != requestID {
					t.Error("headers are not what is to be sent")
				}
			}
			if !must(t, "removeKey", key.Get("id")).Bool() {
				t.Error("removeKey = false")
			}
			if must(t, "removeKey", key.Get("id")).Bool() {
				t.Error("removeKey again = true")
			}
			wantCode(t, signer.ErrKeyNotFound, "signChallenge", newChallenge(), map[string]any{"key": key})
		})
	}
	if got := must(t, "createKey").Get("curve").String(); got != "P-256" {
		t.Errorf("default curve = %s", got)
	}
}

func importKey(t *testing.T, curve, scalar string) (key js.Value, bytes js.Value, f *failure) {
	raw, err := hex.DecodeString(scalar)
	if err != nil {
		t.Fatal(err)
	}
	bytes = toUint8Array(raw)
	key, f = invoke(t, "importKey", map[string]any{"curve": curve, "privateKey": bytes})
	for i := range bytes.Length() {
		if bytes.Index(i).Int() != 0 {
			t.Fatal("the caller's bytes are not zeroed")
		}
	}
	return key, bytes, f
}

func TestImportKey(t *testing.T) {
	data, err := os.ReadFile("../signer/testdata/vectors/sign.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []struct{ Name, Curve, PrivateKey, PublicKey string }
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		t.Run(v.Name, func(t *testing.T) {
			key, _, f := importKey(t, v.Curve, v.PrivateKey)
			if f != nil {
				t.Fatal(f.code(), f.Get("message"))
			}
			if got := key.Get("publicKey").String(); got != v.PublicKey {
				t.Errorf("public key = %s, want %s", got, v.PublicKey)
			}
			s := must(t, "signChallenge", newChallenge(), map[string]any{"key": key})
			verify(t, s.Get("signature").String(), v.PublicKey)
		})
	}
	p256n := "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
	secpn := "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	for _, bad := range [][2]string{
		{"P-256", strings.Repeat("0", 64)}, {"secp256k1", strings.Repeat("0", 64)}, {"P-256", p256n}, {"secp256k1", secpn},
		{"P-256", fixtureP256[2:]}, {"secp256k1", fixtureP256 + "00"}, {"P-256", ""},
	} {
		if _, _, f := importKey(t, bad[0], bad[1]); f == nil || f.code() != "KEY_MALFORMED" {
			t.Errorf("import of %s on %s: %v", bad[1], bad[0], f)
		}
	}
	if _, _, f := importKey(t, "P-384", fixtureP256); f == nil || f.code() != "CURVE_UNSUPPORTED" {
		t.Errorf("import on P-384: %v", f)
	}
	for _, bad := range []any{nil, "00", 5, []any{1, 2}, eval("new Uint16Array(32)"), eval("new ArrayBuffer(32)"), eval("new Proxy(new Uint8Array(32), {getPrototypeOf() { throw 1 }})"), eval("Object.setPrototypeOf(new Uint8Array(32), new Proxy({}, {getPrototypeOf() { throw 1 }}))")} {
		wantCode(t, signer.ErrArgumentInvalid, "importKey", map[string]any{"curve": "P-256", "privateKey": bad})
	}
	refused := eval("new Uint8Array(32).fill(7)")
	wantCode(t, signer.ErrArgumentInvalid, "importKey", map[string]any{"curve": "P-256", "privateKey": refused, "timeoutMs": 0})
	if got := refused.Index(0).Int(); got != 0 {
		t.Error("the bytes of a refused call are not zeroed")
	}
}

// What an array of the page's says of itself is not asked: an exception in
// there would leave the module broken.
func TestImportKeyReadsTheBytesThemselves(t *testing.T) {
	hostile := eval(`(curve) => {
		const privateKey = new Uint8Array(32).fill(7)
		for (const name of ["length", "fill", "subarray", "constructor", "buffer", Symbol.toStringTag])
			Object.defineProperty(privateKey, name, { get() { throw new Error("hostile") } })
		return { curve, privateKey }
	}`)
	zeroes := eval("({ privateKey }) => [0, 31].every((i) => privateKey[i] === 0)")
	for _, curve := range []string{"P-256", "secp256k1"} {
		options := hostile.Invoke(curve)
		key := must(t, "importKey", options)
		s := must(t, "signChallenge", newChallenge(), map[string]any{"key": key})
		verify(t, s.Get("signature").String(), key.Get("publicKey").String())
		if !zeroes.Invoke(options).Bool() {
			t.Errorf("%s: the caller's bytes are not zeroed", curve)
		}
	}
}

func TestSignChallengeRefuses(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	with := func(field string, value any) map[string]any {
		c := newChallenge()
		c[field] = value
		return c
	}
	opt := map[string]any{"key": key}
	for _, test := range []struct {
		name string
		c    any
		opt  any
		want signer.Kind
	}{
		{"no arguments", js.Undefined(), js.Undefined(), signer.ErrArgumentInvalid},
		{"null", nil, opt, signer.ErrArgumentInvalid},
		{"a string", "x", opt, signer.ErrArgumentInvalid},
		{"payload is a number", with("payloadToSign", 1), opt, signer.ErrArgumentInvalid},
		{"payload is a String object", with("payloadToSign", eval("new String('x')")), opt, signer.ErrArgumentInvalid},
		{"payload of 10 MB", with("payloadToSign", strings.Repeat("x", 10<<20)), opt, signer.ErrArgumentInvalid},
		{"lone surrogate", with("payloadToSign", eval(`"a\ud800"`)), opt, signer.ErrArgumentInvalid},
		{"expired", with("expiresAt", "2020-01-01T00:00:00Z"), opt, signer.ErrChallengeExpired},
		{"expiry is no date", with("expiresAt", "tomorrow"), opt, signer.ErrChallengeMalformed},
		{"request id", with("requestId", "x\r\ny"), opt, signer.ErrChallengeMalformed},
		{"payment", with("payloadToSign", strings.Replace(payload, "DELETE_API_KEYS", "SIGN_TRANSACTION_V2", 1)), opt, signer.ErrIntentMismatch},
		{"export", with("payloadToSign", strings.Replace(payload, "DELETE_API_KEYS", "EXPORT_WALLET", 1)), opt, signer.ErrIntentMismatch},
		{"duplicate key", with("payloadToSign", strings.Replace(payload, `"type"`, `"type":"","type"`, 1)), opt, signer.ErrPayloadMalformed},
		{"getter that throws", eval(`{get payloadToSign() { throw new Error("boom") }}`), opt, signer.ErrArgumentInvalid},
		{"options with a getter that throws", newChallenge(), eval(`{get key() { throw 1 }}`), signer.ErrArgumentInvalid},
		{"signal that throws", newChallenge(), map[string]any{"key": key, "signal": eval(`{addEventListener() { throw 1 }}`)}, signer.ErrArgumentInvalid},
		{"signal whose second look throws", newChallenge(), map[string]any{"key": key, "signal": eval(`(() => {
			let looks = 0
			return { get addEventListener() { if (looks++) throw 1; return () => {} } }
		})()`)}, signer.ErrArgumentInvalid},
		{"clock with a getter that throws", newChallenge(), map[string]any{"key": key, "clock": eval(`{get now() { throw 1 }}`)}, signer.ErrInternal},
		{"key with a getter that throws", newChallenge(), map[string]any{"key": eval(`{get id() { throw 1 }}`)}, signer.ErrArgumentInvalid},
		{"revoked proxy", eval(`(() => { const p = Proxy.revocable({}, {}); p.revoke(); return p.proxy })()`), opt, signer.ErrArgumentInvalid},
		{"options are a string", newChallenge(), "x", signer.ErrArgumentInvalid},
		{"no key", newChallenge(), map[string]any{}, signer.ErrArgumentInvalid},
		{"unknown key", newChallenge(), map[string]any{"key": "x"}, signer.ErrKeyNotFound},
		{"__proto__ as a key", newChallenge(), map[string]any{"key": "__proto__"}, signer.ErrKeyNotFound},
		{"unknown format", newChallenge(), map[string]any{"key": key, "format": "raw"}, signer.ErrArgumentInvalid},
		{"unknown intent", newChallenge(), map[string]any{"key": key, "intent": "x"}, signer.ErrArgumentInvalid},
		{"refresh without its key", newChallenge(), map[string]any{"key": key, "intent": map[string]any{"name": "refresh-session"}}, signer.ErrArgumentInvalid},
		{"signal is a string", newChallenge(), map[string]any{"key": key, "signal": "x"}, signer.ErrArgumentInvalid},
		{"signal is not one", newChallenge(), map[string]any{"key": key, "signal": map[string]any{}}, signer.ErrArgumentInvalid},
		{"timeout is NaN", newChallenge(), map[string]any{"key": key, "timeoutMs": eval("NaN")}, signer.ErrArgumentInvalid},
		{"timeout is 0", newChallenge(), map[string]any{"key": key, "timeoutMs": 0}, signer.ErrArgumentInvalid},
		{"aborted before", newChallenge(), map[string]any{"key": key, "signal": eval("AbortSignal.abort()")}, signer.ErrAborted},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := wantCode(t, test.want, "signChallenge", test.c, test.opt)
			if strings.Contains(f.Get("message").String(), "key_sim") {
				t.Errorf("message %q quotes the payload", f.Get("message"))
			}
			// The module is alive.
			s := must(t, "signChallenge", newChallenge(), opt)
			verify(t, s.Get("signature").String(), key.Get("publicKey").String())
		})
	}
}

// A getter that changes its mind is read once: what was checked is what is signed.
func TestPropertiesAreReadOnce(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	tricky := eval(`(payload, requestId, expiresAt) => {
		const reads = {}
		const once = (name, value) => ({ enumerable: true, get() { reads[name] = (reads[name] ?? 0) + 1; return value } })
		return Object.defineProperties({ reads }, {
			payloadToSign: once("payloadToSign", payload), requestId: once("requestId", requestId),
			expiresAt: once("expiresAt", expiresAt), type: once("type", "OAUTH") })
	}`).Invoke(payload, requestID, newChallenge()["expiresAt"])
	must(t, "signChallenge", tricky, map[string]any{"key": key})
	for _, name := range []string{"payloadToSign", "requestId", "expiresAt", "type"} {
		if got := tricky.Get("reads").Get(name); got.IsUndefined() || got.Int() != 1 {
			t.Errorf("%s was read %v times, want 1", name, got)
		}
	}
}

// A signal that lets go of nobody ends a call as any other does.
func TestSignalThatKeepsItsListeners(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	signal := eval(`{ aborted: false, addEventListener() {}, get removeEventListener() { throw 1 } }`)
	for range 3 {
		must(t, "signChallenge", newChallenge(), map[string]any{"key": key, "signal": signal})
	}
}

func TestKeysAreListedInOrder(t *testing.T) {
	before := must(t, "keys").Length()
	a := must(t, "createKey")
	b, _, f := importKey(t, "secp256k1", fixtureP256)
	if f != nil {
		t.Fatal(f.code())
	}
	all := must(t, "keys")
	if all.Length() != before+2 || !all.Index(before).Get("id").Equal(a.Get("id")) || !all.Index(before+1).Get("id").Equal(b.Get("id")) {
		t.Error("keys() does not end with the two new ones")
	}
	for _, want := range [][2]string{{"protection", "wasm-memory"}, {"persistence", "memory"}} {
		if got := b.Get(want[0]).String(); got != want[1] {
			t.Errorf("%s = %s, want %s", want[0], got, want[1])
		}
	}
	if got := a.Get("protection").String(); got != "non-extractable" {
		t.Errorf("protection = %s", got)
	}
	text := js.Global().Get("JSON").Call("stringify", all).String()
	if strings.Contains(text, fixtureP256) {
		t.Error("keys() holds a private key")
	}
}

func decodeStamp(t *testing.T, header string) string {
	raw, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestStampIsUpstreamsForm(t *testing.T) {
	key, _, f := importKey(t, "P-256", fixtureP256)
	if f != nil {
		t.Fatal(f.code())
	}
	s := must(t, "signChallenge", newChallenge(), map[string]any{"key": key})
	want := `{"publicKey":"` + fixtureP256Public + `","scheme":"SIGNATURE_SCHEME_TK_API_P256","signature":"30`
	if got := decodeStamp(t, s.Get("signature").String()); !strings.HasPrefix(got, want) {
		t.Errorf("stamp = %s\nwant    %s…", got, want)
	}
}
