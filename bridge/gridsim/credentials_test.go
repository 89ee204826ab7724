package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

const addPath = "/auth/credentials"

func removePath(credential string) string { return addPath + "/" + credential }

func otpBody(kind string) string {
	return `{"type":"` + kind + `","accountId":"` + seedAccountID + `"}`
}

func oauthBody(oidcToken string) string {
	return `{"type":"OAUTH","accountId":"` + seedAccountID + `","oidcToken":"` + oidcToken + `"}`
}

// newIdentity is the claims of a good token of somebody whom no account knows.
func (w *world) newIdentity() map[string]any {
	return with(with(w.claims(credential1, ""), "sub", "new"), "nonce", nil)
}

// TestAddCredential adds one credential of each type, and removes it.
func TestAddCredential(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	w.signIn(credential1, k)
	google, apple := jwt(t, w.newIdentity()), jwt(t, with(with(w.newIdentity(), "iss", "https://appleid.apple.com"), "email", nil))
	passkey := newPasskey()
	oauthPayload := func(token, provider string) string {
		return `"parameters":{"oauthProviders":[{"oidcToken":"` + token + `","providerName":"` + provider + `"}],"userId":"user_sim"},` +
			`"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_CREATE_OAUTH_PROVIDERS"`
	}
	const removesOAuth = `"parameters":{"providerIds":["credential_[0-9a-f]+"],"userId":"user_sim"},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_DELETE_OAUTH_PROVIDERS"`
	tests := []struct {
		name, body, nickname, fields, adds, removes string
	}{
		{
			"EMAIL_OTP", otpBody("EMAIL_OTP"), "ada@example.com", `,"otpEncryptionTargetBundle":".*"`,
			`"parameters":{"userEmail":"ada@example.com","userId":"user_sim"},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_UPDATE_USER_EMAIL"`,
			`"parameters":{"userEmail":"","userId":"user_sim"},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_UPDATE_USER_EMAIL"`,
		},
		{
			"SMS_OTP", otpBody("SMS_OTP"), "+12025550123", `,"otpEncryptionTargetBundle":".*"`,
			`"parameters":{"userId":"user_sim","userPhoneNumber":"+12025550123"},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER"`,
			`"parameters":{"userId":"user_sim","userPhoneNumber":""},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER"`,
		},
		{"OAUTH", oauthBody(google), "ada@example.com", "", oauthPayload(google, "google"), removesOAuth},
		{"OAUTH", oauthBody(apple), "new", "", oauthPayload(apple, "apple"), removesOAuth},
		{
			"PASSKEY", passkey.body(t), "Laptop", "",
			`"parameters":{"authenticators":[{"attestation":{"attestationObject":"` + encode(string(passkey.attestationObject(t))) +
				`","clientDataJson":"` + encode(passkey.clientData) + `","credentialId":"` + encode(passkey.id) + `","transports":["internal","hybrid"]},` +
				`"authenticatorName":"Laptop","challenge":"` + passkey.challenge + `"}],"userId":"user_sim"},` +
				`"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_CREATE_AUTHENTICATORS_V2"`,
			`"parameters":{"authenticatorIds":["credential_[0-9a-f]+"],"userId":"user_sim"},"timestampMs":"[0-9]+","type":"ACTIVITY_TYPE_DELETE_AUTHENTICATORS"`,
		},
	}
	// pattern takes a text as it is, but for its two wild cards.
	pattern := func(text string) *regexp.Regexp {
		quoted := regexp.QuoteMeta(text)
		for _, wild := range []string{".*", "[0-9]+", "[0-9a-f]+"} {
			quoted = strings.ReplaceAll(quoted, regexp.QuoteMeta(wild), wild)
		}
		return regexp.MustCompile("^" + quoted + "$")
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := w.everything()
			challenge := w.send("POST", addPath, test.body)
			challenge.want(t, 202, "")
			payload := challenge.text("payloadToSign")
			if !pattern(`{"organizationId":"org_sim",`+test.adds+`}`).MatchString(payload) || challenge.text("type") != test.name {
				t.Errorf("challenge = %s", challenge.raw)
			}
			w.clock.advance(time.Second)
			added := w.send("POST", addPath, test.body, headerSignature, k.stamp(payload), headerRequestID, challenge.text("requestId"))
			id, credentialID := added.text("id"), ""
			if test.name == "PASSKEY" {
				credentialID = `"credentialId":"` + encode(passkey.id) + `",`
			}
			now := timestamp(w.clock.now())
			row := `{"id":"` + id + `","accountId":"` + seedAccountID + `","type":"` + test.name + `",` + credentialID +
				`"nickname":"` + test.nickname + `","createdAt":"` + now + `","updatedAt":"` + now + `"`
			if added.status != 201 || !isID("AuthMethod", id) || !pattern(row+test.fields+"}").Match(added.raw) {
				t.Errorf("added: %d %s, want %s", added.status, added.raw, row+test.fields+"}")
			}
			if got := w.everything(); !strings.Contains(got, row+"}") {
				t.Errorf("listed are %s, without %s", got, row)
			}

			challenge = w.send("DELETE", removePath(id), "")
			challenge.want(t, 202, "")
			payload = challenge.text("payloadToSign")
			if !pattern(`{"organizationId":"org_sim",`+test.removes+`}`).MatchString(payload) || challenge.text("type") != test.name {
				t.Errorf("challenge = %s", challenge.raw)
			}
			w.send("DELETE", removePath(id), "", headerSignature, k.stamp(payload), headerRequestID, challenge.text("requestId")).want(t, 204, "")
			if after := w.everything(); after != before {
				t.Errorf("after adding and removing\n%s, before\n%s", after, before)
			}
		})
	}
}

