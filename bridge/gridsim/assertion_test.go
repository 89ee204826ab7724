package gridsim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSignInByPasskey signs in with a passkey, for a key of each curve.
func TestSignInByPasskey(t *testing.T) {
	for _, newKey := range []func(testing.TB) key{newP256, newK256} {
		p, k := newPasskey(), newKey(t)
		w, credential := withPasskey(t, Config{}, p)
		w.clock.advance(time.Second)
		a := w.send("POST", challengePath(credential), refreshBody(k.public))
		want := regexp.MustCompile(`^\{"id":"` + credential + `","accountId":"` + seedAccountID + `","type":"PASSKEY","credentialId":"` + encode(p.id) + `",` +
			`"nickname":"Laptop","createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:00Z","challenge":"[0-9a-f]{64}",` +
			`"requestId":"Request:[0-9a-f-]{36}","expiresAt":"2026-08-22T10:05:01Z"\}$`)
		if a.status != 200 || !want.Match(a.raw) {
			t.Errorf("challenge: %d %s", a.status, a.raw)
		}
		// A stamp that comes with it, or two, mean nothing.
		started := w.send("POST", verifyPath(credential), p.assert(a.text("challenge")).body(t),
			headerRequestID, a.text("requestId"), headerSignature, "ignored", headerSignature, "too")
		wantSession := `{"id":"` + started.text("id") + `","accountId":"` + seedAccountID + `","type":"PASSKEY","nickname":"Laptop",` +
			`"createdAt":"2026-08-22T10:00:01Z","updatedAt":"2026-08-22T10:00:01Z","expiresAt":"2026-08-22T10:15:01Z"}`
		if started.status != 200 || string(started.raw) != wantSession {
			t.Errorf("got %d %s, want %s", started.status, started.raw, wantSession)
		}
		w.signed(k, "DELETE", sessionPath(started.text("id")), "").want(t, 204, "")
	}
}

// TestPasskeyChallenge tests that a challenge is for its key and its moment.
func TestPasskeyChallenge(t *testing.T) {
	w, credential := withPasskey(t, Config{}, newPasskey())
	k1, k2 := newP256(t), newP256(t)
	seen := make(map[string]bool)
	for _, k := range []key{k1, k1, k2} {
		challenge, id := w.challengePasskey(credential, k.public)
		seen[challenge], seen[id] = true, true
	}
	if len(seen) != 6 {
		t.Errorf("three challenges have %d values, want 6", len(seen))
	}
	w.sim.lastStampMs = w.clock.now().UnixMilli() + 9
	challenge, _ := w.challengePasskey(credential, k1.public)
	sum := sha256.Sum256([]byte(`{"organizationId":"org_sim","parameters":{"targetPublicKey":"` + k1.public + `"},` +
		`"timestampMs":"1787392800010","type":"ACTIVITY_TYPE_CREATE_READ_WRITE_SESSION_V2"}`))
	if challenge != hex.EncodeToString(sum[:]) {
		t.Errorf("challenge = %s, want %x", challenge, sum)
	}
	for body, want := range map[string]reason{
		"": clientKeyMissing, "{}": clientKeyMissing, `{"clientPublicKey":1}`: clientKeyMissing,
		refreshBody(k1.public[:64]): clientKeyMalformed, refreshBody("02" + strings.Repeat("ff", 32)): clientKeyOffCurve,
	} {
		if a := w.send("POST", challengePath(credential), body); a.status != 400 || a.reason() != want {
			t.Errorf("%s: %d %s, want 400 %s", body, a.status, a.raw, want)
		}
	}
}

// TestSealedKeyOfAPasskey tests that an uncompressed key gets one that signs.
func TestSealedKeyOfAPasskey(t *testing.T) {
	p, to := newPasskey(), newECDH(t)
	w, credential := withPasskey(t, Config{}, p)
	challenge, id := w.challengePasskey(credential, hex.EncodeToString(to.PublicKey().Bytes()))
	w.sealsForPasskeys = true
	a := w.send("POST", verifyPath(credential), p.assert(challenge).body(t), headerRequestID, id)
	a.want(t, 200, "")
	k := p256FromScalar(t, unseal(t, a.text("encryptedSessionSigningKey"), to))
	w.signed(k, "DELETE", sessionPath(a.text("id")), "").want(t, 204, "")
}

