package gridsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSignInByCode signs in through both legs, with each type of credential and
// form of key, by the challenge's bundle and by that of the addition.
func TestSignInByCode(t *testing.T) {
	compressed := func(k key) string { return k.public }
	for _, test := range []struct {
		name   string
		newKey func(testing.TB) key
		public func(key) string
	}{
		{"P256", newP256, compressed},
		{"P256-uncompressed", newP256, func(k key) string { return k.uncompressed(t) }},
		{"P256-in-upper-case", newP256, func(k key) string { return strings.ToUpper(k.public) }},
		{"secp256k1", newK256, compressed},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, target := withOTP(t, Config{})
			k := test.newKey(t)
			w.clock.advance(time.Second)
			started := w.signed(k, "POST", verifyPath(seedEmailCredentialID), w.sealedBody(target, w.lastCode(), test.public(k)))
			want := `{"id":"` + started.text("id") + `","accountId":"` + seedAccountID + `","type":"EMAIL_OTP","nickname":"ada@example.com",` +
				`"createdAt":"2026-08-22T10:00:01Z","updatedAt":"2026-08-22T10:00:01Z","expiresAt":"2026-08-22T10:15:01Z"}`
			if started.status != 200 || string(started.raw) != want || !isID("Session", started.text("id")) {
				t.Errorf("got %d %s, want %s", started.status, started.raw, want)
			}
			if got := w.everything(); !strings.Contains(got, want) {
				t.Errorf("listed are %s", got)
			}
			w.signed(k, "DELETE", sessionPath(started.text("id")), "").want(t, 204, "")
		})
	}
	t.Run("as-added", func(t *testing.T) {
		for _, kind := range []string{"EMAIL_OTP", "SMS_OTP"} {
			w, k1, k2 := newWorld(t, Config{}), newP256(t), newP256(t)
			w.signIn(credential1, k1)
			added := w.signed(k1, "POST", addPath, otpBody(kind))
			sealed := sealing{}.sealTo(t, targetKey(t, added.text("otpEncryptionTargetBundle")), otpContent(w.lastCode(), k2.public))
			w.signed(k2, "POST", verifyPath(added.text("id")), otpVerifyBody(t, kind, sealed)).want(t, 200, "")
		}
	})
}

// TestVerificationToken reads the token as Grid's example and Turnkey's have it,
// and verifies it by the key that a client pins.
func TestVerificationToken(t *testing.T) {
	w, target := withOTP(t, Config{})
	k := newP256(t)
	body := w.sealedBody(target, w.lastCode(), k.uncompressed(t))
	a := w.send("POST", verifyPath(seedEmailCredentialID), body)
	a.want(t, 202, "")
	if len(a.body) != 4 || a.text("type") != "EMAIL_OTP" || a.text("expiresAt") != "2026-08-22T10:05:00Z" || !isID("Request", a.text("requestId")) {
		t.Errorf("challenge = %s", a.raw)
	}
	parts := strings.Split(a.text("payloadToSign"), ".")
	if len(parts) != 3 {
		t.Fatalf("payloadToSign = %s", a.text("payloadToSign"))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(decoded[0]); got != `{"alg":"ES256","typ":"JWT","kid":"turnkey"}` {
		t.Errorf("header = %s", got)
	}
	want := regexp.MustCompile(`^\{"contact":"ada@example.com","exp":1787396400,"iat":1787392800,"organization_id":"org_sim",` +
		`"public_key":"` + k.public + `","sub":"[0-9a-f-]{36}","verification_type":"OTP_TYPE_EMAIL"\}$`)
	if !want.Match(decoded[1]) {
		t.Errorf("claims = %s", decoded[1])
	}
	signer, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, w.sim.Seed().OTPSigner))
	if err != nil || len(decoded[2]) != 64 {
		t.Fatalf("a signature of %d bytes, %v", len(decoded[2]), err)
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(decoded[2][:32]), new(big.Int).SetBytes(decoded[2][32:])
	if !ecdsa.Verify(signer, digest[:], r, s) {
		t.Error("the token is not signed by the OTP signer")
	}

	another := w.send("POST", verifyPath(seedEmailCredentialID), body)
	if another.status != 202 || another.text("payloadToSign") == a.text("payloadToSign") {
		t.Errorf("the first leg again: %d %s", another.status, another.raw)
	}
}