// TestAddedIdentitySignsIn tests that an added identity is a way in.
func TestAddedIdentitySignsIn(t *testing.T) {
	w, k1, k2 := newWorld(t, Config{}), newP256(t), newP256(t)
	w.signIn(credential1, k1)
	added := w.signed(k1, "POST", addPath, oauthBody(jwt(t, w.newIdentity())))
	a := w.verify(added.text("id"), k2, with(w.newIdentity(), "nonce", nonce(k2.public)))
	a.want(t, 200, "")
	w.signed(k2, "DELETE", sessionPath(a.text("id")), "").want(t, 204, "")
}

// TestOTPTarget tests that the bundle of a one-time code has a fresh key, signed
// as Grid's enclave signs it.
func TestOTPTarget(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	w.signIn(credential1, k)
	seen := make(map[string]bool)
	for _, kind := range []string{"EMAIL_OTP", "SMS_OTP"} {
		var bundle struct{ Version, Data, DataSignature, EnclaveQuorumPublic string }
		added := w.signed(k, "POST", addPath, otpBody(kind))
		if err := json.Unmarshal([]byte(added.text("otpEncryptionTargetBundle")), &bundle); err != nil || bundle.Version != "v1.0.0" {
			t.Fatalf("%s: %s, %v", kind, added.raw, err)
		}
		quorum, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, bundle.EnclaveQuorumPublic))
		if err != nil {
			t.Fatal(err)
		}
		data := unhex(t, bundle.Data)
		if digest := sha256.Sum256(data); !ecdsa.VerifyASN1(quorum, digest[:], unhex(t, bundle.DataSignature)) {
			t.Errorf("%s: the quorum key did not sign %s", kind, data)
		}
		var target struct{ TargetPublic string }
		if err := json.Unmarshal(data, &target); err != nil {
			t.Fatal(err)
		}
		if _, err := ecdh.P256().NewPublicKey(unhex(t, target.TargetPublic)); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		seen[target.TargetPublic], seen[bundle.EnclaveQuorumPublic] = true, true
	}
	if len(seen) != 3 {
		t.Errorf("two bundles have %d different keys, want 2 targets of one quorum", len(seen))
	}
}

