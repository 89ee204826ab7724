package gridsim

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// TestRefusals provokes every reason there is, one request each, and checks the
// status and code that go with it.
func TestRefusals(t *testing.T) {
	const auth, signature, requestID = "Authorization", headerSignature, headerRequestID
	nobody := "Session:00000000-0000-0000-0000-000000000000"

	// signed is leg 2 with a header made from a good stamp and its payload.
	signed := func(header func(w *world, k key, payload string) string) func(*world) answer {
		return func(w *world) answer {
			k := newKeyOn(w.t, newP256, k256, false)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			return w.revoke(session, header(w, k, payload), id)
		}
	}
	// verified is a sign-in with one claim replaced.
	verified := func(name string, value any) func(*world) answer {
		return func(w *world) answer {
			k := newP256(w.t)
			return w.verify(credential1, k, with(w.claims(credential1, k.public), name, value))
		}
	}
	verifying := func(body string, headers ...string) func(*world) answer {
		return func(w *world) answer { return w.send("POST", verifyPath(credential1), body, headers...) }
	}
	sending := func(method, path, body string, headers ...string) func(*world) answer {
		return func(w *world) answer { return w.send(method, path, body, headers...) }
	}
	// adding asks to add a passkey with something else in the body.
	adding := func(change func(body, attestation map[string]any)) func(*world) answer {
		return func(w *world) answer { return w.send("POST", addPath, newPasskey().body(w.t, change)) }
	}
	// registering asks to add one that an authenticator made otherwise.
	registering := func(change func(*authenticator)) func(*world) answer {
		return func(w *world) answer {
			p := newPasskey()
			change(p)
			return w.send("POST", addPath, p.body(w.t))
		}
	}
	// twice asks to add what was added.
	twice := func(body func(*world) string) func(*world) answer {
		return func(w *world) answer {
			k, body := newP256(w.t), body(w)
			w.signIn(credential1, k)
			w.signed(k, "POST", addPath, body)
			return w.send("POST", addPath, body)
		}
	}
	at := func(seconds int64) int64 { return time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Unix() + seconds }

	tests := []refusalTest{
		{pathUnknown, 404, "REFERENCE_NOT_FOUND", Config{}, sending("GET", "/auth/session", "")},
		{pathUnserved, 501, "NOT_IMPLEMENTED", Config{}, sending("GET", "/auth/delegated-keys", "")},
		{methodNotAllowed, 405, "METHOD_NOT_ALLOWED", Config{}, sending("PUT", sessionPath(nobody), "")},

		{credentialsMissing, 401, "UNAUTHORIZED", Config{}, func(w *world) answer {
			recorder := httptest.NewRecorder()
			w.sim.ServeHTTP(recorder, httptest.NewRequest("GET", "/auth/sessions", nil))
			return w.decode(recorder.Code, recorder.Header(), recorder.Body.Bytes())
		}},
		{credentialsMalformed, 401, "UNAUTHORIZED", Config{}, sending("GET", "/auth/sessions", "", auth, "Basic %%%")},
		{credentialsWrong, 401, "UNAUTHORIZED", Config{}, sending("GET", "/auth/sessions", "", auth, "Basic Y2xpZW50OnMzY3JldA==")},

		{bodyUnreadable, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			recorder := httptest.NewRecorder()
			r := httptest.NewRequest("POST", verifyPath(credential1), iotest.ErrReader(errors.New("reset")))
			r.SetBasicAuth(clientID, secret)
			w.sim.ServeHTTP(recorder, r)
			return w.decode(recorder.Code, recorder.Header(), recorder.Body.Bytes())
		}},
		{bodyTooLarge, 400, "INVALID_INPUT", Config{}, verifying(strings.Repeat(" ", maxBody) + "{}")},
		{bodyNotObject, 400, "INVALID_INPUT", Config{}, verifying(`["OAUTH"]`)},
		{bodyFieldDuplicate, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"OAUTH","type":"OAUTH"}`)},
		{bodyUnexpected, 400, "INVALID_INPUT", Config{}, sending("DELETE", sessionPath(nobody), "{")},
		{contentTypeWrong, 400, "INVALID_INPUT", Config{}, verifying(`{}`, "Content-Type", "text/plain")},
		{queryMalformed, 400, "INVALID_INPUT", Config{}, sending("GET", "/auth/sessions?accountId=%zz", "")},
		{accountIDMissing, 400, "INVALID_INPUT", Config{}, sending("GET", "/auth/sessions?accountId=", "")},
		{accountIDRepeated, 400, "INVALID_INPUT", Config{}, sending("GET", "/auth/credentials?accountId="+accountX+"&accountId="+accountX, "")},
		{accountIDMalformed, 400, "INVALID_INPUT", Config{}, sending("GET", "/auth/credentials?accountId=InternalAccount:1", "")},
		{advanceInvalid, 400, "INVALID_INPUT", Config{Control: true}, sending("POST", controlPath, `{"advanceSeconds":-1}`)},

		{sessionIDMalformed, 400, "INVALID_INPUT", Config{}, sending("DELETE", sessionPath("Session:xyz"), "")},
		{sessionNotActive, 404, "REFERENCE_NOT_FOUND", Config{}, sending("DELETE", sessionPath(nobody), "")},
		{credentialIDMalformed, 400, "INVALID_INPUT", Config{}, sending("POST", verifyPath(nobody), `{"type":"EMAIL_OTP","encryptedOtpBundle":"{}"}`)},
		{credentialUnknown, 404, "REFERENCE_NOT_FOUND", Config{}, sending("POST", verifyPath("AuthMethod:"+nobody[8:]),
			`{"type":"PASSKEY","assertion":{"credentialId":"","clientDataJson":"","authenticatorData":"","signature":""}}`)},

		{sessionUnknown, 404, "REFERENCE_NOT_FOUND", Config{}, func(w *world) answer {
			return w.send("POST", refreshOf(nobody), refreshBody(newP256(w.t).public))
		}},
		{sessionEnded, 401, "UNAUTHORIZED", Config{}, func(w *world) answer {
			k := newP256(w.t)
			session := w.signIn(credential1, k)
			w.clock.advance(15 * time.Minute)
			return w.send("POST", refreshOf(session), refreshBody(k.public))
		}},
		{accountUnknown, 404, "REFERENCE_NOT_FOUND", Config{}, adding(func(body, _ map[string]any) {
			body["accountId"] = "InternalAccount:" + nobody[8:]
		})},

		{typeMissing, 400, "INVALID_INPUT", Config{}, verifying(`{"type":null,"oidcToken":"h.p.s"}`)},
		{typeUnknown, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"oauth"}`)},
		{typeMismatch, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"SMS_OTP","encryptedOtpBundle":"{}"}`)},
		{otpBundleMissing, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"EMAIL_OTP","encryptedOtpBundle":{}}`)},
		{assertionMalformed, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"PASSKEY","assertion":{}}`)},
		{tokenMissing, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"OAUTH","oidcToken":1}`)},
		{clientKeyMissing, 400, "INVALID_INPUT", Config{}, verifying(`{"type":"OAUTH","oidcToken":"h.p.s"}`)},
		{clientKeyMalformed, 400, "INVALID_INPUT", Config{}, verifying(verifyBody("h.p.s", "05"+strings.Repeat("00", 32)))},
		{clientKeyOffCurve, 400, "INVALID_INPUT", Config{}, verifying(verifyBody("h.p.s", "02"+strings.Repeat("ff", 32)))},
		{tokenMalformed, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			return w.send("POST", verifyPath(credential1), verifyBody("sandbox-valid-oidc-token", newP256(w.t).public))
		}},
		{tokenClaimMalformed, 400, "INVALID_INPUT", Config{}, verified("iat", "1755856800")},
		{issuerUnsupported, 400, "INVALID_INPUT", Config{}, verified("iss", "https://accounts.example.com")},
		{issuerMismatch, 401, "UNAUTHORIZED", Config{}, verified("iss", "https://appleid.apple.com")},
		{audienceMismatch, 401, "UNAUTHORIZED", Config{}, verified("aud", "another")},
		{subjectMismatch, 401, "UNAUTHORIZED", Config{}, verified("sub", "another")},
		{tokenStale, 401, "UNAUTHORIZED", Config{}, verified("iat", at(-66))},
		{tokenFromFuture, 401, "UNAUTHORIZED", Config{}, verified("iat", at(6))},
		{tokenExpired, 401, "UNAUTHORIZED", Config{}, verified("exp", at(0))},
		{nonceMissing, 401, "UNAUTHORIZED", Config{}, verified("nonce", nil)},
		{nonceMismatch, 401, "UNAUTHORIZED", Config{}, verified("nonce", "another")},
		{sessionsExhausted, 429, "RATE_LIMITED", Config{}, func(w *world) answer {
			k := newP256(w.t)
			for range maxSessions {
				w.signIn(credential1, k)
			}
			w.clock.advance(time.Second)
			a := w.verify(credential1, k, w.claims(credential1, k.public))
			if got := a.header.Get("Retry-After"); got != strconv.Itoa(15*60-1) {
				w.t.Errorf("Retry-After = %q", got)
			}
			return a
		}},

		{attemptsExhausted, 429, "RATE_LIMITED", Config{RateLimit: 1}, func(w *world) answer {
			k := newP256(w.t)
			w.signIn(credential1, k)
			return w.verify(credential1, k, w.claims(credential1, k.public))
		}},
		{signInUnserved, 501, "NOT_IMPLEMENTED", Config{Profile: Legacy202604, SeedEmailOTP: true}, func(w *world) answer {
			return w.send("POST", verifyPath(seedEmailCredentialID), `{"type":"EMAIL_OTP","encryptedOtpBundle":"{}"}`)
		}},

		{emailOTPExists, 400, "EMAIL_OTP_CREDENTIAL_ALREADY_EXISTS", Config{}, twice(func(*world) string { return otpBody("EMAIL_OTP") })},
		{smsOTPExists, 400, "SMS_OTP_CREDENTIAL_ALREADY_EXISTS", Config{}, twice(func(*world) string { return otpBody("SMS_OTP") })},
		{identityExists, 400, "INVALID_INPUT", Config{}, twice(func(w *world) string { return oauthBody(jwt(w.t, w.newIdentity())) })},
		{passkeyExists, 400, "PASSKEY_CREDENTIAL_ALREADY_EXISTS", Config{}, twice(func(w *world) string { return newPasskey().body(w.t) })},
		{registrationUsed, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			k, first, second := newP256(w.t), newPasskey(), newPasskey()
			second.challenge, second.clientData = first.challenge, first.clientData
			w.signIn(credential1, k)
			w.signed(k, "POST", addPath, first.body(w.t))
			return w.send("POST", addPath, second.body(w.t))
		}},
		{credentialsExhausted, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			a := w.sim.accounts[seedAccountID]
			for i := range maxCredentials {
				w.sim.keepCredential(&credential{id: fmt.Sprint(i), kind: typePasskey, account: a})
			}
			return w.send("POST", addPath, otpBody("EMAIL_OTP"))
		}},
		{lastCredential, 400, "INVALID_INPUT", Config{}, sending("DELETE", removePath(credentialX), "")},
		{nicknameInvalid, 400, "INVALID_INPUT", Config{}, adding(func(body, _ map[string]any) { body["nickname"] = "" })},
		{registrationMalformed, 400, "INVALID_INPUT", Config{}, adding(func(body, _ map[string]any) { body["challenge"] = "=" })},
		{registrationMismatch, 400, "INVALID_INPUT", Config{}, adding(func(body, _ map[string]any) { body["challenge"] = "AAAA" })},
		{attestationMissing, 400, "INVALID_INPUT", Config{}, adding(func(body, _ map[string]any) { delete(body, "attestation") })},
		{transportsInvalid, 400, "INVALID_INPUT", Config{}, adding(func(_, attestation map[string]any) { attestation["transports"] = 1 })},
		{clientDataMalformed, 400, "INVALID_INPUT", Config{}, adding(func(_, attestation map[string]any) { attestation["clientDataJson"] = "AAAA" })},
		{clientDataOfAnotherType, 400, "INVALID_INPUT", Config{}, adding(func(_, attestation map[string]any) { attestation["clientDataJson"] = encode("{}") })},
		{originInvalid, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) {
			p.clientData = p.clientDataFor("webauthn.create", p.challenge, "example.com")
		})},
		{attestationMalformed, 400, "INVALID_INPUT", Config{}, adding(func(_, attestation map[string]any) { attestation["attestationObject"] = "AAAA" })},
		{authDataMalformed, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.trailing = "x" })},
		{relyingPartyMismatch, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.rpID = "com" })},
		{userAbsent, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.flags = flagAttestedData })},
		{attestedDataMissing, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.flags = flagUserPresent })},
		{passkeyIDMismatch, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.id = "x" })},
		{passkeyKeyInvalid, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.key[1] = 99 })},
		{attestationInvalid, 400, "INVALID_INPUT", Config{}, registering(func(p *authenticator) { p.format = "packed" })},

		{requestIDRepeated, 400, "INVALID_INPUT", Config{}, sending("DELETE", sessionPath(nobody), "", requestID, "a", requestID, "a")},
		{requestIDMissing, 401, "REQUEST_ID_MISSING", Config{}, func(w *world) answer {
			return w.send("DELETE", sessionPath(w.signIn(credential1, newP256(w.t))), "", signature, "x")
		}},
		{signatureMissing, 401, "WALLET_SIGNATURE_MISSING", Config{}, func(w *world) answer {
			return w.send("DELETE", sessionPath(w.signIn(credential1, newP256(w.t))), "", requestID, "x")
		}},
		{signatureRepeated, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, func(w *world) answer {
			k := newP256(w.t)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			stamp := k.stamp(payload)
			return w.send("DELETE", sessionPath(session), "", signature, stamp, signature, stamp, requestID, id)
		}},
		{signatureTooLong, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(*world, key, string) string { return strings.Repeat("A", 8<<10) })},
		{stampNotBase64, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return k.padded(payload)
		})},
		{stampNotObject, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(*world, key, string) string { return encode("[]") })},
		{stampEscaped, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(*world, key, string) string { return encode(`{"\u0073cheme":""}`) })},
		{stampFieldDuplicate, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(*world, key, string) string { return encode(`{"scheme":"a","scheme":"a"}`) })},
		{stampFieldMissing, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(*world, key, string) string { return encode(`{}`) })},
		{stampFieldExtra, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encode(`{"publicKey":"","scheme":"","signature":"","x":""}`)
		})},
		{stampSchemeUnknown, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(k.public, "P256_ECDSA_SHA256", hex.EncodeToString(k.der(payload)))
		})},
		{stampKeyMalformed, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(strings.ToUpper(k.public)+"ab", k.scheme, hex.EncodeToString(k.der(payload)))
		})},
		{stampKeyOffCurve, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(k.public, "SIGNATURE_SCHEME_TK_API_SECP256K1", hex.EncodeToString(k.der(payload)))
		})},
		{stampSignatureNotHex, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(k.public, k.scheme, "3044022")
		})},
		{derMalformed, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(k.public, k.scheme, hex.EncodeToString(k.der(payload))+"00")
		})},
		{derOutOfRange, 401, "WALLET_SIGNATURE_MALFORMED", Config{}, signed(func(_ *world, k key, payload string) string {
			return encodeStamp(k.public, k.scheme, "3006020101020100")
		})},
		{derNotBase64, 401, "UNAUTHORIZED", Config{Profile: Legacy202604}, signed(func(*world, key, string) string { return "%%%%" })},
		{challengeUnknown, 401, "UNAUTHORIZED", Config{}, func(w *world) answer {
			k := newP256(w.t)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			return w.revoke(session, k.stamp(payload), strings.TrimPrefix(id, "Request:"))
		}},
		{challengeElsewhere, 401, "UNAUTHORIZED", Config{}, func(w *world) answer {
			k := newP256(w.t)
			payload, id := w.challenge(w.signIn(credential1, k))
			return w.revoke(w.signIn(credential1, k), k.stamp(payload), id)
		}},
		{challengeConsumed, 401, "UNAUTHORIZED", Config{ConsumeOnFailure: true}, func(w *world) answer {
			k := newP256(w.t)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			w.revoke(session, k.stamp(payload+"\n"), id).want(w.t, 401, "WALLET_SIGNATURE_INVALID")
			return w.revoke(session, k.stamp(payload), id)
		}},
		{challengeExpired, 401, "UNAUTHORIZED", Config{}, signed(func(w *world, k key, payload string) string {
			w.clock.advance(5 * time.Minute)
			return k.stamp(payload)
		})},
		{processingOtherStamp, 401, "WALLET_SIGNATURE_INVALID", Config{ProcessingReplies: 1}, func(w *world) answer {
			k := newP256(w.t) // signs differently each time
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			w.revoke(session, k.stamp(payload), id).want(w.t, 200, "")
			return w.revoke(session, k.stamp(payload), id)
		}},
		{boundBodyDiffers, 401, "WALLET_SIGNATURE_BODY_MISMATCH", Config{}, func(w *world) answer {
			k := newP256(w.t)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			return w.send("DELETE", sessionPath(session), "{}", signature, k.stamp(payload), requestID, id)
		}},
		{signerNotEligible, 401, "WALLET_SIGNATURE_INVALID", Config{}, signed(func(w *world, k key, payload string) string {
			return newP256(w.t).stamp(payload)
		})},
		{signatureInvalid, 401, "WALLET_SIGNATURE_INVALID", Config{}, signed(func(_ *world, k key, payload string) string {
			return k.stamp(strings.TrimSuffix(payload, "}"))
		})},
		{signatureMatchesNoKey, 401, "UNAUTHORIZED", Config{Profile: Legacy202604}, signed(func(w *world, k key, payload string) string {
			return newP256(w.t).legacy(payload)
		})},
	}
	untested := maps.Clone(refusals)
	for _, test := range append(tests, signInRefusals(t)...) {
		t.Run(string(test.reason), func(t *testing.T) {
			a := test.send(newWorld(t, test.cfg))
			a.want(t, test.status, test.code)
			if a.reason() != test.reason {
				t.Errorf("reason = %q, want %q", a.reason(), test.reason)
			}
		})
		delete(untested, test.reason)
	}
	if len(untested) > 0 {
		t.Errorf("never provoked: %v", slices.Collect(maps.Keys(untested)))
	}
}

