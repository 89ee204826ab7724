package main

import (
	"encoding/hex"
	"strings"
	"syscall/js"
	"testing"

	"gridsigner/signer"
)

// newKey makes a key as whoever uses the module without our loader does. The
// private half of a P-256 key is WebCrypto's: it takes three lines, and signed
// lists what it was asked to sign, for the tests.
func newKey(t *testing.T, curve string) js.Value {
	t.Helper()
	if curve == "secp256k1" {
		return resolve(t, "createKey", map[string]any{"curve": curve})
	}
	key, f := wait(t, eval(`async (algorithm) => {
		const { privateKey, publicKey } = await crypto.subtle.generateKey(algorithm, false, ["sign"])
		const [, ...xy] = new Uint8Array(await crypto.subtle.exportKey("raw", publicKey)) // 04 x y
		const sign = async (message) => (signed.push(message), new Uint8Array(await crypto.subtle.sign(algorithm, privateKey, message)))

		const signed = []
		const hex = (bytes) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("")
		return { curve: "P-256", publicKey: hex([2 + xy[63] % 2, ...xy.slice(0, 32)]), sign, signed }
	}`).Invoke(map[string]any{"name": "ECDSA", "namedCurve": "P-256", "hash": "SHA-256"}))
	if f != nil {
		t.Fatal(f.Get("message"))
	}
	return key
}

func TestSecp256k1Key(t *testing.T) {
	key := newKey(t, "secp256k1")
	if got := key.Get("curve").String(); got != "secp256k1" {
		t.Errorf("curve = %s", got)
	}
	if got := js.Global().Get("Object").Call("keys", key).Call("sort").Call("join").String(); got != "curve,id,publicKey" {
		t.Errorf("a key has %s", got)
	}
	public := key.Get("publicKey").String()
	for range 20 { // high bits and short integers turn up
		for _, byEither := range []any{key, key.Get("id")} {
			s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": byEither})
			verify(t, s.Get("signature").String(), public)
		}
	}
	if newKey(t, "secp256k1").Get("id").Equal(key.Get("id")) {
		t.Error("two keys have one id")
	}
	if !resolve(t, "removeKey", key.Get("id")).Bool() {
		t.Error("removeKey = false")
	}
	if resolve(t, "removeKey", key.Get("id")).Bool() {
		t.Error("removeKey again = true")
	}
	wantCode(t, signer.ErrKeyNotFound, "signChallenge", newChallenge(), map[string]any{"key": key})
}

// A P-256 key is the caller's, each time anew: the module remembers none, and
// has no private half to be asked for.
func TestP256Key(t *testing.T) {
	key := newKey(t, "P-256")
	for range 20 { // both halves of s, high bits, and short integers turn up
		s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key})
		verify(t, s.Get("signature").String(), key.Get("publicKey").String())
	}
	signed := key.Get("signed")
	if got := signed.Length(); got != 20 {
		t.Errorf("signed %d times, want 20", got)
	}
	if got := string(bytesOf(signed.Index(0))); got != payload {
		t.Errorf("signed %q, want the payload's exact bytes", got)
	}
	for _, name := range []string{"createKey", "importKey"} {
		wantCode(t, signer.ErrCurveUnsupported, name, map[string]any{"curve": "P-256", "privateKey": uint8Array.New(32)})
	}
	wantCode(t, signer.ErrArgumentInvalid, "signChallenge", newChallenge(), map[string]any{"key": map[string]any{"curve": "P-256", "publicKey": key.Get("publicKey")}})
	wantCode(t, signer.ErrKeyNotFound, "signChallenge", newChallenge(), map[string]any{"key": key.Get("publicKey")})
}

func TestP256KeyArguments(t *testing.T) {
	good := newKey(t, "P-256")
	public, sign := good.Get("publicKey").String(), good.Get("sign")
	for _, test := range []struct {
		name             string
		curve, publicKey any
		sign             any
		want             signer.Kind
	}{
		{"upper-case hex", "P-256", strings.ToUpper(public), sign, ""},
		{"no curve", nil, public, sign, signer.ErrArgumentInvalid},
		{"secp256k1 with sign", "secp256k1", public, sign, signer.ErrCurveUnsupported},
		{"P-384", "P-384", public, sign, signer.ErrCurveUnsupported},
		{"no public key", "P-256", nil, sign, signer.ErrArgumentInvalid},
		{"empty public key", "P-256", "", sign, signer.ErrKeyMalformed},
		{"a digit less", "P-256", public[1:], sign, signer.ErrKeyMalformed},
		{"a byte less", "P-256", public[2:], sign, signer.ErrKeyMalformed},
		{"a byte more", "P-256", public + "00", sign, signer.ErrKeyMalformed},
		{"a digit more", "P-256", public + "0", sign, signer.ErrKeyMalformed},
		{"a letter more", "P-256", public + "x", sign, signer.ErrKeyMalformed},
		{"no hex", "P-256", strings.Repeat("x", 66), sign, signer.ErrKeyMalformed},
		{"uncompressed", "P-256", "04" + strings.Repeat("11", 64), sign, signer.ErrKeyMalformed},
		{"another first byte", "P-256", "05" + public[2:], sign, signer.ErrKeyMalformed},
		{"sign is no function", "P-256", public, "x", signer.ErrArgumentInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := map[string]any{"curve": test.curve, "publicKey": test.publicKey, "sign": test.sign}
			opt := map[string]any{"key": key}
			if test.want != "" {
				wantCode(t, test.want, "signChallenge", newChallenge(), opt)
				return
			}
			s := resolve(t, "signChallenge", newChallenge(), opt)
			verify(t, s.Get("signature").String(), public)
		})
	}
}