func TestAddRefusals(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Unix()
	claim := func(name string, value any) func(state) string {
		return func(s state) string { return oauthBody(jwt(s.t, with(s.newIdentity(), name, value))) }
	}
	text := func(body string) func(state) string { return func(state) string { return body } }
	tests := []struct {
		name   string
		status int
		reason reason // "" for a challenge
		body   func(state) string
	}{
		{"type-missing", 400, typeMissing, text(`{"accountId":"` + seedAccountID + `"}`)},
		{"type-unknown", 400, typeUnknown, text(otpBody("TOTP"))},
		{"account-missing", 400, accountIDMissing, text(`{"type":"EMAIL_OTP"}`)},
		{"account-malformed", 400, accountIDMalformed, text(`{"type":"EMAIL_OTP","accountId":"Customer:1"}`)},
		{"account-unknown", 404, accountUnknown, text(`{"type":"EMAIL_OTP","accountId":"InternalAccount:00000000-0000-0000-0000-000000000000"}`)},
		{"token-missing", 400, tokenMissing, text(otpBody("OAUTH"))},
		{"token-malformed", 400, tokenMalformed, text(oauthBody("sandbox-valid-oidc-token"))},
		{"token-without-subject", 400, tokenClaimMalformed, claim("sub", "")},
		{"issuer-unsupported", 400, issuerUnsupported, claim("iss", "https://accounts.example.com")},
		{"issued-65s-ago", 202, "", claim("iat", now-65)},
		{"issued-66s-ago", 401, tokenStale, claim("iat", now-66)},
		{"issued-in-5s", 202, "", claim("iat", now+5)},
		{"issued-in-6s", 401, tokenFromFuture, claim("iat", now+6)},
		{"expired", 401, tokenExpired, claim("exp", now)},
		{"any-nonce", 202, "", claim("nonce", "x")},
		{"identity-exists", 400, identityExists, func(s state) string { return oauthBody(jwt(s.t, s.claims(credential2, ""))) }},
		{"identity-of-another-account", 202, "", func(s state) string { return oauthBody(jwt(s.t, s.claims(credentialX, ""))) }},
		{"identity-for-another-audience", 202, "", func(s state) string { return oauthBody(jwt(s.t, with(s.claims(credential2, ""), "aud", "x"))) }},
		{"no-session-to-sign", 202, "", func(s state) string {
			s.clock.advance(15 * time.Minute)
			return otpBody("EMAIL_OTP")
		}},
		{"second-EMAIL_OTP", 400, emailOTPExists, func(s state) string {
			s.signed(s.k1, "POST", addPath, otpBody("EMAIL_OTP")).want(s.t, 201, "")
			return otpBody("EMAIL_OTP")
		}},
		{"second-SMS_OTP", 400, smsOTPExists, func(s state) string {
			s.signed(s.k1, "POST", addPath, otpBody("SMS_OTP")).want(s.t, 201, "")
			return otpBody("SMS_OTP")
		}},
		{"EMAIL_OTP-beside-SMS_OTP", 202, "", func(s state) string {
			s.signed(s.k1, "POST", addPath, otpBody("SMS_OTP")).want(s.t, 201, "")
			return otpBody("EMAIL_OTP")
		}},
		{"one-too-many", 400, credentialsExhausted, func(s state) string {
			for i := range maxCredentials - 2 {
				body := oauthBody(jwt(s.t, with(s.newIdentity(), "sub", fmt.Sprint(i))))
				s.signed(s.k1, "POST", addPath, body).want(s.t, 201, "")
			}
			return otpBody("EMAIL_OTP")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newState(t, Config{}, signedOps[2])
			a := s.send("POST", addPath, test.body(s))
			if a.status != test.status || a.reason() != test.reason {
				t.Errorf("got %d %s, want %d %q", a.status, a.raw, test.status, test.reason)
			}
		})
	}
}