// TestAskForCode goes through what asks for a code.
func TestAskForCode(t *testing.T) {
	w, first := withOTP(t, Config{})
	path := challengePath(seedEmailCredentialID)
	codes, targets := map[string]bool{w.lastCode(): true}, map[string]bool{first: true}
	w.clock.advance(time.Second)
	for _, body := range []string{"", "{}", refreshBody(newP256(t).public), `{"clientPublicKey":1}`} {
		a := w.send("POST", path, body)
		a.want(t, 200, "")
		want := `{"id":"` + seedEmailCredentialID + `","accountId":"` + seedAccountID + `","type":"EMAIL_OTP","nickname":"ada@example.com",` +
			`"createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:01Z","otpEncryptionTargetBundle":`
		if !strings.HasPrefix(string(a.raw), want) || len(a.body) != 7 {
			t.Errorf("%q: got %s, want %s", body, a.raw, want)
		}
		codes[w.lastCode()], targets[a.text("otpEncryptionTargetBundle")] = true, true
	}
	if len(targets) != 5 || len(codes) < 4 { // two of five may be equal, once in a hundred thousand times
		t.Errorf("five times %d targets, %d codes", len(targets), len(codes))
	}
	for code := range codes {
		if !regexp.MustCompile(`^[0-9]{6}$`).MatchString(code) || code == magicCode {
			t.Errorf("the code %q", code)
		}
	}
	if got := w.everything(); !strings.Contains(got, `"updatedAt":"2026-08-22T10:00:01Z"}`) {
		t.Errorf("listed are %s", got)
	}
	w.send("POST", path, "[]").want(t, 400, "INVALID_INPUT")
	w.send("POST", path, "{}", "Content-Type", "text/plain").want(t, 400, "INVALID_INPUT")
	w.send("POST", challengePath(credential1), "{}").want(t, 400, "INVALID_INPUT")
	w.send("POST", challengePath("AuthMethod:1"), "").want(t, 400, "INVALID_INPUT")
	w.send("POST", challengePath("AuthMethod:00000000-0000-0000-0000-000000000000"), "").want(t, 404, "REFERENCE_NOT_FOUND")
}

