package main

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

func TestSignChallenge(t *testing.T) {
	for _, curve := range curves {
		t.Run(curve, func(t *testing.T) {
			key := newKey(t, curve)
			s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key})
			verify(t, s.Get("signature").String(), key.Get("publicKey").String())
			headers := s.Get("headers")
			if !headers.Get("Grid-Wallet-Signature").Equal(s.Get("signature")) || headers.Get("Request-Id").String() != requestID {
				t.Error("headers are not what is to be sent")
			}
			for name, want := range map[string]string{"requestId": requestID, "format": "stamp", "intent": "revoke-session"} {
				if got := s.Get(name).String(); got != want {
					t.Errorf("%s = %s, want %s", name, got, want)
				}
			}
		})
	}
}

// The exact stamp of the first vector, from the signature in it.
func TestStampIsUpstreamsForm(t *testing.T) {
	var stamps []struct{ Name, Header, PublicKey, Payload string }
	readVectors(t, "stamp.json", &stamps)
	var signatures []struct{ Name, PublicKey, DER string }
	readVectors(t, "sign.json", &signatures)
	want := stamps[0]
	for _, v := range signatures {
		if v.Name != "rfc6979-p256-revocation" || want.Name != "p256-low-s" || want.PublicKey != v.PublicKey {
			continue
		}
		rs := unhex(t, v.DER[8:72]+v.DER[76:]) // neither has a byte of padding
		key := map[string]any{"curve": "P-256", "publicKey": v.PublicKey, "sign": eval("(rs) => () => rs").Invoke(toUint8Array(rs))}
		s := resolve(t, "signChallenge", challengeFor(want.Payload), map[string]any{"key": key})
		if got := s.Get("signature").String(); got != want.Header {
			t.Errorf("stamp = %s\nwant    %s", got, want.Header)
		}
		return
	}
	t.Fatal("the vectors are gone")
}

// The bytes of the first generation: standard base64 of the DER signature.
func TestOpaquePayload(t *testing.T) {
	for _, curve := range curves {
		t.Run(curve, func(t *testing.T) {
			key := newKey(t, curve)
			for _, opt := range []map[string]any{{}, {"format": "auto"}, {"format": "der"}, {"payloads": "all"}} {
				s := resolve(t, "signChallenge", challengeFor(opaque), with(opt, "key", key))
				if got := s.Get("format").String(); got != "der" {
					t.Errorf("%v: format = %s, want der", opt, got)
				}
				der, err := base64.StdEncoding.Strict().DecodeString(s.Get("signature").String())
				if err != nil || !verifies(t, curve, key.Get("publicKey").String(), opaque, der) {
					t.Errorf("%v: no signature of the text: %v", opt, err)
				}
			}
			for _, opt := range []map[string]any{{"format": "stamp"}, {"payloads": "activities"}, {"intent": "sign-in"}, {"intent": "send-payment"}} {
				wantCode(t, signer.ErrIntentMismatch, "signChallenge", challengeFor(opaque), with(opt, "key", key))
			}
			s := resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key, "payloads": "activities"})
			verify(t, s.Get("signature").String(), key.Get("publicKey").String())
			wantCode(t, signer.ErrArgumentInvalid, "signChallenge", newChallenge(), map[string]any{"key": key, "payloads": "opaque"})
		})
	}
}

// Every payload of the corpus that is none, and above all the two oracles: a
// text that would make the signature a JWT's, and one that would make it a
// Bitcoin transaction's.
func TestPayloadVectorsAreRefused(t *testing.T) {
	var all []struct{ Name, Payload, Fail string }
	readVectors(t, "payload.json", &all)
	oracles := map[string]bool{"jwt-signing-input": false, "bitcoin-sighash-preimage": false, "bitcoin-sighash-in-hex": false}
	p256, secp := newKey(t, "P-256"), newKey(t, "secp256k1")
	for _, v := range all {
		if v.Fail == "" {
			continue
		}
		want := signer.Kind(v.Fail)
		if v.Payload == "" {
			want = signer.ErrChallengeMalformed
		}
		challenge := with(newChallenge(), "payloadToSign", exactly(t, v.Payload))
		for _, key := range []js.Value{p256, secp} {
			for _, format := range []string{"auto", "der"} {
				for _, intent := range []string{"revoke-session", "sign-in"} {
					_, f := invoke(t, "signChallenge", challenge, map[string]any{"key": key, "format": format, "intent": intent})
					if f == nil || f.code() != string(want) {
						t.Errorf("%s, as %s for %s: %v, want %s", v.Name, format, intent, f, want)
					}
				}
			}
		}
		oracles[v.Name] = true
	}
	for name, seen := range oracles {
		if !seen {
			t.Errorf("no vector of the name %s", name)
		}
	}
	if got := p256.Get("signed").Length(); got != 0 {
		t.Errorf("signed %d of them", got)
	}
}