// What sign gives is held to be r||s of the curve; what else goes wrong in there
// is told without a word of its text.
func TestSignThatFails(t *testing.T) {
	order := "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
	for _, test := range []struct {
		name, sign string
		want       signer.Kind
	}{
		{"throws", `() => { throw new Error("secret") }`, signer.ErrInternal},
		{"rejects", `async () => { throw new Error("secret") }`, signer.ErrInternal},
		{"rejects with nothing", `() => Promise.reject()`, signer.ErrInternal},
		{"rejects with a hostile object", `() => Promise.reject({ get name() { throw new Error("secret") } })`, signer.ErrInternal},
		{"returns nothing", `() => {}`, signer.ErrSignatureMalformed},
		{"returns text", `() => "secret"`, signer.ErrSignatureMalformed},
		{"returns DER", `() => new Uint8Array(70).fill(0x30)`, signer.ErrSignatureMalformed},
		{"returns 63 bytes", `() => new Uint8Array(63).fill(1)`, signer.ErrSignatureMalformed},
		{"returns zeroes", `() => new Uint8Array(64)`, signer.ErrSignatureMalformed},
		{"returns the order", `() => Uint8Array.from(Buffer.from("` + order + order + `", "hex"))`, signer.ErrSignatureMalformed},
		{"returns a hostile proxy", `() => new Proxy({}, { get() { throw new Error("secret") } })`, signer.ErrInternal},
		{"has a hostile then", `() => ({ get then() { throw new Error("secret") } })`, signer.ErrInternal},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := with(map[string]any{"curve": "P-256", "sign": eval(test.sign)}, "publicKey", newKey(t, "P-256").Get("publicKey"))
			f := wantCode(t, test.want, "signChallenge", newChallenge(), map[string]any{"key": key})
			if strings.Contains(f.Get("message").String(), "secret") {
				t.Errorf("message = %s", f.Get("message"))
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		key := map[string]any{"curve": "P-256", "sign": eval("() => " + never), "publicKey": newKey(t, "P-256").Get("publicKey")}
		wantCode(t, signer.ErrTimeout, "signChallenge", newChallenge(), map[string]any{"key": key, "timeoutMs": 20})
	})
	t.Run("an error of its own", func(t *testing.T) {
		own := eval(`Object.assign(new Error("m"), { name: "GridSignerError", code: "KEY_LOST", retryable: false })`)
		key := map[string]any{"curve": "P-256", "sign": eval("(own) => () => Promise.reject(own)").Invoke(own), "publicKey": newKey(t, "P-256").Get("publicKey")}
		if f := wantCode(t, signer.ErrKeyLost, "signChallenge", newChallenge(), map[string]any{"key": key}); !f.Equal(own) {
			t.Error("it is another error")
		}
	})
}

// importKey imports a scalar, and sees to it that the caller's bytes are gone.
func importKey(t *testing.T, scalar string) (js.Value, *failure) {
	t.Helper()
	bytes := toUint8Array(unhex(t, scalar))
	key, f := invoke(t, "importKey", map[string]any{"curve": "secp256k1", "privateKey": bytes})
	if left := hex.EncodeToString(bytesOf(bytes)); strings.Trim(left, "0") != "" {
		t.Error("the caller's bytes are not zeroed")
	}
	return key, f
}