// TestAssertionRefusals goes through what a passkey may say.
func TestAssertionRefusals(t *testing.T) {
	changed := func(change func(a *assertion, p *authenticator, challenge string)) func(*authenticator, string) *assertion {
		return func(p *authenticator, challenge string) *assertion {
			a := p.assert(challenge)
			change(a, p, challenge)
			return a
		}
	}
	clientData := func(kind string, challenge func(string) string, origin string) func(*authenticator, string) *assertion {
		return changed(func(a *assertion, p *authenticator, text string) {
			a.clientData = p.clientDataFor(kind, challenge(text), origin)
		})
	}
	field := func(name string, value any) func(*authenticator, string) *assertion {
		return changed(func(a *assertion, _ *authenticator, _ string) { a.more = map[string]any{name: value} })
	}
	const origin = "https://wallet.example.com"
	tests := []struct {
		name   string
		reason reason // "" for a session
		status int
		make   func(p *authenticator, challenge string) *assertion
	}{
		{"good", "", 200, (*authenticator).assert},
		{"user-handle", "", 200, field("userHandle", "AAAA")},
		{"user-handle-null", "", 200, field("userHandle", nil)},
		{"user-verified", "", 200, changed(func(a *assertion, _ *authenticator, _ string) { a.flags |= 1 << 2 })},
		{"from-the-rp-itself", "", 200, clientData("webauthn.get", encode, "https://example.com")},
		{"from-another-port", "", 200, clientData("webauthn.get", encode, "https://a.b.example.com:8443")},
		{"more-in-client-data", "", 200, changed(func(a *assertion, _ *authenticator, _ string) {
			a.clientData = strings.Replace(a.clientData, "{", `{"other_keys_can_be_added_here":"yes",`, 1)
		})},

		{"another-passkey's-id", assertionOfAnother, 401, field("credentialId", encode("another"))},
		{"id-no-base64url", assertionNotBase64, 400, field("credentialId", "AA==")},
		{"signature-empty", assertionNotBase64, 400, field("signature", "")},
		{"signature-missing", assertionMalformed, 400, field("signature", nil)},
		{"client-data-no-json", assertionClientDataMalformed, 400, changed(func(a *assertion, _ *authenticator, _ string) { a.clientData = "x" })},
		{"of-a-registration", assertionOfAnotherType, 401, clientData("webauthn.create", encode, origin)},
		{"challenge-as-hex-bytes", assertionChallengeMismatch, 401, clientData("webauthn.get", func(text string) string {
			raw, _ := hex.DecodeString(text)
			return encode(string(raw))
		}, origin)},
		{"challenge-as-base64url", assertionChallengeMismatch, 401, clientData("webauthn.get", func(text string) string { return text }, origin)},
		{"challenge-padded", assertionChallengeMismatch, 401, clientData("webauthn.get", func(text string) string { return encode(text) + "==" }, origin)},
		{"challenge-in-upper-case", assertionChallengeMismatch, 401, clientData("webauthn.get", func(text string) string { return encode(strings.ToUpper(text)) }, origin)},
		{"another-origin", assertionOriginWrong, 401, clientData("webauthn.get", encode, "https://example.net")},
		{"look-alike-origin", assertionOriginWrong, 401, clientData("webauthn.get", encode, "https://badexample.com")},
		{"plain-http", assertionOriginWrong, 401, clientData("webauthn.get", encode, "http://wallet.example.com")},
		{"localhost", assertionOriginWrong, 401, clientData("webauthn.get", encode, "http://localhost")},
		{"another-rp", assertionForAnotherRP, 401, changed(func(a *assertion, _ *authenticator, _ string) { a.rpID = "wallet.example.com" })},
		{"user-absent", assertionUserAbsent, 401, changed(func(a *assertion, _ *authenticator, _ string) { a.flags = 1 << 2 })},
		{"auth-data-trailing", assertionAuthDataMalformed, 400, changed(func(a *assertion, _ *authenticator, _ string) { a.trailing = "x" })},
		{"another-key", assertionSignatureInvalid, 401, changed(func(a *assertion, _ *authenticator, _ string) { a.private = newPasskey().private })},
		{"signature-rubbish", assertionSignatureInvalid, 401, changed(func(a *assertion, _ *authenticator, _ string) { a.signature = []byte("rubbish") })},
		{"magic-off", assertionNotBase64, 400, field("signature", magicAssertion)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, k := newPasskey(), newP256(t)
			w, credential := withPasskey(t, Config{}, p)
			challenge, id := w.challengePasskey(credential, k.public)
			a := w.send("POST", verifyPath(credential), test.make(p, challenge).body(t), headerRequestID, id)
			if a.status != test.status || a.reason() != test.reason {
				t.Errorf("got %d %s, want %d %q", a.status, a.raw, test.status, test.reason)
			}
			if test.status != 200 { // which costs nothing
				w.send("POST", verifyPath(credential), p.assert(challenge).body(t), headerRequestID, id).want(t, 200, "")
			}
		})
	}
}