// exactly converts a text that may begin with a byte-order mark, which
// wasm_exec.js drops.
func exactly(t *testing.T, s string) js.Value {
	quoted, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return js.Global().Get("JSON").Call("parse", string(quoted))
}

// Every intent reaches the signer with what was submitted for it. The payloads
// of the accepting vectors are signed, and those of the others are not.
func TestIntentVectors(t *testing.T) {
	var all []struct {
		Name, PublicKey, Payload, Fail string
		Intent                         map[string]any
	}
	readVectors(t, "intent.json", &all)
	signed := js.Global().Get("Array").New()
	sign := eval("(signed) => (message) => (signed.push(1), new Uint8Array(64).fill(1))").Invoke(signed)
	accepted := 0
	for _, v := range all {
		opt := map[string]any{"key": map[string]any{"curve": "P-256", "publicKey": v.PublicKey, "sign": sign}}
		if v.Intent != nil {
			opt["intent"] = v.Intent
		}
		if v.Fail != "" {
			wantCode(t, signer.Kind(v.Fail), "signChallenge", challengeFor(v.Payload), opt)
			continue
		}
		accepted++
		if _, f := invoke(t, "signChallenge", challengeFor(v.Payload), opt); f != nil {
			t.Errorf("%s: %s %s", v.Name, f.code(), f.Get("message"))
		}
	}
	if got := signed.Length(); got != accepted {
		t.Errorf("signed %d times, want %d", got, accepted)
	}
}

func TestSignChallengeRefuses(t *testing.T) {
	key := newKey(t, "secp256k1")
	good := newChallenge()
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
		{"payload is a number", with(good, "payloadToSign", 1), opt, signer.ErrArgumentInvalid},
		{"payload is a String object", with(good, "payloadToSign", eval("new String('x')")), opt, signer.ErrArgumentInvalid},
		{"payload of 10 MB", with(good, "payloadToSign", strings.Repeat("x", 10<<20)), opt, signer.ErrArgumentInvalid},
		{"lone surrogate", with(good, "payloadToSign", eval(`"a\ud800"`)), opt, signer.ErrArgumentInvalid},
		{"expired", with(good, "expiresAt", "2020-01-01T00:00:00Z"), opt, signer.ErrChallengeExpired},
		{"expiry is no date", with(good, "expiresAt", "tomorrow"), opt, signer.ErrChallengeMalformed},
		{"request id", with(good, "requestId", "x\r\ny"), opt, signer.ErrChallengeMalformed},
		{"payment", challengeFor(payment), opt, signer.ErrIntentMismatch},
		{"export", challengeFor(strings.Replace(payload, "DELETE_API_KEYS", "EXPORT_WALLET", 1)), opt, signer.ErrIntentMismatch},
		{"duplicate key", challengeFor(strings.Replace(payload, `"type"`, `"type":"","type"`, 1)), opt, signer.ErrPayloadMalformed},
		{"getter that throws", eval(`{get payloadToSign() { throw new Error("boom") }}`), opt, signer.ErrArgumentInvalid},
		{"options with a getter that throws", good, eval(`{get key() { throw 1 }}`), signer.ErrArgumentInvalid},
		{"signal that throws", good, with(opt, "signal", eval(`{addEventListener() { throw 1 }}`)), signer.ErrArgumentInvalid},
		{"signal whose second look throws", good, with(opt, "signal", eval(`(() => {
			let looks = 0
			return { get addEventListener() { if (looks++) throw 1; return () => {} } }
		})()`)), signer.ErrArgumentInvalid},
		{"clock with a getter that throws", good, with(opt, "clock", eval(`{get now() { throw 1 }}`)), signer.ErrInternal},
		{"clock is a number", good, with(opt, "clock", 5), signer.ErrArgumentInvalid},
		{"key with a getter that throws", good, map[string]any{"key": eval(`{get id() { throw 1 }}`)}, signer.ErrArgumentInvalid},
		{"key whose sign throws when it is read", good, map[string]any{"key": eval(`{get sign() { throw 1 }}`)}, signer.ErrArgumentInvalid},
		{"revoked proxy", eval(`(() => { const p = Proxy.revocable({}, {}); p.revoke(); return p.proxy })()`), opt, signer.ErrArgumentInvalid},
		{"options are a string", good, "x", signer.ErrArgumentInvalid},
		{"options are null", good, nil, signer.ErrArgumentInvalid},
		{"no key", good, map[string]any{}, signer.ErrArgumentInvalid},
		{"key is null", good, map[string]any{"key": nil}, signer.ErrArgumentInvalid},
		{"unknown key", good, map[string]any{"key": "x"}, signer.ErrKeyNotFound},
		{"__proto__ as a key", good, map[string]any{"key": "__proto__"}, signer.ErrKeyNotFound},
		{"unknown format", good, with(opt, "format", "raw"), signer.ErrArgumentInvalid},
		{"unknown intent", good, with(opt, "intent", "x"), signer.ErrArgumentInvalid},
		{"intent is a number", good, with(opt, "intent", 5), signer.ErrArgumentInvalid},
		{"organization is a number", good, with(opt, "organizationId", 5), signer.ErrArgumentInvalid},
		{"allow is a text", good, with(opt, "allow", "x"), signer.ErrArgumentInvalid},
		{"signal is a string", good, with(opt, "signal", "x"), signer.ErrArgumentInvalid},
		{"signal is not one", good, with(opt, "signal", map[string]any{}), signer.ErrArgumentInvalid},
		{"timeout is NaN", good, with(opt, "timeoutMs", eval("NaN")), signer.ErrArgumentInvalid},
		{"timeout is 0", good, with(opt, "timeoutMs", 0), signer.ErrArgumentInvalid},
		{"timeout of more than a day", good, with(opt, "timeoutMs", 86400001), signer.ErrArgumentInvalid},
		{"aborted before", good, with(opt, "signal", eval("AbortSignal.abort()")), signer.ErrAborted},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := wantCode(t, test.want, "signChallenge", test.c, test.opt)
			if strings.Contains(f.Get("message").String(), "key_sim") {
				t.Errorf("message %q quotes the payload", f.Get("message"))
			}
			// The module is alive.
			s := resolve(t, "signChallenge", good, opt)
			verify(t, s.Get("signature").String(), key.Get("publicKey").String())
		})
	}
}