// TestCodeRefusals goes through what leg 1 may look like.
func TestCodeRefusals(t *testing.T) {
	k := newP256(t)
	seal := func(how func(w *world, target string) string) func(*world, string) string {
		return func(w *world, target string) string {
			return otpVerifyBody(w.t, "EMAIL_OTP", sealing{}.sealTo(w.t, targetKey(w.t, target), how(w, target)))
		}
	}
	sealed := func(how sealing) func(*world, string) string {
		return func(w *world, target string) string {
			return otpVerifyBody(w.t, "EMAIL_OTP", how.sealTo(w.t, targetKey(w.t, target), otpContent(w.lastCode(), k.public)))
		}
	}
	good := seal(func(w *world, _ string) string { return otpContent(w.lastCode(), k.public) })
	withKey := func(public string) func(*world, string) string {
		return seal(func(w *world, _ string) string { return otpContent(w.lastCode(), public) })
	}
	// changed is a good bundle with something in its text replaced.
	changed := func(pattern, with string) func(*world, string) string {
		return func(w *world, target string) string {
			bundle := sealing{}.sealTo(w.t, targetKey(w.t, target), otpContent(w.lastCode(), k.public))
			return otpVerifyBody(w.t, "EMAIL_OTP", regexp.MustCompile(pattern).ReplaceAllString(bundle, with))
		}
	}
	onlyK256 := newKeyOn(t, newK256, p256, false).public
	tests := []struct {
		name   string
		cfg    Config
		status int
		reason reason
		body   func(w *world, target string) string
	}{
		{"good", Config{}, 202, "", good},
		{"one-nanosecond-before-it-lapses", Config{}, 202, "", func(w *world, target string) string {
			w.clock.advance(300*time.Second - 1)
			return good(w, target)
		}},
		{"lapsed", Config{}, 401, otpLapsed, func(w *world, target string) string {
			w.clock.advance(300 * time.Second)
			return good(w, target)
		}},
		{"lapsed-by-its-own-time", Config{OTPTTL: time.Second}, 401, otpLapsed, func(w *world, target string) string {
			w.clock.advance(time.Second)
			return good(w, target)
		}},
		{"a-later-one-was-sent", Config{}, 401, otpSuperseded, func(w *world, target string) string {
			body := good(w, target)
			w.askForCode(seedEmailCredentialID)
			return body
		}},
		{"the-new-code-for-the-earlier-target", Config{}, 401, otpSuperseded, func(w *world, target string) string {
			w.askForCode(seedEmailCredentialID)
			return good(w, target)
		}},
		{"forgotten-target", Config{}, 401, otpUndecryptable, func(w *world, target string) string {
			body := good(w, target)
			for range maxIssuances {
				w.askForCode(seedEmailCredentialID)
			}
			return body
		}},
		{"wrong", Config{}, 401, otpWrong, seal(func(w *world, _ string) string { return otpContent(another(w.lastCode()), k.public) })},
		{"code-with-a-space", Config{}, 401, otpWrong, seal(func(w *world, _ string) string { return otpContent(w.lastCode()+" ", k.public) })},
		{"empty", Config{}, 401, otpWrong, seal(func(*world, string) string { return otpContent("", k.public) })},
		{"magic", Config{AllowMagic: true}, 202, "", seal(func(*world, string) string { return otpContent("000000", k.public) })},
		{"magic-off", Config{}, 401, otpWrong, seal(func(*world, string) string { return otpContent("000000", k.public) })},

		{"more-in-the-content", Config{}, 202, "", seal(func(w *world, _ string) string {
			return `{ "later": 1, ` + otpContent(w.lastCode(), k.public)[1:]
		})},
		{"code-a-number", Config{}, 400, otpContentMalformed, seal(func(w *world, _ string) string {
			return strings.Replace(otpContent(w.lastCode(), k.public), `"`+w.lastCode()+`"`, "1", 1)
		})},
		{"camel-case", Config{}, 400, otpContentMalformed, seal(func(w *world, _ string) string {
			return strings.Replace(otpContent(w.lastCode(), k.public), "public_key", "publicKey", 1)
		})},
		{"content-no-json", Config{}, 400, otpContentMalformed, seal(func(w *world, _ string) string { return w.lastCode() })},
		{"key-malformed", Config{}, 400, otpKeyInvalid, withKey(k.public[2:])},
		{"key-off-curve", Config{}, 400, otpKeyInvalid, withKey("02" + strings.Repeat("ff", 32))},
		{"secp256k1", Config{}, 202, "", withKey(onlyK256)},
		{"secp256k1-when-P256Only", Config{P256Only: true}, 400, otpKeyInvalid, withKey(onlyK256)},

		{"sealed-to-another", Config{}, 401, otpUndecryptable, func(w *world, _ string) string {
			return otpVerifyBody(w.t, "EMAIL_OTP", sealing{}.sealTo(w.t, newECDH(w.t).PublicKey(), otpContent(w.lastCode(), k.public)))
		}},
		{"other-info", Config{}, 401, otpUndecryptable, sealed(sealing{info: "turnkey"})},
		{"no-associated-data", Config{}, 401, otpUndecryptable, sealed(sealing{aad: []byte{}})},
		{"no-ciphertext", Config{}, 401, otpUndecryptable, changed(`"ciphertext":"[0-9a-f]+"`, `"ciphertext":""`)},
		{"upper-case-hex", Config{}, 202, "", func(w *world, target string) string {
			body := good(w, target)
			for _, hex := range regexp.MustCompile(`[0-9a-f]{16,}`).FindAllString(body, -1) {
				body = strings.Replace(body, hex, strings.ToUpper(hex), 1)
			}
			return body
		}},
		{"bundle-no-json", Config{}, 400, otpBundleMalformed, changed(`^\{`, "")},
		{"bundle-empty", Config{}, 400, otpBundleMalformed, changed(`.+`, "")},
		{"bundle-encoded-twice", Config{}, 400, otpBundleMalformed, func(w *world, target string) string {
			bundle := sealing{}.sealTo(w.t, targetKey(w.t, target), otpContent(w.lastCode(), k.public))
			again, _ := json.Marshal(bundle)
			return otpVerifyBody(w.t, "EMAIL_OTP", string(again))
		}},
		{"bundle-in-quotes", Config{}, 400, otpBundleMalformed, changed(`^(.*)$`, "'$1'")},
		{"bundle-of-another-shape", Config{}, 400, otpBundleMalformed, changed("encappedPublic", "encapped")},
		{"key-no-hex", Config{}, 400, otpBundleNotHex, changed(`"04`, `"0x`)},
		{"key-too-short", Config{}, 400, otpBundleNotHex, changed(`"04..`, `"04`)},
		{"ciphertext-of-odd-length", Config{}, 400, otpBundleNotHex, changed(`"ciphertext":"`, `"ciphertext":"0`)},
		{"key-compressed-and-padded", Config{}, 400, otpBundleOffCurve, changed(`"04`, `"02`)},
		{"key-off-the-curve", Config{}, 400, otpBundleOffCurve, changed(`"04[0-9a-f]{128}"`, `"04`+strings.Repeat("01", 64)+`"`)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, target := withOTP(t, test.cfg)
			a := w.send("POST", verifyPath(seedEmailCredentialID), test.body(w, target))
			if a.status != test.status || a.reason() != test.reason {
				t.Errorf("got %d %s, want %d %q", a.status, a.raw, test.status, test.reason)
			}
		})
	}
	t.Run("none-sent", func(t *testing.T) {
		w := newWorld(t, Config{SeedEmailOTP: true})
		body := otpVerifyBody(t, "EMAIL_OTP", sealing{}.sealTo(t, newECDH(t).PublicKey(), otpContent("123456", k.public)))
		if a := w.send("POST", verifyPath(seedEmailCredentialID), body); a.status != 401 || a.reason() != otpNotSent {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
	for _, reason := range []reason{otpNotSent, otpLapsed, otpUsed, otpTriedTooOften, otpSuperseded} {
		if !strings.HasPrefix(string(reason), "No pending OTP for this credential") {
			t.Errorf("Grid says otherwise than %q", reason)
		}
	}
}

// another is a code that is not this one.
func another(code string) string {
	if code == "123456" {
		return "654321"
	}
	return "123456"
}

// TestWrongCodes tests that three wrong tries use a code up, for whoever holds a
// challenge of it too, and that a new one starts again.
func TestWrongCodes(t *testing.T) {
	w, target := withOTP(t, Config{})
	k, path := newP256(t), verifyPath(seedEmailCredentialID)
	good, wrong := w.sealedBody(target, w.lastCode(), k.public), w.sealedBody(target, another(w.lastCode()), k.public)
	payload, id := w.leg1("POST", path, good)
	leg2 := func() answer {
		return w.send("POST", path, good, headerSignature, k.stamp(payload), headerRequestID, id)
	}
	for i := range maxWrongCodes {
		if i > 0 {
			w.send("POST", path, good).want(t, 202, "")
		}
		if a := w.send("POST", path, wrong); a.reason() != otpWrong {
			t.Errorf("try %d: %d %s", i, a.status, a.raw)
		}
	}
	for _, a := range []answer{w.send("POST", path, wrong), w.send("POST", path, good), leg2()} {
		if a.status != 401 || a.reason() != otpTriedTooOften {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	}
	target = w.askForCode(seedEmailCredentialID)
	w.signed(k, "POST", path, w.sealedBody(target, w.lastCode(), k.public)).want(t, 200, "")
}

// TestCodeIsUsedOnce tests when a code is used up: by a second leg, and by no
// first.
func TestCodeIsUsedOnce(t *testing.T) {
	w, target := withOTP(t, Config{})
	k, path := newP256(t), verifyPath(seedEmailCredentialID)
	body := w.sealedBody(target, w.lastCode(), k.public)
	w.leg1("POST", path, body)
	payload, id := w.leg1("POST", path, body)
	w.clock.advance(300*time.Second - 1)
	late, lateID := w.leg1("POST", path, body)
	leg2 := func(k key, payload, id, body string) answer {
		return w.send("POST", path, body, headerSignature, k.stamp(payload), headerRequestID, id)
	}
	w.clock.advance(1) // the first challenges are over, and so is the code; not the last challenge
	if a := leg2(k, payload, id, body); a.reason() != challengeExpired {
		t.Errorf("a challenge of before: %d %s", a.status, a.raw)
	}
	if a := leg2(newP256(t), late, lateID, body); a.reason() != signerNotEligible {
		t.Errorf("by another key: %d %s", a.status, a.raw)
	}
	for name, other := range map[string]string{
		"sealed-again": w.sealedBody(target, w.lastCode(), k.public),
		"wrong-code":   w.sealedBody(target, another(w.lastCode()), k.public),
		"another-key":  w.sealedBody(target, w.lastCode(), newP256(t).public),
		"to-nobody":    otpVerifyBody(t, "EMAIL_OTP", sealing{}.sealTo(t, newECDH(t).PublicKey(), otpContent(w.lastCode(), k.public))),
	} {
		if a := leg2(k, late, lateID, other); a.reason() != boundBodyDiffers {
			t.Errorf("%s on leg 2: %d %s", name, a.status, a.raw)
		}
	}
	leg2(k, late, lateID, body).want(t, 200, "")
	if a := leg2(k, late, lateID, body); a.reason() != challengeConsumed {
		t.Errorf("replayed: %d %s", a.status, a.raw)
	}
	if a := w.send("POST", path, body); a.reason() != otpUsed {
		t.Errorf("leg 1 after success: %d %s", a.status, a.raw)
	}
}

// TestSupersededBetweenLegs tests a code that is asked for again before the
// second leg.
func TestSupersededBetweenLegs(t *testing.T) {
	w, target := withOTP(t, Config{})
	k, path := newP256(t), verifyPath(seedEmailCredentialID)
	body := w.sealedBody(target, w.lastCode(), k.public)
	payload, id := w.leg1("POST", path, body)
	w.askForCode(seedEmailCredentialID)
	if a := w.send("POST", path, body, headerSignature, k.stamp(payload), headerRequestID, id); a.reason() != otpSuperseded {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

// TestUncompressedKeyOfACode tests what becomes of a session whose key was sealed
// in its long form: in Grid's sandbox, and in its production.
func TestUncompressedKeyOfACode(t *testing.T) {
	for _, strict := range []bool{false, true} {
		w, target := withOTP(t, Config{ProdStrict: strict, AcceptLegacyDER: true})
		k := newP256(t)
		started := w.signed(k, "POST", verifyPath(seedEmailCredentialID), w.sealedBody(target, w.lastCode(), k.uncompressed(t)))
		started.want(t, 200, "")
		payload, id := w.challenge(started.text("id"))
		if !strict {
			w.revoke(started.text("id"), k.stamp(payload), id).want(t, 204, "")
			continue
		}
		a := w.revoke(started.text("id"), k.stamp(payload), id)
		a.want(t, 401, "WALLET_SIGNATURE_INVALID")
		if a.reason() != signerUnmatched {
			t.Errorf("got %s", a.raw)
		}
		w.revoke(started.text("id"), k.legacy(payload), id).want(t, 401, "WALLET_SIGNATURE_INVALID")

		// The same key, sent as production wants it, is found.
		w.signIn(credential1, k)
		w.revoke(started.text("id"), k.stamp(payload), id).want(t, 204, "")
	}
}

// TestAskForCodeProcessing tests that a request that is answered with PROCESSING
// sends one code however often it is repeated.
func TestAskForCodeProcessing(t *testing.T) {
	w, k := newWorld(t, Config{SeedEmailOTP: true, ProcessingReplies: 2}), newP256(t)
	for round := range 2 {
		for range 2 {
			wantProcessing(t, w.send("POST", challengePath(seedEmailCredentialID), ""))
		}
		target := w.askForCode(seedEmailCredentialID)
		if got := len(w.sim.inbox); got != round+1 {
			t.Errorf("%d codes were sent in round %d", got, round)
		}
		body := w.sealedBody(target, w.lastCode(), k.public)
		payload, id := w.leg1("POST", verifyPath(seedEmailCredentialID), body)
		stamp := k.stamp(payload)
		leg2 := func() answer {
			return w.send("POST", verifyPath(seedEmailCredentialID), body, headerSignature, stamp, headerRequestID, id)
		}
		wantProcessing(t, leg2())
		wantProcessing(t, leg2())
		leg2().want(t, 200, "")
	}
}

// TestRateLimitOfCodes tests that a burst is refused, of challenges as of
// verifications.
func TestRateLimitOfCodes(t *testing.T) {
	w := newWorld(t, Config{SeedEmailOTP: true, RateLimit: 2})
	path := challengePath(seedEmailCredentialID)
	w.send("POST", path, "").want(t, 200, "")
	w.send("POST", verifyPath(seedEmailCredentialID), otpVerifyBody(t, "EMAIL_OTP", "{}")).want(t, 400, "INVALID_INPUT")
	for _, a := range []answer{w.send("POST", path, ""), w.send("POST", verifyPath(seedEmailCredentialID), otpVerifyBody(t, "EMAIL_OTP", "{}"))} {
		a.want(t, 429, "RATE_LIMITED")
		if got := a.header.Get("Retry-After"); got != "30" {
			t.Errorf("Retry-After = %q", got)
		}
	}
	w.clock.advance(30 * time.Second)
	w.send("POST", path, "").want(t, 200, "")
}

// TestInbox tests that codes arrive where they are looked for, the last ones and
// in order.
func TestInbox(t *testing.T) {
	var sent []Message
	w := newWorld(t, Config{SeedEmailOTP: true, Control: true, Send: func(m Message) { sent = append(sent, m) }})
	if a := w.send("GET", inboxPath, ""); a.status != 200 || string(a.raw) != `{"data":[]}` {
		t.Errorf("before: %d %s", a.status, a.raw)
	}
	w.send("GET", inboxPath, "", "Authorization", "Basic eDp4").want(t, 401, "UNAUTHORIZED")
	w.askForCode(seedEmailCredentialID)
	id, _ := w.addSMSOTP()
	want := fmt.Sprintf(`{"data":[{"credentialId":"%s","to":"ada@example.com","code":"%s"},{"credentialId":"%s","to":"+12025550123","code":"%s"}]}`,
		seedEmailCredentialID, sent[0].Code, id, sent[1].Code)
	if a := w.send("GET", inboxPath, ""); string(a.raw) != want {
		t.Errorf("got  %s\nwant %s", a.raw, want)
	}
	for range maxInbox {
		w.askForCode(seedEmailCredentialID)
	}
	if got := w.sim.inbox; !slices.Equal(got, sent[2:]) {
		t.Errorf("%d codes are kept, want the last %d", len(got), maxInbox)
	}
}