// TestPasskeyRequestID goes through the challenges that an assertion may name.
func TestPasskeyRequestID(t *testing.T) {
	p, k := newPasskey(), newP256(t)
	w, credential := withPasskey(t, Config{}, p)
	other := newPasskey()
	w.signIn(credential2, k)
	otherCredential := w.signed(k, "POST", addPath, other.body(t)).text("id")
	path := verifyPath(credential)
	challenge, id := w.challengePasskey(credential, k.public)
	_, others := w.challengePasskey(otherCredential, k.public)
	body := p.assert(challenge).body(t)
	for name, test := range map[string]struct {
		headers []string
		status  int
		code    string
		reason  reason
	}{
		"none":              {nil, 401, "REQUEST_ID_MISSING", passkeyRequestIDMissing},
		"empty":             {[]string{headerRequestID, ""}, 401, "REQUEST_ID_MISSING", passkeyRequestIDMissing},
		"stamp-alone":       {[]string{headerSignature, k.stamp("")}, 401, "REQUEST_ID_MISSING", passkeyRequestIDMissing},
		"twice":             {[]string{headerRequestID, id, headerRequestID, id}, 400, "INVALID_INPUT", requestIDRepeated},
		"unknown":           {[]string{headerRequestID, "Request:x"}, 401, "UNAUTHORIZED", challengeUnknown},
		"without-prefix":    {[]string{headerRequestID, strings.TrimPrefix(id, "Request:")}, 401, "UNAUTHORIZED", challengeUnknown},
		"of-another":        {[]string{headerRequestID, others}, 401, "UNAUTHORIZED", challengeElsewhere},
		"of-a-signed-retry": {[]string{headerRequestID, func() string { _, id := w.leg1("DELETE", removePath(credential), ""); return id }()}, 401, "UNAUTHORIZED", challengeElsewhere},
	} {
		a := w.send("POST", path, body, test.headers...)
		a.want(t, test.status, test.code)
		if a.reason() != test.reason {
			t.Errorf("%s: %s", name, a.raw)
		}
	}
	// Two are good at once, each for what was said to it.
	second, secondID := w.challengePasskey(credential, k.public)
	if a := w.send("POST", path, body, headerRequestID, secondID); a.reason() != assertionChallengeMismatch {
		t.Errorf("said to another challenge: %d %s", a.status, a.raw)
	}
	w.clock.advance(5*time.Minute - 1)
	w.send("POST", path, body, headerRequestID, id).want(t, 200, "")
	if a := w.send("POST", path, body, headerRequestID, id); a.status != 401 || a.reason() != challengeConsumed {
		t.Errorf("again: %d %s", a.status, a.raw)
	}
	w.clock.advance(1)
	if a := w.send("POST", path, p.assert(second).body(t), headerRequestID, secondID); a.status != 401 || a.reason() != challengeExpired {
		t.Errorf("at its expiry: %d %s", a.status, a.raw)
	}
}

// TestPasskeyCounter tests that a passkey that counts must count up.
func TestPasskeyCounter(t *testing.T) {
	p := newPasskey()
	p.counter = 7
	w, credential := withPasskey(t, Config{}, p)
	for _, step := range []struct {
		counter uint32
		reason  reason
	}{{7, assertionCounterRegress}, {0, assertionCounterRegress}, {8, ""}, {8, assertionCounterRegress}, {1 << 31, ""}, {9, assertionCounterRegress}} {
		challenge, id := w.challengePasskey(credential, newP256(t).public)
		a := p.assert(challenge)
		a.counter = step.counter
		if got := w.send("POST", verifyPath(credential), a.body(t), headerRequestID, id); got.reason() != step.reason {
			t.Errorf("%d: %d %s, want %q", step.counter, got.status, got.raw, step.reason)
		}
	}
}