// TestAddOnLegTwo tests what the second leg judges again, and what not.
func TestAddOnLegTwo(t *testing.T) {
	t.Run("token-ages-between-legs", func(t *testing.T) {
		s := newState(t, Config{}, signedOps[2])
		body := oauthBody(jwt(t, with(s.newIdentity(), "exp", s.clock.now().Unix()+60)))
		payload, id := s.world.leg1("POST", addPath, body)
		s.clock.advance(4 * time.Minute)
		s.send("POST", addPath, body, headerSignature, s.k1.stamp(payload), headerRequestID, id).want(t, 201, "")
	})
	t.Run("added-in-between", func(t *testing.T) {
		s := newState(t, Config{}, signedOps[2])
		s.signed(s.k2, "POST", addPath, s.body).want(t, 201, "")
		s.leg2(s.k1.stamp(s.payload), s.id).want(t, 400, "EMAIL_OTP_CREDENTIAL_ALREADY_EXISTS")
	})
	t.Run("body-changed", func(t *testing.T) {
		s := newState(t, Config{}, signedOps[2])
		s.body = otpBody("SMS_OTP")
		s.leg2(s.k1.stamp(s.payload), s.id).want(t, 401, "WALLET_SIGNATURE_BODY_MISMATCH")
	})
	t.Run("request-id-of-another-account", func(t *testing.T) {
		s := newState(t, Config{}, signedOps[2])
		payload, id := s.world.leg1("POST", addPath, strings.Replace(s.body, seedAccountID, accountX, 1))
		if a := s.leg2(s.k1.stamp(payload), id); a.reason() != challengeElsewhere {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
}

// TestRemoveCredential tests who may sign, and what ends with a credential.
func TestRemoveCredential(t *testing.T) {
	s := newState(t, Config{}, signedOps[0])
	another := s.signIn(credential1, s.k1)
	payload, id := s.world.leg1("DELETE", removePath(credential1), "")
	remove := func(k key) answer {
		return s.send("DELETE", removePath(credential1), "", headerSignature, k.stamp(payload), headerRequestID, id)
	}
	if a := remove(s.k1); a.reason() != signerNotEligible {
		t.Errorf("by a session of its own: %d %s", a.status, a.raw)
	}
	remove(s.k2).want(t, 204, "")
	remove(s.k2).want(t, 404, "REFERENCE_NOT_FOUND")
	s.send("DELETE", removePath(credential1), "").want(t, 404, "REFERENCE_NOT_FOUND")
	if got := s.listed(seedAccountID); len(got) != 1 || got[0] != s.s2 {
		t.Errorf("active sessions: %v, want %s alone", got, s.s2)
	}

	// Nothing is left of it: neither its sessions nor what was asked of them.
	s.leg2(s.k2.stamp(s.payload), s.id).want(t, 404, "REFERENCE_NOT_FOUND")
	if a := s.send("POST", refreshOf(another), refreshBody(s.k1.public)); a.reason() != sessionEnded {
		t.Errorf("refreshing one of its sessions: %d %s", a.status, a.raw)
	}
	s.verify(credential1, s.k1, s.claims(credential1, s.k1.public)).want(t, 404, "REFERENCE_NOT_FOUND")

	if a := s.send("DELETE", removePath(credential2), ""); a.status != 400 || a.reason() != lastCredential {
		t.Errorf("the last one: %d %s", a.status, a.raw)
	}
	s.send("DELETE", removePath("AuthMethod:1"), "").want(t, 400, "INVALID_INPUT")
	s.send("DELETE", removePath("AuthMethod:00000000-0000-0000-0000-000000000000"), "").want(t, 404, "REFERENCE_NOT_FOUND")
	if left := len(s.sim.challenges.byRequestID); left != 0 {
		t.Errorf("%d challenges are left", left)
	}
}

// TestRemoveBecomesLast tests a credential that becomes the last one between the
// legs.
func TestRemoveBecomesLast(t *testing.T) {
	s := newState(t, Config{}, signedOps[3])
	s.signed(s.k2, "DELETE", removePath(credential1), "").want(t, 204, "")
	if a := s.leg2(s.k1.stamp(s.payload), s.id); a.reason() != lastCredential {
		t.Errorf("got %d %s", a.status, a.raw)
	}
}

// TestRateLimit tests the bucket of a credential, which fills again.
func TestRateLimit(t *testing.T) {
	w, k := newWorld(t, Config{RateLimit: 4}), newP256(t)
	attempt := func(credential string) answer { return w.verify(credential, k, w.claims(credential, k.public)) }
	for range 4 {
		attempt(credential1).want(t, 200, "")
	}
	for range 3 { // refused ones do not count
		a := attempt(credential1)
		a.want(t, 429, "RATE_LIMITED")
		if got := a.header.Get("Retry-After"); got != "15" {
			t.Errorf("Retry-After = %q", got)
		}
	}
	attempt(credential2).want(t, 200, "")
	w.clock.advance(14500 * time.Millisecond)
	if got := attempt(credential1).header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After = %q after 14.5 seconds", got)
	}
	w.clock.advance(500 * time.Millisecond)
	attempt(credential1).want(t, 200, "")
	attempt(credential1).want(t, 429, "RATE_LIMITED")
}
