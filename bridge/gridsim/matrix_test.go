package gridsim

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// profiles are the ways in which a revocation can be signed.
var profiles = []struct {
	name   string
	cfg    Config
	newKey func(testing.TB) key
	sign   func(k key, payload string) string
}{
	{"modern-P256", Config{}, newP256, key.stamp},
	{"modern-secp256k1", Config{}, newK256, key.stamp},
	{"modern-P256Only", Config{P256Only: true}, newP256, key.stamp},
	{"modern-accepting-DER-P256", Config{AcceptLegacyDER: true}, newP256, key.legacy},
	{"modern-accepting-DER-secp256k1", Config{AcceptLegacyDER: true}, newK256, key.legacy},
	{"legacy-P256", Config{Profile: Legacy202604}, newP256, key.legacy},
	{"legacy-secp256k1", Config{Profile: Legacy202604}, newK256, key.legacy},
}

func TestRevoke(t *testing.T) {
	for _, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t, p.cfg)
			k1, k2 := p.newKey(t), p.newKey(t)
			s1, s2, s3 := w.signIn(credential1, k1), w.signIn(credential2, k2), w.signIn(credential1, p.newKey(t))

			t.Run("by-another-session", func(t *testing.T) {
				payload, id := w.challenge(s3)
				w.revoke(s3, p.sign(k2, payload), id).want(t, 204, "")
				w.revoke(s3, p.sign(k2, payload), id).want(t, 404, "REFERENCE_NOT_FOUND")
				if got := w.listed(seedAccountID); !slices.Equal(got, []string{s1, s2}) {
					t.Errorf("sessions left: %v, want %v", got, []string{s1, s2})
				}
			})
			t.Run("by-itself", func(t *testing.T) {
				payload, id := w.challenge(s1)
				w.revoke(s1, p.sign(k1, payload), id).want(t, 204, "")
				w.send("DELETE", sessionPath(s1), "").want(t, 404, "REFERENCE_NOT_FOUND")
				if got := w.listed(seedAccountID); !slices.Equal(got, []string{s2}) {
					t.Errorf("sessions left: %v, want %v", got, []string{s2})
				}
			})
			t.Run("a-revoked-session-signs-nothing", func(t *testing.T) {
				payload, id := w.challenge(s2)
				a := w.revoke(s2, p.sign(k1, payload), id)
				if a.status != 401 || a.reason() != signerNotEligible && a.reason() != signatureMatchesNoKey {
					t.Errorf("got %d %s", a.status, a.raw)
				}
				w.revoke(s2, p.sign(k2, payload), id).want(t, 204, "")
			})
			t.Run("the-credential-lives-on", func(t *testing.T) {
				w.signIn(credential1, k1)
			})
		})
	}
}

func TestChallenge(t *testing.T) {
	const uuidText = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	for _, op := range signedOps {
		if op.byToken() {
			continue // see TestVerificationToken
		}
		t.Run(op.name, func(t *testing.T) {
			s := newState(t, Config{}, op)
			a := s.send(s.method, s.path, s.body)
			a.want(t, 202, "")
			fields := 4
			if op.kind == "" {
				fields = 3
			}
			if len(a.body) != fields || a.text("type") != op.kind || a.text("expiresAt") != "2026-08-22T10:05:00Z" {
				t.Errorf("challenge = %s", a.raw)
			}
			if got := a.text("requestId"); got == s.id || !regexp.MustCompile(`^Request:`+uuidText+`$`).MatchString(got) {
				t.Errorf("requestId = %q", got)
			}
			want := regexp.MustCompile(`^\{"organizationId":"org_sim","parameters":` + op.parameters + `,"timestampMs":"1787392800001","type":"` + op.activity + `"\}$`)
			if got := a.text("payloadToSign"); !want.MatchString(got) {
				t.Errorf("payloadToSign = %s", got)
			}
		})
	}
	t.Run("legacy", func(t *testing.T) {
		w := newWorld(t, Config{Profile: Legacy202604})
		payload, id := w.challenge(w.signIn(credential1, newP256(t)))
		if !regexp.MustCompile(`^` + uuidText + `$`).MatchString(id) {
			t.Errorf("requestId = %q", id)
		}
		if raw, err := base64.StdEncoding.DecodeString(payload); err != nil || len(raw) != 32 || json.Valid(raw) {
			t.Errorf("payloadToSign = %q", payload)
		}
	})
	t.Run("announced-expiry-is-enforced", func(t *testing.T) {
		w, k := newWorld(t, Config{ChallengeTTL: 1500 * time.Millisecond}), newP256(t)
		s1, s2 := w.signIn(credential1, k), w.signIn(credential2, k)
		a, b := w.send("DELETE", sessionPath(s1), ""), w.send("DELETE", sessionPath(s2), "")
		if got := a.text("expiresAt"); got != "2026-08-22T10:00:02Z" {
			t.Errorf("expiresAt = %s", got)
		}
		w.clock.advance(1900 * time.Millisecond)
		w.revoke(s1, k.stamp(a.text("payloadToSign")), a.text("requestId")).want(t, 204, "")
		w.clock.advance(100 * time.Millisecond)
		if late := w.revoke(s2, k.stamp(b.text("payloadToSign")), b.text("requestId")); late.reason() != challengeExpired {
			t.Errorf("at the announced expiry: %d %s", late.status, late.raw)
		}
	})
}