// TestPasskeyAlgorithms signs in by passkeys of the other algorithms that
// browsers are asked for.
func TestPasskeyAlgorithms(t *testing.T) {
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPrivate, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key  map[int]any
		sign func(signed []byte) ([]byte, error)
	}{
		"EdDSA": {map[int]any{1: 1, 3: -8, -1: 6, -2: []byte(edPublic)}, func(signed []byte) ([]byte, error) { return ed25519.Sign(edPrivate, signed), nil }},
		"RS256": {map[int]any{1: 3, 3: -257, -1: rsaPrivate.N.Bytes(), -2: []byte{1, 0, 1}}, func(signed []byte) ([]byte, error) {
			digest := sha256.Sum256(signed)
			return rsa.SignPKCS1v15(nil, rsaPrivate, crypto.SHA256, digest[:])
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPasskey()
			p.key = test.key
			w, credential := withPasskey(t, Config{}, p)
			challenge, id := w.challengePasskey(credential, newP256(t).public)
			a := p.assert(challenge)
			hash := sha256.Sum256([]byte(a.clientData))
			if a.signature, err = test.sign(slices.Concat(a.authData(), hash[:])); err != nil {
				t.Fatal(err)
			}
			w.send("POST", verifyPath(credential), a.body(t), headerRequestID, id).want(t, 200, "")

			challenge, id = w.challengePasskey(credential, newP256(t).public)
			old := a.signature
			a = p.assert(challenge)
			a.signature = old
			if got := w.send("POST", verifyPath(credential), a.body(t), headerRequestID, id); got.reason() != assertionSignatureInvalid {
				t.Errorf("the signature of another challenge: %d %s", got.status, got.raw)
			}
		})
	}
}

// TestPages tests the rpId and the origins, where there are some, when a passkey
// is registered and when it signs in.
func TestPages(t *testing.T) {
	for _, test := range []struct {
		name                string
		cfg                 Config
		rpID, origin        string
		registered, signsIn reason
	}{
		{"localhost", Config{}, "localhost", "http://localhost:8787", "", ""},
		{"below-localhost", Config{}, "app.localhost", "http://app.localhost:8787", "", ""},
		{"address", Config{}, "127.0.0.1", "http://127.0.0.1:8787", originInvalid, assertionOriginWrong},
		{"configured", Config{RPID: "example.com", Origins: []string{"https://a.example.com"}}, "example.com", "https://a.example.com", "", ""},
		{"app", Config{RPID: "example.com", Origins: []string{"android:apk-key-hash:x"}}, "example.com", "android:apk-key-hash:x", "", ""},
		{"rpId-alone", Config{RPID: "example.com"}, "example.com", "https://a.example.com", "", ""},
		{"another-rpId", Config{RPID: "example.com"}, "a.example.com", "https://a.example.com", relyingPartyMismatch, assertionForAnotherRP},
		{"another-origin", Config{Origins: []string{"https://a.example.com"}}, "example.com", "https://b.example.com", originInvalid, assertionOriginWrong},
		{"origin-with-a-port", Config{Origins: []string{"https://example.com"}}, "example.com", "https://example.com:8443", originInvalid, assertionOriginWrong},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPasskey()
			p.rpID, p.clientData = test.rpID, p.clientDataFor("webauthn.create", p.challenge, test.origin)
			w := newWorld(t, test.cfg)
			if a := w.send("POST", addPath, p.body(t)); a.reason() != test.registered {
				t.Errorf("registration: %d %s, want %q", a.status, a.raw, test.registered)
			}
			good := newPasskey() // on a page that all of these take
			if test.registered == "" {
				good = p
			} else if test.cfg.Origins != nil {
				good.clientData = good.clientDataFor("webauthn.create", good.challenge, test.cfg.Origins[0])
			}
			w, credential := withPasskey(t, test.cfg, good)
			challenge, id := w.challengePasskey(credential, newP256(t).public)
			a := good.assert(challenge)
			a.rpID, a.clientData = test.rpID, good.clientDataFor("webauthn.get", encode(challenge), test.origin)
			if a := w.send("POST", verifyPath(credential), a.body(t), headerRequestID, id); a.reason() != test.signsIn {
				t.Errorf("sign-in: %d %s, want %q", a.status, a.raw, test.signsIn)
			}
		})
	}
}

// TestMagicAssertion tests the sandbox value, which stands for everything but the
// challenge.
func TestMagicAssertion(t *testing.T) {
	w, credential := withPasskey(t, Config{AllowMagic: true}, newPasskey())
	const body = `{"type":"PASSKEY","assertion":{"credentialId":"","clientDataJson":"","authenticatorData":"","signature":"sandbox-valid-passkey-signature"}}`
	w.send("POST", verifyPath(credential), body).want(t, 401, "REQUEST_ID_MISSING")
	_, id := w.challengePasskey(credential, newP256(t).public)
	w.send("POST", verifyPath(credential), body, headerRequestID, id).want(t, 200, "")
	w.send("POST", verifyPath(credential), body, headerRequestID, id).want(t, 401, "UNAUTHORIZED")
}