// TestEnvelope holds the knobs of the envelope, and where field errors go.
func TestEnvelope(t *testing.T) {
	get := func(cfg Config, path string) answer { return newWorld(t, cfg).send("GET", path, "") }

	for _, err := range []error{errors.New("of no kind"), reason("not_listed")} {
		if got := simulator(t, Config{}).envelope(err); got.status != http.StatusInternalServerError {
			t.Errorf("%v: status %d", err, got.status)
		}
	}
	a := get(Config{}, "/auth/sessions")
	details, _ := a.body["details"].(map[string]any)
	list, _ := details["errors"].([]any)
	if len(list) != 1 || list[0].(map[string]any)["field"] != "accountId" {
		t.Errorf("details = %v, want one error in accountId", details)
	}
	for place, want := range map[ReasonPlace][2]bool{ReasonInDetails: {true, false}, ReasonAtTop: {false, true}, ReasonInBoth: {true, true}} {
		a := get(Config{ReasonAt: place, NotFoundCode: "NOPE"}, "/")
		a.want(t, http.StatusNotFound, "NOPE")
		if got := [2]bool{a.reason() == pathUnknown, a.text("reason") == string(pathUnknown)}; got != want {
			t.Errorf("%s: reason in details and at the top: %v, want %v", place, got, want)
		}
	}
}
