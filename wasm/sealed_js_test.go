package main

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"syscall/js"
	"testing"

	"gridsigner/signer"
)

type otpTargetVector struct {
	Name, Bundle, PrivateKey string
	Signers                  []string
	Fail                     signer.Kind
}

func (v otpTargetVector) options() map[string]any {
	options := map[string]any{"otpCode": "a1B2c3", "publicKey": compressedHex}
	if v.Signers != nil {
		options["otpSigners"] = anys(v.Signers)
	}
	return options
}

type exportVector struct {
	Name, Envelope, PrivateKey, PublicKey, OrganizationID, Mnemonic string
	Signers                                                         []string
	AllowUnsigned                                                   bool
	Fail                                                            signer.Kind
}

type sessionKeyVector struct {
	Name, Sealed, PrivateKey, PublicKey, Scalar string
	Fail                                        signer.Kind
}

// compressedHex is the public half of scalar.
const compressedHex = "02f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316"

func vectors[T any](t *testing.T, file string) (v []T) {
	t.Helper()
	readVectors(t, file, &v)
	if len(v) == 0 {
		t.Fatal("no vectors in " + file)
	}
	return v
}

// jsText is s as JavaScript has it: on its way from Go, a byte order mark is lost.
func jsText(s string) js.Value {
	return js.Global().Get("JSON").Call("parse", strconv.QuoteToASCII(s))
}

func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, s := range texts {
		all[i] = s
	}
	return all
}

// newECDHKey makes a key as the worker has one: agreed lists the buffers that it gave
// away.
func newECDHKey(t *testing.T, scalar, publicKey string) map[string]any {
	t.Helper()
	key, f := wait(t, eval(`async (scalar, point) => {
		const algorithm = { name: "ECDH", namedCurve: "P-256" }
		const der = "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420" + scalar + "a144034200" + point
		const key = await crypto.subtle.importKey("pkcs8", Buffer.from(der, "hex"), algorithm, false, ["deriveBits"])
		const agreed = []
		const deriveBits = async (peer) => {
			const bits = await crypto.subtle.deriveBits({ name: "ECDH", public: await crypto.subtle.importKey("raw", peer, algorithm, false, []) }, key, 256)
			agreed.push(bits)
			return bits
		}
		return { deriveBits, agreed }
	}`).Invoke(scalar, publicKey))
	if f != nil {
		t.Fatal(f.Get("message"))
	}
	return map[string]any{"publicKey": publicKey, "deriveBits": key.Get("deriveBits"), "agreed": key.Get("agreed")}
}

func (v exportVector) options(t *testing.T) map[string]any {
	options := newECDHKey(t, v.PrivateKey, v.PublicKey)
	options["organizationId"] = v.OrganizationID
	if v.Signers != nil {
		options["exportSigners"] = anys(v.Signers)
	}
	if v.AllowUnsigned {
		options["allowUnsigned"] = true
	}
	return options
}

func TestOTPTargetVectors(t *testing.T) {
	for _, v := range vectors[otpTargetVector](t, "otp_target.json") {
		t.Run(v.Name, func(t *testing.T) {
			if v.Fail != "" {
				wantCode(t, v.Fail, "checkOtpTarget", jsText(v.Bundle), v.options())
				return
			}
			if got := resolve(t, "checkOtpTarget", v.Bundle, v.options()); !got.IsUndefined() {
				t.Errorf("resolved to %v", got)
			}
			sealed := resolve(t, "sealOtp", v.Bundle, v.options()).String()
			if got, want := opened(t, v.PrivateKey, sealed), `{"otp_code":"a1B2c3","public_key":"`+compressedHex+`"}`; got != want {
				t.Errorf("sealed %s\nwant   %s", got, want)
			}
		})
	}
}

