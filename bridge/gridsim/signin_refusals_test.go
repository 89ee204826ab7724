package gridsim

import (
	"strings"
	"testing"
	"time"
)

// refusalTest provokes a reason, with one last request.
type refusalTest struct {
	reason reason
	status int
	code   string
	cfg    Config
	send   func(*world) answer
}

// signInRefusals are the tests of what is refused of codes, passkeys and exports.
func signInRefusals(t *testing.T) []refusalTest {
	k := newP256(t)
	// code is leg 1 of a sign-in, with another bundle or after something else.
	code := func(body func(w *world, target string) string) func(*world) answer {
		return func(w *world) answer {
			target := w.askForCode(seedEmailCredentialID)
			return w.send("POST", verifyPath(seedEmailCredentialID), body(w, target))
		}
	}
	good := func(w *world, target string) string { return w.sealedBody(target, w.lastCode(), k.public) }
	wrong := func(w *world, target string) string { return w.sealedBody(target, another(w.lastCode()), k.public) }
	bundle := func(text string) func(*world) answer {
		return code(func(*world, string) string { return otpVerifyBody(t, "EMAIL_OTP", text) })
	}
	content := func(text string) func(*world) answer {
		return code(func(_ *world, target string) string {
			return otpVerifyBody(t, "EMAIL_OTP", sealing{}.sealTo(t, targetKey(t, target), text))
		})
	}
	// passkey is a sign-in by a passkey that says something else; without a change,
	// one without a Request-Id.
	passkey := func(change func(*assertion)) func(*world) answer {
		return func(w *world) answer {
			p, k := newPasskey(), newP256(w.t)
			p.counter = 1
			w.signIn(credential2, k)
			credential := w.signed(k, "POST", addPath, p.body(w.t)).text("id")
			challenge, id := w.challengePasskey(credential, k.public)
			a := p.assert(challenge)
			a.counter = 2
			if change == nil {
				id = "" // which is none
			} else {
				change(a)
			}
			return w.send("POST", verifyPath(credential), a.body(w.t), headerRequestID, id)
		}
	}
	otp := Config{SeedEmailOTP: true}
	return []refusalTest{
		{challengeOfOAuth, 400, "INVALID_INPUT", Config{}, func(w *world) answer { return w.send("POST", challengePath(credential1), "") }},
		{otpNotSent, 401, "UNAUTHORIZED", otp, func(w *world) answer {
			body := otpVerifyBody(w.t, "EMAIL_OTP", sealing{}.sealTo(w.t, newECDH(w.t).PublicKey(), otpContent("123456", k.public)))
			return w.send("POST", verifyPath(seedEmailCredentialID), body)
		}},
		{otpLapsed, 401, "UNAUTHORIZED", otp, code(func(w *world, target string) string {
			w.clock.advance(300 * time.Second)
			return good(w, target)
		})},
		{otpWrong, 401, "UNAUTHORIZED", otp, code(wrong)},
		{otpTriedTooOften, 401, "UNAUTHORIZED", otp, code(func(w *world, target string) string {
			for range maxWrongCodes {
				w.send("POST", verifyPath(seedEmailCredentialID), wrong(w, target))
			}
			return good(w, target)
		})},
		{otpUsed, 401, "UNAUTHORIZED", otp, code(func(w *world, target string) string {
			w.signed(k, "POST", verifyPath(seedEmailCredentialID), good(w, target)).want(w.t, 200, "")
			return good(w, target)
		})},
		{otpSuperseded, 401, "UNAUTHORIZED", otp, code(func(w *world, target string) string {
			w.askForCode(seedEmailCredentialID)
			return good(w, target)
		})},
		{otpBundleMalformed, 400, "INVALID_INPUT", otp, bundle("{}")},
		{otpBundleNotHex, 400, "INVALID_INPUT", otp, bundle(`{"encappedPublic":"04","ciphertext":""}`)},
		{otpBundleOffCurve, 400, "INVALID_INPUT", otp, bundle(`{"encappedPublic":"04` + strings.Repeat("01", 64) + `","ciphertext":""}`)},
		{otpUndecryptable, 401, "UNAUTHORIZED", otp, code(func(w *world, _ string) string {
			return otpVerifyBody(w.t, "EMAIL_OTP", sealing{}.sealTo(w.t, newECDH(w.t).PublicKey(), "{}"))
		})},
		{otpContentMalformed, 400, "INVALID_INPUT", otp, content("{}")},
		{otpKeyInvalid, 400, "INVALID_INPUT", otp, content(otpContent("123456", "02"))},
		{signerUnmatched, 401, "WALLET_SIGNATURE_INVALID", Config{SeedEmailOTP: true, ProdStrict: true}, func(w *world) answer {
			body := w.sealedBody(w.askForCode(seedEmailCredentialID), w.lastCode(), k.uncompressed(w.t))
			started := w.signed(k, "POST", verifyPath(seedEmailCredentialID), body)
			return w.signed(k, "DELETE", sessionPath(started.text("id")), "")
		}},

		{passkeyRequestIDMissing, 401, "REQUEST_ID_MISSING", Config{}, passkey(nil)},
		{assertionNotBase64, 400, "INVALID_INPUT", Config{}, passkey(func(a *assertion) { a.id = "" })},
		{assertionClientDataMalformed, 400, "INVALID_INPUT", Config{}, passkey(func(a *assertion) { a.clientData = "[]" })},
		{assertionAuthDataMalformed, 400, "INVALID_INPUT", Config{}, passkey(func(a *assertion) { a.trailing = "x" })},
		{assertionOfAnother, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.id = "AAAA" })},
		{assertionOfAnotherType, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.clientData = "{}" })},
		{assertionChallengeMismatch, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.clientData = `{"type":"webauthn.get"}` })},
		{assertionOriginWrong, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) {
			a.clientData = strings.Replace(a.clientData, "wallet.example.com", "example.org", 1)
		})},
		{assertionForAnotherRP, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.rpID = "example.org" })},
		{assertionUserAbsent, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.flags = 0 })},
		{assertionSignatureInvalid, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.signature = []byte("x") })},
		{assertionCounterRegress, 401, "UNAUTHORIZED", Config{}, passkey(func(a *assertion) { a.counter = 1 })},

		{exportKeyCompressed, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			return w.send("POST", exportPath(seedAccountID), refreshBody(k.public))
		}},
		{walletIDMalformed, 400, "INVALID_INPUT", Config{}, func(w *world) answer {
			return w.send("POST", exportPath("InternalAccount:1"), refreshBody(k.uncompressed(w.t)))
		}},
	}
}