func TestImportKey(t *testing.T) {
	var all []struct{ Name, Curve, PrivateKey, PublicKey string }
	readVectors(t, "sign.json", &all)
	for _, v := range all {
		if v.Curve != "secp256k1" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			key, f := importKey(t, v.PrivateKey)
			if f != nil {
				t.Fatal(f.code(), f.Get("message"))
			}
			if got := key.Get("publicKey").String(); got != v.PublicKey {
				t.Errorf("public key = %s, want %s", got, v.PublicKey)
			}
			s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key})
			verify(t, s.Get("signature").String(), v.PublicKey)
		})
	}
	order := "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"
	for _, bad := range []string{strings.Repeat("0", 64), order, strings.Repeat("f", 64), scalar[2:], scalar + "00", ""} {
		if _, f := importKey(t, bad); f == nil || f.code() != "KEY_MALFORMED" {
			t.Errorf("import of %q: %v", bad, f)
		}
	}
	for _, bad := range []any{
		nil, "00", 5, []any{1, 2}, eval("new Uint16Array(32)"), eval("new ArrayBuffer(32)"),
		eval("new Proxy(new Uint8Array(32), {getPrototypeOf() { throw 1 }})"),
		eval("Object.setPrototypeOf(new Uint8Array(32), new Proxy({}, {getPrototypeOf() { throw 1 }}))"),
	} {
		wantCode(t, signer.ErrArgumentInvalid, "importKey", map[string]any{"curve": "secp256k1", "privateKey": bad})
	}
	for name, value := range map[string]any{"timeoutMs": 0, "signal": "x", "curve": "P-384"} {
		refused := eval("new Uint8Array(32).fill(7)")
		if _, f := invoke(t, "importKey", with(map[string]any{"curve": "secp256k1", "privateKey": refused}, name, value)); f == nil {
			t.Errorf("%s: %v is taken", name, value)
		}
		if got := refused.Index(0).Int(); got != 0 {
			t.Errorf("%s: the bytes of a refused call are not zeroed", name)
		}
	}
}

// scalar is a private key for tests: the upstream stamper's public fixture.
const scalar = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c"

// What an array of the page's says of itself is not asked: an exception in
// there would leave the module broken. Nor do functions that the page has put
// in the place of the browser's decide what is erased.
func TestImportKeyReadsTheBytesThemselves(t *testing.T) {
	options := eval(`(() => {
		const privateKey = new Uint8Array(32).fill(7)
		for (const name of ["length", "fill", "subarray", "constructor", "buffer", Symbol.toStringTag])
			Object.defineProperty(privateKey, name, { get() { throw new Error("hostile") } })
		return { curve: "secp256k1", privateKey }
	})()`)
	restore := eval(`(() => {
		const { fill } = Uint8Array.prototype
		Uint8Array.prototype.fill = () => {}
		return () => { Uint8Array.prototype.fill = fill }
	})()`)
	key, f := invoke(t, "importKey", options)
	restore.Invoke()
	if f != nil {
		t.Fatal(f.code(), f.Get("message"))
	}
	s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key})
	verify(t, s.Get("signature").String(), key.Get("publicKey").String())
	if !eval("({ privateKey }) => [0, 31].every((i) => privateKey[i] === 0)").Invoke(options).Bool() {
		t.Error("the caller's bytes are not zeroed")
	}
}

func TestLendKey(t *testing.T) {
	key, f := importKey(t, scalar)
	if f != nil {
		t.Fatal(f.code())
	}
	var lent js.Value
	var got string
	encrypt := js.FuncOf(func(_ js.Value, args []js.Value) any {
		lent, got = args[0], hex.EncodeToString(bytesOf(args[0]))
		return js.Global().Get("Promise").Call("resolve", "ciphertext")
	})
	defer encrypt.Release()
	if v := resolve(t, "lendKey", key.Get("id"), encrypt); v.String() != "ciphertext" {
		t.Errorf("resolved to %v", v)
	}
	if got != scalar {
		t.Errorf("lent %s", got)
	}
	if left := hex.EncodeToString(bytesOf(lent)); left != strings.Repeat("00", 32) {
		t.Error("the lent bytes are not zeroed")
	}
	wantCode(t, signer.ErrInternal, "lendKey", key.Get("id"), eval("() => { throw 1 }"))
	wantCode(t, signer.ErrKeyNotFound, "lendKey", "00", encrypt)
	resolve(t, "removeKey", key.Get("id"))
	wantCode(t, signer.ErrKeyNotFound, "lendKey", key.Get("id"), encrypt)
}

// A page that never removes a key is stopped, and what it has is still good.
func TestTooManyKeys(t *testing.T) {
	var ids []js.Value
	for {
		key, f := invoke(t, "createKey", map[string]any{"curve": "secp256k1"})
		if f != nil {
			if f.code() != string(signer.ErrArgumentInvalid) {
				t.Errorf("code = %s", f.code())
			}
			break
		}
		if ids = append(ids, key.Get("id")); len(ids) > maxKeys {
			t.Fatal("there is no end to it")
		}
	}
	resolve(t, "signChallenge", newChallenge(), map[string]any{"key": ids[0]})
	for _, id := range ids {
		resolve(t, "removeKey", id)
	}
	newKey(t, "secp256k1")
}