// opened is what the standard library opens of {encappedPublic, ciphertext}.
func opened(t *testing.T, scalar, sealed string) string {
	t.Helper()
	var bundle struct{ EncappedPublic, Ciphertext string }
	if err := json.Unmarshal([]byte(sealed), &bundle); err != nil {
		t.Fatal(err)
	}
	private, err := ecdh.P256().NewPrivateKey(unhex(t, scalar))
	if err != nil {
		t.Fatal(err)
	}
	key, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	enc := unhex(t, bundle.EncappedPublic)
	recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("turnkey_hpke"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := recipient.Open(append(enc, private.PublicKey().Bytes()...), unhex(t, bundle.Ciphertext))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSealOTPForAKeyOfTheModule(t *testing.T) {
	v := vectors[otpTargetVector](t, "otp_target.json")[0]
	key := newKey(t, "secp256k1").Get("publicKey").String()
	sealed := resolve(t, "sealOtp", v.Bundle, with(v.options(), "publicKey", key)).String()
	if got, want := opened(t, v.PrivateKey, sealed), `{"otp_code":"a1B2c3","public_key":"`+key+`"}`; got != want {
		t.Errorf("sealed %s\nwant   %s", got, want)
	}
}

func TestExportVectors(t *testing.T) {
	for _, v := range vectors[exportVector](t, "export.json") {
		t.Run(v.Name, func(t *testing.T) {
			options := v.options(t)
			if v.Fail != "" {
				wantCode(t, v.Fail, "openExport", v.Envelope, options)
			} else if got := resolve(t, "openExport", v.Envelope, options).String(); got != v.Mnemonic {
				t.Errorf("mnemonic = %q, want %q", got, v.Mnemonic)
			}
			wantErased(t, options["agreed"].(js.Value))
		})
	}
}

func TestSessionKeyVectors(t *testing.T) {
	for _, v := range vectors[sessionKeyVector](t, "session_key.json") {
		t.Run(v.Name, func(t *testing.T) {
			options := newECDHKey(t, v.PrivateKey, v.PublicKey)
			if v.Fail != "" {
				wantCode(t, v.Fail, "openSessionKey", v.Sealed, options)
			} else if got := resolve(t, "openSessionKey", v.Sealed, options); hex.EncodeToString(bytesOf(got)) != v.Scalar {
				t.Errorf("scalar = %x, want %s", bytesOf(got), v.Scalar)
			}
			wantErased(t, options["agreed"].(js.Value))
		})
	}
}

// wantErased fails the test unless every byte of every buffer is zero.
func wantErased(t *testing.T, buffers js.Value) {
	t.Helper()
	for i := range buffers.Length() {
		if b := bytesOf(buffers.Index(i)); len(b) > 0 && strings.Trim(hex.EncodeToString(b), "0") != "" {
			t.Errorf("a secret of %d bytes is left in JavaScript's memory", len(b))
		}
	}
}

// spyOnSubtle replaces crypto.subtle, until the test ends, by one that lists what
// secrets it was given and gave: keys, salts and texts, and what was derived or
// decrypted, but for a nonce. override holds functions to call instead.
func spyOnSubtle(t *testing.T, override string) (secrets js.Value) {
	t.Helper()
	undo := eval(`(override) => {
		const { subtle } = crypto, secrets = [], spy = Object.create(null)
		for (const name of ["generateKey", "importKey", "exportKey", "deriveBits", "encrypt", "decrypt", "verify"]) {
			spy[name] = async (...args) => {
				if (name === "importKey" && args[0] === "raw") secrets.push(args[1])
				if (args[0].salt) secrets.push(args[0].salt)
				if (name === "encrypt") secrets.push(args[2])
				const result = await (override[name] ?? subtle[name].bind(subtle))(...args)
				if (name === "deriveBits" && args[2] !== 96 || name === "decrypt") secrets.push(result)
				return result
			}
		}
		Object.defineProperty(crypto, "subtle", { value: spy, configurable: true })
		return { secrets, restore: () => delete crypto.subtle }
	}`).Invoke(eval(override))
	t.Cleanup(func() { undo.Call("restore") })
	return undo.Get("secrets")
}

// What was copied for WebCrypto, and what it gave, is overwritten.
func TestSecretsAreErased(t *testing.T) {
	target := vectors[otpTargetVector](t, "otp_target.json")[0]
	export := vectors[exportVector](t, "export.json")[0]
	sealed := vectors[sessionKeyVector](t, "session_key.json")[0]
	exportOptions, sealedOptions := export.options(t), newECDHKey(t, sealed.PrivateKey, sealed.PublicKey)
	secrets := spyOnSubtle(t, "({})")
	for _, call := range []struct {
		name, arg string
		options   map[string]any
		least     int
	}{
		{"sealOtp", target.Bundle, target.options(), 10},
		{"openExport", export.Envelope, exportOptions, 10},
		{"openSessionKey", sealed.Sealed, sealedOptions, 10},
	} {
		before := secrets.Length()
		resolve(t, call.name, call.arg, call.options)
		if got := secrets.Length() - before; got < call.least {
			t.Errorf("%s: %d secrets were seen, want %d at least", call.name, got, call.least)
		}
		for i := before; i < secrets.Length(); i++ {
			b := bytesOf(secrets.Index(i))
			if len(b) == 65 { // a public key that deriveBits of the test imports
				continue
			}
			if strings.Trim(hex.EncodeToString(b), "0") != "" {
				t.Errorf("%s: secret %d, of %d bytes, is left in JavaScript's memory", call.name, i-before, len(b))
			}
		}
	}
}

// A browser that fails at any step is told as such, and without its words.
func TestSubtleThatFails(t *testing.T) {
	target := vectors[otpTargetVector](t, "otp_target.json")[0]
	export := vectors[exportVector](t, "export.json")[0]
	options := export.options(t)
	for _, test := range []struct {
		override string
		seal     signer.Kind
		open     signer.Kind
	}{
		{"generateKey", signer.ErrInternal, ""},
		{"importKey", signer.ErrKeyMalformed, signer.ErrKeyMalformed}, // it looks as if the pinned key were none
		{"exportKey", signer.ErrInternal, signer.ErrInternal},
		{"deriveBits", signer.ErrInternal, signer.ErrInternal},
		{"encrypt", signer.ErrInternal, ""},
		{"decrypt", "", signer.ErrUnsealFailed},
		{"verify", signer.ErrInternal, signer.ErrInternal},
	} {
		t.Run(test.override, func(t *testing.T) {
			spyOnSubtle(t, `({ `+test.override+`: () => { throw new Error("secret") } })`)
			for name, want := range map[string]signer.Kind{"sealOtp": test.seal, "openExport": test.open} {
				arg, opt := target.Bundle, target.options()
				if name == "openExport" {
					arg, opt = export.Envelope, options
				}
				if want == "" {
					resolve(t, name, arg, opt)
				} else if f := wantCode(t, want, name, arg, opt); strings.Contains(f.Get("message").String(), "secret") {
					t.Errorf("message = %s", f.Get("message"))
				}
			}
		})
	}
	t.Run("missing", func(t *testing.T) {
		eval(`() => Object.defineProperty(crypto, "subtle", { value: undefined, configurable: true })`).Invoke()
		t.Cleanup(func() { eval(`() => delete crypto.subtle`).Invoke() })
		f := wantCode(t, signer.ErrLoadFailed, "checkOtpTarget", target.Bundle, target.options())
		if !strings.Contains(f.Get("message").String(), "secure context") {
			t.Errorf("message = %s", f.Get("message"))
		}
	})
}

// WebKit reads no compressed points: of a sealed session key it says so.
func TestEngineWithoutCompressedPoints(t *testing.T) {
	v := vectors[sessionKeyVector](t, "session_key.json")[0]
	options := newECDHKey(t, v.PrivateKey, v.PublicKey)
	spyOnSubtle(t, `(({ subtle }) => ({
		importKey(format, bytes, ...rest) {
			if (format === "spki" && bytes.length === 59) throw new DOMException("", "DataError")
			return subtle.importKey(format, bytes, ...rest)
		},
	}))(crypto)`)
	wantCode(t, signer.ErrSealedKeyUnsupported, "openSessionKey", v.Sealed, options)
}

func TestDeriveBitsThatFails(t *testing.T) {
	v := vectors[exportVector](t, "export.json")[0]
	options := v.options(t)
	for _, test := range []struct {
		name, deriveBits string
		want             signer.Kind
	}{
		{"throws", `() => { throw new Error("secret") }`, signer.ErrInternal},
		{"rejects", `async () => { throw new Error("secret") }`, signer.ErrInternal},
		{"rejects with nothing", `() => Promise.reject()`, signer.ErrInternal},
		{"returns nothing", `() => {}`, signer.ErrInternal},
		{"returns text", `() => "secret"`, signer.ErrInternal},
		{"returns a hostile proxy", `() => new Proxy({}, { get() { throw new Error("secret") } })`, signer.ErrInternal},
		{"returns 31 bytes", `() => new ArrayBuffer(31)`, signer.ErrInternal},
		{"returns 33 bytes", `async () => new ArrayBuffer(33)`, signer.ErrInternal},
		{"returns another secret", `async () => new ArrayBuffer(32)`, signer.ErrUnsealFailed},
		{"has an error of the worker's", `() => Promise.reject(Object.assign(new Error("m"), { name: "GridSignerError", code: "KEY_LOST", retryable: false }))`, signer.ErrKeyLost},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := wantCode(t, test.want, "openExport", v.Envelope, with(options, "deriveBits", eval(test.deriveBits)))
			if strings.Contains(f.Get("message").String(), "secret") {
				t.Errorf("message = %s", f.Get("message"))
			}
		})
	}
	t.Run("hangs", func(t *testing.T) {
		hanging := with(options, "deriveBits", eval("() => "+never))
		wantCode(t, signer.ErrTimeout, "openExport", v.Envelope, with(hanging, "timeoutMs", 20))
		wantCode(t, signer.ErrAborted, "openExport", v.Envelope, with(hanging, "signal", eval("AbortSignal.abort()")))
		aborter := js.Global().Get("AbortController").New()
		promise := start("openExport", v.Envelope, with(hanging, "signal", aborter.Get("signal")))
		aborter.Call("abort")
		if _, f := wait(t, promise); f == nil || f.code() != string(signer.ErrAborted) {
			t.Errorf("aborted: %v", f)
		}
	})
}