// TestSignedRetry goes through what leg 2 may look like, for every operation.
func TestSignedRetry(t *testing.T) {
	leg2 := func(signature func(state) string) func(state) answer {
		return func(s state) answer { return s.leg2(signature(s), s.id) }
	}
	withID := func(id func(state) string) func(state) answer {
		return func(s state) answer { return s.leg2(s.k1.stamp(s.payload), id(s)) }
	}
	der := func(change func(string) string) func(state) answer {
		return leg2(func(s state) string {
			return encodeStamp(s.k1.public, s.k1.scheme, change(hex.EncodeToString(s.k1.der(s.payload))))
		})
	}
	// A stamp with a further field, which is nothing but lenient.
	extra := func(s state, value string) string {
		return `{"publicKey":"` + s.k1.public + `","scheme":"` + s.k1.scheme + `","signature":"` + hex.EncodeToString(s.k1.der(s.payload)) + `","x":"` + value + `"}`
	}
	// The same, as a header of 4 KiB, which holds three bytes in four characters.
	longest := func(s state) string {
		text := extra(s, "")
		return encode(text[:len(text)-2] + strings.Repeat("x", 3<<10-len(text)) + text[len(text)-2:])
	}
	const done = 0 // what success is for the operation
	lenient, magic := Config{LenientStamp: true}, Config{AllowMagic: true}
	tests := []struct {
		name   string
		cfg    Config
		status int
		code   string
		reason reason
		send   func(state) answer
	}{
		{"valid", Config{}, done, "", "", leg2(func(s state) string { return s.k1.stamp(s.payload) })},
		{"percent-encoded-colon", Config{}, done, "", "", func(s state) answer {
			s.path = strings.Replace(s.path, ":", "%3A", 1)
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
		{"empty-headers-are-absent", Config{}, 202, "", "", func(s state) answer { return s.leg2("", "") }},
		{"empty-signature-is-absent", Config{}, 401, "WALLET_SIGNATURE_MISSING", signatureMissing, func(s state) answer { return s.leg2("", s.id) }},
		{"empty-request-id-is-absent", Config{}, 401, "REQUEST_ID_MISSING", requestIDMissing, func(s state) answer { return s.leg2("x", "") }},

		{"request-id-unknown", Config{}, 401, "UNAUTHORIZED", challengeUnknown, withID(func(state) string { return "Request:00000000-0000-0000-0000-000000000000" })},
		{"request-id-upper-case", Config{}, 401, "UNAUTHORIZED", challengeUnknown, withID(func(s state) string { return strings.ToUpper(s.id) })},
		{"request-id-of-another-account", Config{}, 401, "UNAUTHORIZED", challengeElsewhere, withID(func(s state) string { _, id := s.challenge(s.sX); return id })},
		{"request-id-of-another-session", Config{}, 401, "UNAUTHORIZED", challengeElsewhere, withID(func(s state) string { _, id := s.challenge(s.s2); return id })},
		{"one-nanosecond-before-expiry", Config{}, done, "", "", leg2(func(s state) string {
			s.clock.advance(5*time.Minute - 1)
			return s.k1.stamp(s.payload)
		})},
		{"at-expiry", Config{}, 401, "UNAUTHORIZED", challengeExpired, leg2(func(s state) string {
			s.clock.advance(5 * time.Minute)
			return s.k1.stamp(s.payload)
		})},
		{"payload-of-another-challenge", Config{}, 401, "WALLET_SIGNATURE_INVALID", signatureInvalid, leg2(func(s state) string {
			payload, _ := s.leg1()
			return s.k1.stamp(payload)
		})},
		{"payload-re-serialised", Config{}, 401, "WALLET_SIGNATURE_INVALID", signatureInvalid, leg2(func(s state) string {
			return s.k1.stamp(strings.NewReplacer(":", ": ", ".", ". ").Replace(s.payload))
		})},
		{"payload-with-newline", Config{}, 401, "WALLET_SIGNATURE_INVALID", signatureInvalid, leg2(func(s state) string { return s.k1.stamp(s.payload + "\n") })},
		{"signer-of-another-account", Config{}, 401, "WALLET_SIGNATURE_INVALID", signerNotEligible, leg2(func(s state) string { return s.kX.stamp(s.payload) })},
		{"signer-revoked", Config{}, 401, "WALLET_SIGNATURE_INVALID", signerNotEligible, leg2(func(s state) string {
			payload, id := s.challenge(s.s2)
			s.revoke(s.s2, s.k2.stamp(payload), id).want(s.t, 204, "")
			return s.k2.stamp(s.payload)
		})},
		{"public-key-replaced-by-an-eligible-one", Config{}, 401, "WALLET_SIGNATURE_INVALID", signatureInvalid, leg2(func(s state) string {
			return encodeStamp(s.k1.public, s.k1.scheme, hex.EncodeToString(s.kX.der(s.payload)))
		})},

		{"first-generation", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampNotBase64, leg2(func(s state) string {
			for {
				if der := s.k1.legacy(s.payload); strings.ContainsAny(der, "+/=") {
					return der
				}
			}
		})},
		{"first-generation-as-base64url", Config{AcceptLegacyDER: true}, 401, "WALLET_SIGNATURE_MALFORMED", stampNotObject, leg2(func(s state) string {
			for { // until it is not standard base64 as well
				if der := base64.URLEncoding.EncodeToString(s.k1.der(s.payload)); strings.ContainsAny(der, "-_=") {
					return strings.TrimRight(der, "=")
				}
			}
		})},
		// Only characters that occur in no strict stamp make a slash.
		{"url-alphabet", lenient, done, "", "", leg2(func(s state) string { return encode(extra(s, "???")) })},
		{"standard-alphabet", lenient, 401, "WALLET_SIGNATURE_MALFORMED", stampNotBase64, leg2(func(s state) string {
			return base64.RawStdEncoding.EncodeToString([]byte(extra(s, "???")))
		})},
		{"unused-bits-set", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampNotBase64, leg2(func(s state) string {
			stamp := []byte(s.k1.ragged(s.payload))
			stamp[len(stamp)-1]++ // its two or four unused bits were zero
			return string(stamp)
		})},
		{"not-utf8", lenient, 401, "WALLET_SIGNATURE_MALFORMED", stampNotObject, leg2(func(s state) string { return encode(extra(s, "\xff")) })},
		{"trailing-json", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampNotObject, leg2(func(s state) string {
			stamp, _ := base64.RawURLEncoding.DecodeString(s.k1.stamp(s.payload))
			return encode(string(stamp) + "{}")
		})},
		{"white-space", Config{}, done, "", "", leg2(func(s state) string {
			stamp, _ := base64.RawURLEncoding.DecodeString(s.k1.stamp(s.payload))
			return encode(strings.NewReplacer(":", "\t: ", ",", "\r\n, ").Replace(string(stamp)))
		})},
		{"white-space-in-a-field", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampSchemeUnknown, leg2(func(s state) string {
			return encodeStamp(s.k1.public, s.k1.scheme+" ", hex.EncodeToString(s.k1.der(s.payload)))
		})},
		{"escape", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampEscaped, leg2(func(s state) string {
			stamp, _ := base64.RawURLEncoding.DecodeString(s.k1.stamp(s.payload))
			return encode(strings.Replace(string(stamp), "publicKey", `publicKe\u0079`, 1))
		})},
		{"null-field", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampFieldMissing, leg2(func(s state) string {
			return encode(`{"publicKey":"` + s.k1.public + `","scheme":"` + s.k1.scheme + `","signature":null}`)
		})},
		{"extra-field", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampFieldExtra, leg2(func(s state) string { return encode(extra(s, "")) })},
		{"uncompressed-key", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampKeyMalformed, leg2(func(s state) string {
			compressed, _ := hex.DecodeString(s.k1.public)
			uncompressed, err := parseP256(compressedKey(compressed)).Bytes()
			if err != nil {
				s.t.Fatal(err)
			}
			return encodeStamp(hex.EncodeToString(uncompressed), s.k1.scheme, hex.EncodeToString(s.k1.der(s.payload)))
		})},
		{"upper-case-key", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampKeyMalformed, leg2(func(s state) string {
			return encodeStamp(strings.ToUpper(s.k1.public), s.k1.scheme, hex.EncodeToString(s.k1.der(s.payload)))
		})},
		{"upper-case-signature", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampSignatureNotHex, der(strings.ToUpper)},
		{"truncated-der", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", derMalformed, der(func(der string) string { return der[:len(der)-2] })},
		{"trailing-der", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", derMalformed, der(func(der string) string { return der + "00" })},
		{"no-der", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", derMalformed, der(func(string) string { return "" })},
		{"secp256k1-scheme-when-P256Only", Config{P256Only: true}, 401, "WALLET_SIGNATURE_MALFORMED", stampSchemeUnknown, leg2(func(s state) string {
			k := newKeyOn(s.t, newK256, p256, true) // so that it can sign in
			s.signIn(credential1, k)
			return k.stamp(s.payload)
		})},
		{"4096-characters", lenient, done, "", "", leg2(longest)},
		{"4097-characters", lenient, 401, "WALLET_SIGNATURE_MALFORMED", signatureTooLong, leg2(func(s state) string { return longest(s) + "=" })},

		{"permuted-fields", Config{}, done, "", "", leg2(func(s state) string {
			return encode(`{"signature":"` + hex.EncodeToString(s.k1.der(s.payload)) + `","publicKey":"` + s.k1.public + `","scheme":"` + s.k1.scheme + `"}`)
		})},
		{"lenient-padding", lenient, done, "", "", leg2(func(s state) string { return s.k1.padded(s.payload) })},
		{"lenient-upper-case", lenient, done, "", "", leg2(func(s state) string {
			return encodeStamp(strings.ToUpper(s.k1.public), s.k1.scheme, strings.ToUpper(hex.EncodeToString(s.k1.der(s.payload))))
		})},
		{"lenient-extra-field-space-and-escape", lenient, done, "", "", leg2(func(s state) string { return encode(" " + extra(s, `\u0078`)) })},
		{"lenient-is-not-blind", lenient, 401, "WALLET_SIGNATURE_INVALID", signatureInvalid, leg2(func(s state) string { return s.k1.stamp(s.payload + " ") })},
		{"magic", magic, done, "", "", leg2(func(state) string { return "sandbox-valid-signature" })},
		{"magic-needs-its-challenge", magic, 401, "UNAUTHORIZED", challengeUnknown, func(s state) answer {
			return s.leg2("sandbox-valid-signature", "Request:x")
		}},
		{"magic-off", Config{}, 401, "WALLET_SIGNATURE_MALFORMED", stampNotBase64, leg2(func(state) string { return "sandbox-valid-signature" })},

		{"failure-then-success", Config{}, done, "", "", func(s state) answer {
			s.leg2("x", s.id).want(s.t, 401, "WALLET_SIGNATURE_MALFORMED")
			s.leg2(s.kX.stamp(s.payload), s.id).want(s.t, 401, "WALLET_SIGNATURE_INVALID")
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
	}
	for _, op := range signedOps {
		for _, test := range tests {
			if op.byToken() && test.cfg.AllowMagic {
				test.status, test.code, test.reason = 401, "WALLET_SIGNATURE_MALFORMED", stampNotBase64
			}
			t.Run(op.name+"/"+test.name, func(t *testing.T) {
				if test.status == done {
					test.status = op.done
				}
				a := test.send(newState(t, test.cfg, op))
				a.want(t, test.status, test.code)
				if a.reason() != test.reason {
					t.Errorf("reason = %q, want %q", a.reason(), test.reason)
				}
			})
		}
	}

	// Over HTTP a leading space is not part of a header's value; another server
	// may hand it on.
	t.Run("request-id-with-leading-space", func(t *testing.T) {
		s := newState(t, Config{}, signedOps[0])
		r := httptest.NewRequest(s.method, s.path, nil)
		r.SetBasicAuth(clientID, secret)
		r.Header.Set(headerSignature, s.k1.stamp(s.payload))
		r.Header.Set(headerRequestID, " "+s.id)
		recorder := httptest.NewRecorder()
		s.sim.ServeHTTP(recorder, r)
		s.decode(recorder.Code, recorder.Header(), recorder.Body.Bytes()).want(t, 401, "UNAUTHORIZED")
	})
}

// TestSecondSuccess tests what a challenge is worth after a success: after its
// own, and after one of another challenge for the same.
func TestSecondSuccess(t *testing.T) {
	for _, op := range signedOps {
		t.Run(op.name, func(t *testing.T) {
			s := newState(t, Config{}, op)
			stamp := s.k1.stamp(s.payload)
			s.leg2(stamp, s.id).want(t, op.done, "")
			if a := s.leg2(stamp, s.id); a.reason() != op.replayed {
				t.Errorf("replayed: %d %s, want %q", a.status, a.raw, op.replayed)
			}
			for _, order := range [][]int{{0, 1}, {1, 0}} {
				s := newState(t, Config{}, op)
				later, laterID := s.leg1()
				payloads, ids := []string{s.payload, later}, []string{s.id, laterID}
				s.leg2(s.k1.stamp(payloads[order[0]]), ids[order[0]]).want(t, op.done, "")
				if a := s.leg2(s.k1.stamp(payloads[order[1]]), ids[order[1]]); a.reason() != op.repeated {
					t.Errorf("a parallel challenge: %d %s, want %q", a.status, a.raw, op.repeated)
				}
			}
		})
	}
}

// TestRevokedBetweenLegs tests a session that is gone on leg 2.
func TestRevokedBetweenLegs(t *testing.T) {
	for name, end := range map[string]func(state){
		"expired": func(s state) { s.clock.advance(time.Minute) },
		"revoked": func(s state) {
			payload, id := s.leg1()
			s.leg2(s.k2.stamp(payload), id).want(s.t, 204, "")
		},
	} {
		s := newState(t, Config{SessionTTL: time.Minute}, signedOps[0])
		end(s)
		if a := s.leg2(s.k1.stamp(s.payload), s.id); a.reason() != sessionNotActive {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
}

// TestExpiredSession tests that a session past its expiry neither signs nor is
// found or listed, even while its credential signs in again.
func TestExpiredSession(t *testing.T) {
	w, old, fresh := newWorld(t, Config{SessionTTL: time.Minute}), newP256(t), newP256(t)
	expired := w.signIn(credential1, old)
	w.clock.advance(time.Minute)
	live := w.signIn(credential1, fresh)

	w.send("DELETE", sessionPath(expired), "").want(t, 404, "REFERENCE_NOT_FOUND")
	if got := w.listed(seedAccountID); !slices.Equal(got, []string{live}) {
		t.Errorf("listed %v, want %v", got, []string{live})
	}
	payload, id := w.challenge(live)
	w.revoke(live, old.stamp(payload), id).want(t, 401, "WALLET_SIGNATURE_INVALID")
	w.revoke(live, fresh.stamp(payload), id).want(t, 204, "")
}

// TestHighAndLowS tests both twins of signatures on both curves, in both
// generations.
func TestHighAndLowS(t *testing.T) {
	for _, newKey := range []func(testing.TB) key{newP256, newK256} {
		for _, profile := range []Profile{Modern, Legacy202604} {
			w, signer := newWorld(t, Config{Profile: profile}), newKey(t)
			w.signIn(credential1, signer)
			seen := make(map[bool]int)
			for i := range 40 {
				session := w.signIn(credential2, newKey(t))
				payload, id := w.challenge(session)
				der := signer.der(payload)
				flipped, high := signer.flipS(t, der)
				if i%2 == 0 {
					der = flipped
				} else {
					high = !high
				}
				seen[high]++
				value := encodeStamp(signer.public, signer.scheme, hex.EncodeToString(der))
				if profile == Legacy202604 {
					value = base64.StdEncoding.EncodeToString(der)
				}
				w.revoke(session, value, id).want(t, 204, "")
			}
			if seen[true] == 0 || seen[false] == 0 {
				t.Errorf("%s: high and low s: %v", signer.scheme, seen)
			}
		}
	}
}

// TestKeyOnBothCurves holds what the package comment says about keys whose x is
// on both curves.
func TestKeyOnBothCurves(t *testing.T) {
	for _, newKey := range []func(testing.TB) key{newP256, newK256} {
		other := k256
		if newKey(t).scheme == k256.scheme {
			other = p256
		}
		for _, both := range []bool{true, false} {
			w, k := newWorld(t, Config{}), newKeyOn(t, newKey, other, both)
			session := w.signIn(credential1, k)
			payload, id := w.challenge(session)
			code := "WALLET_SIGNATURE_MALFORMED"
			if both {
				code = "WALLET_SIGNATURE_INVALID"
			}
			stamp := encodeStamp(k.public, other.scheme, hex.EncodeToString(k.der(payload)))
			w.revoke(session, stamp, id).want(t, 401, code)
			w.revoke(session, k.stamp(payload), id).want(t, 204, "")
		}
	}
}