// A getter that changes its mind is read once: what was checked is what is signed.
func TestPropertiesAreReadOnce(t *testing.T) {
	key := newKey(t, "P-256")
	tricky := eval(`(values) => {
		const reads = {}
		const object = { reads }
		for (const name of Object.keys(values)) {
			reads[name] = 0
			Object.defineProperty(object, name, { enumerable: true, get: () => (reads[name]++, values[name]) })
		}
		return object
	}`)
	k := tricky.Invoke(map[string]any{"curve": "P-256", "publicKey": key.Get("publicKey"), "sign": key.Get("sign")})
	c := tricky.Invoke(newChallenge())
	o := tricky.Invoke(map[string]any{
		"key": k, "intent": "revoke-session", "format": "stamp", "payloads": "all", "organizationId": "org_sim", "timeoutMs": 9999,
		"allow": eval("() => {}"), "signal": eval("new AbortController().signal"), "clock": eval("({ now: Date.now, learn() {} })"),
	})
	resolve(t, "signChallenge", c, o)
	for _, object := range []js.Value{c, o, k} {
		reads := object.Get("reads")
		names := js.Global().Get("Object").Call("keys", reads)
		for i := range names.Length() {
			if got := reads.Get(names.Index(i).String()).Int(); got != 1 {
				t.Errorf("%s was read %d times, want 1", names.Index(i), got)
			}
		}
	}
}

// A signal that lets go of nobody ends a call as any other does.
func TestSignalThatKeepsItsListeners(t *testing.T) {
	key := newKey(t, "secp256k1")
	signal := eval(`{ aborted: false, addEventListener() {}, get removeEventListener() { throw 1 } }`)
	for range 3 {
		resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key, "signal": signal})
	}
}

// The organization is the caller's to know: the module remembers none.
func TestOrganization(t *testing.T) {
	for _, curve := range curves {
		key := newKey(t, curve)
		for _, organization := range []any{"org_sim", nil, "org_sim"} {
			resolve(t, "signChallenge", newChallenge(), map[string]any{"key": key, "organizationId": organization})
		}
		wantCode(t, signer.ErrOrganizationMismatch, "signChallenge", newChallenge(), map[string]any{"key": key, "organizationId": "org_other"})
		other := challengeFor(strings.Replace(payload, "org_sim", "org_other", 1))
		wantCode(t, signer.ErrOrganizationMismatch, "signChallenge", other, map[string]any{"key": key, "organizationId": "org_sim"})
		resolve(t, "signChallenge", other, map[string]any{"key": key})
		if curve == "P-256" && key.Get("signed").Length() != 4 {
			t.Errorf("signed %d times, want 4", key.Get("signed").Length())
		}
	}
}