func TestSubtleThatHangs(t *testing.T) {
	v := vectors[otpTargetVector](t, "otp_target.json")[0]
	for _, step := range []string{"importKey", "verify", "exportKey", "generateKey", "deriveBits", "encrypt"} {
		t.Run(step, func(t *testing.T) {
			spyOnSubtle(t, `({ `+step+`: () => `+never+` })`)
			wantCode(t, signer.ErrTimeout, "sealOtp", v.Bundle, with(v.options(), "timeoutMs", 20))
		})
	}
}

func TestSealedArguments(t *testing.T) {
	target := vectors[otpTargetVector](t, "otp_target.json")[0]
	export := vectors[exportVector](t, "export.json")[0]
	sealed := vectors[sessionKeyVector](t, "session_key.json")[0]
	type option struct {
		name  string
		value any
	}
	hostile := eval(`new Proxy([], { get() { throw new Error("hostile") } })`)
	publicKeys := []option{
		{"publicKey", js.Undefined()}, {"publicKey", 4}, {"publicKey", ""}, {"publicKey", compressedHex},
		{"publicKey", export.PublicKey + "00"}, {"publicKey", "06" + export.PublicKey[2:]}, {"publicKey", export.PublicKey + "z"},
		{"deriveBits", js.Undefined()}, {"deriveBits", "text"},
	}
	for _, call := range []struct {
		name    string
		arg     string
		options map[string]any
		bad     []option
	}{
		{"sealOtp", target.Bundle, target.options(), []option{
			{"otpCode", js.Undefined()}, {"otpCode", 123456}, {"otpCode", ""}, {"otpCode", "12-456"}, {"otpSigners", "x"}, {"otpSigners", []any{1}}, {"otpSigners", hostile},
		}},
		{"openExport", export.Envelope, export.options(t), append(publicKeys, option{"organizationId", js.Undefined()}, option{"organizationId", ""},
			option{"allowUnsigned", 1}, option{"allowUnsigned", "true"}, option{"exportSigners", []any{nil}}, option{"exportSigners", hostile})},
		{"openSessionKey", sealed.Sealed, newECDHKey(t, sealed.PrivateKey, sealed.PublicKey), publicKeys},
	} {
		resolve(t, call.name, call.arg, call.options)
		for _, o := range call.bad {
			wantCode(t, signer.ErrArgumentInvalid, call.name, call.arg, with(call.options, o.name, o.value))
		}
		for _, bad := range []any{nil, 5, js.Undefined(), eval(`"\ud800"`), map[string]any{}} {
			wantCode(t, signer.ErrArgumentInvalid, call.name, bad, call.options)
		}
		wantCode(t, signer.ErrArgumentInvalid, call.name, call.arg)
	}
	for _, bad := range []any{js.Undefined(), "", "02", compressedHex + "zz", export.PublicKey, "04" + compressedHex[2:]} {
		_, f := invoke(t, "sealOtp", target.Bundle, with(target.options(), "publicKey", bad))
		if f == nil || f.code() != string(signer.ErrKeyMalformed) && f.code() != string(signer.ErrArgumentInvalid) {
			t.Errorf("publicKey = %v: %v", bad, f)
		}
	}
	// None is the default, and so is an empty list.
	for _, none := range []any{js.Undefined(), nil, []any{}} {
		resolve(t, "openExport", export.Envelope, with(export.options(t), "exportSigners", none))
		wantCode(t, signer.ErrEnclaveUntrusted, "checkOtpTarget", target.Bundle, map[string]any{"otpSigners": none})
	}
	wantCode(t, signer.ErrEnclaveUntrusted, "checkOtpTarget", target.Bundle)
}