// TestPasskeyConsumeOnFailure tests that a failure spends the challenge if it is
// to.
func TestPasskeyConsumeOnFailure(t *testing.T) {
	p := newPasskey()
	w, credential := withPasskey(t, Config{ConsumeOnFailure: true}, p)
	challenge, id := w.challengePasskey(credential, newP256(t).public)
	a := p.assert(challenge)
	a.flags = 0
	w.send("POST", verifyPath(credential), a.body(t), headerRequestID, id).want(t, 401, "UNAUTHORIZED")
	if a := w.send("POST", verifyPath(credential), p.assert(challenge).body(t), headerRequestID, id); a.reason() != challengeConsumed {
		t.Errorf("after a failure: %d %s", a.status, a.raw)
	}
}

// TestPasskeyProcessing tests that an assertion that was accepted converges when
// it is resent as it was.
func TestPasskeyProcessing(t *testing.T) {
	p := newPasskey()
	w, credential := withPasskey(t, Config{ProcessingReplies: 1}, p)
	challenge, id := w.challengePasskey(credential, newP256(t).public)
	body := p.assert(challenge).body(t)
	send := func(body string) answer { return w.send("POST", verifyPath(credential), body, headerRequestID, id) }
	wantProcessing(t, send(body))
	send(p.assert(challenge).body(t)).want(t, 401, "WALLET_SIGNATURE_INVALID")
	started := send(body)
	started.want(t, 200, "")
	if again := send(body); string(again.raw) != string(started.raw) {
		t.Errorf("resent again: %s, want %s", again.raw, started.raw)
	}

	challenge, id = w.challengePasskey(credential, newP256(t).public)
	body = p.assert(challenge).body(t)
	wantProcessing(t, send(body))
	before := len(w.listed(seedAccountID))
	w.clock.advance(10 * time.Second)
	if got := len(w.listed(seedAccountID)); got != before+1 {
		t.Errorf("%d sessions after its time, want %d", got, before+1)
	}
}

// TestPasskeyRoom tests that a sign-in for which there is no room spends nothing.
func TestPasskeyRoom(t *testing.T) {
	p, k := newPasskey(), newP256(t)
	w, credential := withPasskey(t, Config{}, p)
	for range maxSessions - 1 {
		w.signIn(credential1, k)
	}
	w.clock.advance(12 * time.Minute)
	challenge, id := w.challengePasskey(credential, k.public)
	body := p.assert(challenge).body(t)
	w.send("POST", verifyPath(credential), body, headerRequestID, id).want(t, 429, "RATE_LIMITED")
	w.clock.advance(3 * time.Minute)
	w.send("POST", verifyPath(credential), body, headerRequestID, id).want(t, 200, "")
}

// TestRemovedPasskey tests that nothing is left of a passkey that was removed.
func TestRemovedPasskey(t *testing.T) {
	p, k := newPasskey(), newP256(t)
	w, credential := withPasskey(t, Config{}, p)
	challenge, id := w.challengePasskey(credential, k.public)
	w.signIn(credential2, k)
	w.signed(k, "DELETE", removePath(credential), "").want(t, 204, "")
	w.send("POST", verifyPath(credential), p.assert(challenge).body(t), headerRequestID, id).want(t, 404, "REFERENCE_NOT_FOUND")
	if w.sim.challenges.byRequestID[id] != nil {
		t.Error("its challenge is left")
	}
}

// FuzzAssertion holds that no assertion panics, and that none is accepted that
// its passkey did not sign.
func FuzzAssertion(f *testing.F) {
	p := newPasskey()
	w, credential := withPasskey(f, Config{}, p)
	c := w.sim.credentials[credential]
	challenge := strings.Repeat("0", 64)
	good := p.assert(challenge)
	fields := func(body string) (clientData, authData, signature string) {
		var decoded struct{ Assertion map[string]string }
		if err := json.Unmarshal([]byte(body), &decoded); err != nil {
			f.Fatal(err)
		}
		return decoded.Assertion["clientDataJson"], decoded.Assertion["authenticatorData"], decoded.Assertion["signature"]
	}
	clientData, authData, signature := fields(good.body(f))
	f.Add(clientData, authData, signature)
	f.Fuzz(func(t *testing.T, gotClientData, gotAuthData, gotSignature string) {
		raw := make(map[string]json.RawMessage)
		for name, text := range map[string]string{
			"credentialId": encode(p.id), "clientDataJson": gotClientData, "authenticatorData": gotAuthData, "signature": gotSignature,
		} {
			raw[name], _ = json.Marshal(text)
		}
		if _, err := w.sim.checkAssertion(c, raw, challenge); err == nil && (gotClientData != clientData || gotAuthData != authData) {
			t.Errorf("%s %s is accepted, which was not signed", gotClientData, gotAuthData)
		}
	})
}