// allow has the last word, after every check of the module's. Its refusal comes
// back as the same object if it is an error of the loader's, else it is fixed
// words; and nothing is signed.
func TestAllow(t *testing.T) {
	key := newKey(t, "P-256")
	signed := func() int { return key.Get("signed").Length() }
	asked := 0
	allow := func(answer string, args ...any) js.Value {
		ask := js.FuncOf(func(js.Value, []js.Value) any {
			if asked++; signed() != 0 {
				t.Error("it is asked too late")
			}
			return nil
		})
		t.Cleanup(ask.Release)
		return eval("(ask, refusal) => () => { ask(); return " + answer + " }").Invoke(append([]any{ask}, args...)...)
	}
	sign := func(c map[string]any, allow js.Value) (js.Value, *failure) {
		asked = 0
		return invoke(t, "signChallenge", c, map[string]any{"key": key, "allow": allow, "organizationId": "org_sim"})
	}

	own := eval(`Object.assign(new Error("m"), { name: "GridSignerError", code: "KEY_LOST", retryable: false })`)
	for _, answer := range []string{"Promise.reject(refusal)", "(() => { throw refusal })()"} {
		_, f := sign(newChallenge(), allow(answer, own))
		if f == nil || !f.Equal(own) || asked != 1 || signed() != 0 {
			t.Errorf("refused by %s: %v, asked %d times, signed %d times", answer, f, asked, signed())
		}
		if !own.Get("requestId").IsUndefined() {
			t.Error("the refusal was written to")
		}
		_, f = sign(newChallenge(), allow(answer, eval(`new TypeError("secret")`)))
		if f == nil || f.code() != string(signer.ErrInternal) || strings.Contains(f.Get("message").String(), "secret") || signed() != 0 {
			t.Errorf("failed in %s: %v, signed %d times", answer, f, signed())
		}
	}
	_, f := sign(newChallenge(), allow("Promise.reject()"))
	if f == nil || f.code() != string(signer.ErrInternal) || signed() != 0 {
		t.Errorf("refused with nothing: %v", f)
	}

	for _, c := range []map[string]any{
		challengeFor(payment), challengeFor("sign me"), with(newChallenge(), "expiresAt", "2020-01-01T00:00:00Z"),
		challengeFor(strings.Replace(payload, "org_sim", "org_other", 1)),
	} {
		if _, f := sign(c, allow("undefined")); f == nil || asked != 0 {
			t.Errorf("asked %d times about what is refused anyway", asked)
		}
	}
	s, f := sign(newChallenge(), allow("Promise.resolve()"))
	if f != nil || asked != 1 || signed() != 1 {
		t.Fatalf("allowed: %v, asked %d times, signed %d times", f, asked, signed())
	}
	verify(t, s.Get("signature").String(), key.Get("publicKey").String())

	wantCode(t, signer.ErrTimeout, "signChallenge", newChallenge(), map[string]any{"key": key, "allow": eval("() => " + never), "timeoutMs": 20})
	if signed() != 1 {
		t.Error("what nobody allowed was signed")
	}
}

// A key that goes while it is waited for signs no more.
func TestKeyRemovedDuringTheCall(t *testing.T) {
	key := newKey(t, "secp256k1")
	allow := eval(`(id) => () => gridsigner.removeKey(id)`).Invoke(key.Get("id"))
	wantCode(t, signer.ErrKeyNotFound, "signChallenge", newChallenge(), map[string]any{"key": key, "allow": allow})
}

// The clock that judges is the one that is handed in, in both directions.
func TestClockOption(t *testing.T) {
	key := newKey(t, "secp256k1")
	at := func(offset time.Duration) map[string]any {
		ms := time.Now().Add(offset).UnixMilli()
		return map[string]any{"key": key, "clock": eval("ms => ({ now: () => ms, learn() {} })").Invoke(ms)}
	}
	wantCode(t, signer.ErrChallengeExpired, "signChallenge", newChallenge(), at(time.Hour))
	old := with(newChallenge(), "expiresAt", time.Now().Add(-30*time.Minute).UTC().Format(time.RFC3339))
	resolve(t, "signChallenge", old, at(-time.Hour))
}