// What a page has put on Object.prototype weakens no cipher and trusts no enclave.
func TestSealedOptionsAreNotInherited(t *testing.T) {
	target := vectors[otpTargetVector](t, "otp_target.json")[0]
	export := vectors[exportVector](t, "export.json")
	unsigned := export[4]
	if !unsigned.AllowUnsigned {
		t.Fatalf("%s is not unsigned", unsigned.Name)
	}
	options := unsigned.options(t)
	delete(options, "allowUnsigned")
	t.Cleanup(func() {
		eval(`() => { for (const name of Object.keys(Object.prototype)) delete Object.prototype[name] }`).Invoke()
	})
	// Once before, so that Node has loaded all that it loads when it is first used.
	resolve(t, "sealOtp", target.Bundle, target.options())
	eval(`(otpSigners) => Object.assign(Object.prototype, { otpSigners, exportSigners: otpSigners, allowUnsigned: true, tagLength: 32, additionalData: new Uint8Array(3) })`).Invoke(anys(target.Signers))
	sealed := resolve(t, "sealOtp", target.Bundle, target.options()).String()
	if got := opened(t, target.PrivateKey, sealed); !strings.Contains(got, "a1B2c3") {
		t.Errorf("sealed %s", got)
	}
	wantCode(t, signer.ErrEnclaveUntrusted, "checkOtpTarget", target.Bundle, map[string]any{})
	wantCode(t, signer.ErrEnclaveUntrusted, "openExport", unsigned.Envelope, options)
}
