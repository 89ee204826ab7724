package gridsim

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestVerify replaces one claim of a good token.
func TestVerify(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Unix()
	null := json.RawMessage("null")
	tests := []struct {
		name   string
		claim  string
		value  any // nil: no such claim; a function: of the client's key
		reason reason
	}{
		{"good", "other", 1, ""},
		{"audience-list-of-one", "aud", []string{seedIdentity.Audience}, ""},
		{"audience-list-of-two", "aud", []string{seedIdentity.Audience, "b"}, tokenClaimMalformed},
		{"audience-empty", "aud", "", tokenClaimMalformed},
		{"audience-missing", "aud", nil, tokenClaimMalformed},
		{"subject-empty", "sub", "", tokenClaimMalformed},
		{"subject-number", "sub", 1, tokenClaimMalformed},
		{"issuer-missing", "iss", nil, issuerUnsupported},
		{"issuer-without-scheme", "iss", "accounts.google.com", issuerMismatch},
		{"issued-missing", "iat", nil, tokenClaimMalformed},
		{"issued-null", "iat", null, tokenClaimMalformed},
		{"issued-65s-ago", "iat", now - 65, ""},
		{"issued-65.5s-ago", "iat", float64(now) - 65.5, tokenStale},
		{"issued-in-5s", "iat", now + 5, ""},
		{"expiry-missing", "exp", nil, tokenClaimMalformed},
		{"expiry-null", "exp", null, tokenClaimMalformed},
		{"expires-in-1s", "exp", now + 1, ""},
		{"expired-1s-ago", "exp", now - 1, tokenExpired},
		{"nonce-null", "nonce", null, nonceMissing},
		{"nonce-upper-case", "nonce", func(k key) string { return strings.ToUpper(nonce(k.public)) }, nonceMismatch},
		{"nonce-over-bytes", "nonce", func(k key) string {
			raw, _ := hex.DecodeString(k.public)
			return nonce(string(raw))
		}, nonceMismatch},
		{"nonce-over-other-encoding", "nonce", func(k key) string { return nonce(strings.ToUpper(k.public)) }, nonceMismatch},
		{"nonce-of-another-key", "nonce", nonce("02" + strings.Repeat("0", 64)), nonceMismatch},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w, k := newWorld(t, Config{}), newP256(t)
			if of, ok := test.value.(func(key) string); ok {
				test.value = of(k)
			}
			a := w.verify(credential1, k, with(w.claims(credential1, k.public), test.claim, test.value))
			if good := test.reason == ""; a.reason() != test.reason || (a.status == 200) != good || (len(w.listed(seedAccountID)) == 1) != good {
				t.Errorf("got %d %s, want %q", a.status, a.raw, test.reason)
			}
		})
	}
}

func TestVerifyBody(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	good := jwt(t, w.claims(credential1, k.public))
	for name, body := range map[string]string{
		"extra-fields":  `{"later":{"a":[1]},` + verifyBody(good, k.public)[1:],
		"white-space":   " \n" + strings.ReplaceAll(verifyBody(good, k.public), ":", " : ") + "\n",
		"rubbish-token": verifyBody(good[:strings.LastIndexByte(good, '.')+1]+"!!", k.public), // signature unchecked
	} {
		if a := w.send("POST", verifyPath(credential1), body); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	a := w.send("POST", verifyPath(credential1), verifyBody(good, k.public),
		"Content-Type", "application/json; charset=utf-8", headerSignature, "ignored", headerSignature, "too", headerRequestID, "ignored")
	a.want(t, 200, "")

	upper := strings.ToUpper(k.public)
	w.send("POST", verifyPath(credential1), verifyBody(jwt(t, w.claims(credential1, upper)), upper)).want(t, 200, "")

	for name, token := range map[string]string{
		"two-parts":        "e30.e30",
		"four-parts":       "e30.e30.x.x",
		"empty-parts":      "..",
		"header-no-object": encode("[]") + "." + strings.SplitN(good, ".", 2)[1],
		"claims-no-json":   "e30." + encode("{") + ".x",
		"claims-twice":     "e30." + encode(`{"iss":"a","iss":"a"}`) + ".x",
		"padded":           "e30=." + encode("{}") + ".x",
		"line-break":       `e3\n0.e30.x`,
	} {
		a := w.send("POST", verifyPath(credential1), verifyBody(token, k.public))
		if a.reason() != tokenMalformed {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	assertion := `{"credentialId":"","clientDataJson":"","authenticatorData":"","signature":""}`
	for name, test := range map[string]struct {
		body   string
		reason reason
	}{
		"case":         {strings.Replace(verifyBody(good, k.public), "oidcToken", "OIDCToken", 1), tokenMissing},
		"legacy":       {`{"type":"EMAIL_OTP","otp":"000000","clientPublicKey":"` + k.public + `"}`, otpBundleMissing},
		"otp":          {`{"type":"SMS_OTP","encryptedOtpBundle":null}`, otpBundleMissing},
		"passkey":      {`{"type":"PASSKEY"}`, assertionMalformed},
		"assertion":    {`{"type":"PASSKEY","assertion":` + strings.Replace(assertion, `"signature":""`, `"signature":1`, 1) + `}`, assertionMalformed},
		"other-type":   {`{"type":"PASSKEY","assertion":` + assertion + `}`, typeMismatch},
		"not-utf8":     {`{"x":"` + "\xff" + `",` + verifyBody(good, k.public)[1:], bodyNotObject},
		"empty":        {"", bodyNotObject},
		"trailing":     {verifyBody(good, k.public) + "{}", bodyNotObject},
		"null":         {"null", bodyNotObject},
		"no-break-sp":  {"\u00a0" + verifyBody(good, k.public), bodyNotObject},
		"wrong-type":   {`{"type":["OAUTH"]}`, typeMissing},
		"nothing-else": {`{"type":"OAUTH"}`, tokenMissing},
	} {
		a := w.send("POST", verifyPath(credential1), test.body, "Content-Type", "application/json")
		if a.status != 400 || a.reason() != test.reason {
			t.Errorf("%s: %d %s, want %q", name, a.status, a.raw, test.reason)
		}
	}
}

func TestClientKeyCurves(t *testing.T) {
	for _, test := range []struct {
		name     string
		p256Only bool
		key      key
		status   int
	}{
		{"P256", false, newKeyOn(t, newP256, k256, false), 200},
		{"secp256k1", false, newKeyOn(t, newK256, p256, false), 200},
		{"P256-when-P256Only", true, newKeyOn(t, newP256, k256, false), 200},
		{"secp256k1-when-P256Only", true, newKeyOn(t, newK256, p256, false), 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Config{P256Only: test.p256Only})
			a := w.verify(credential1, test.key, w.claims(credential1, test.key.public))
			if a.status != test.status {
				t.Errorf("got %d %s, want %d", a.status, a.raw, test.status)
			}
		})
	}
}

// TestNonceVectors holds the nonce convention against the corpus.
func TestNonceVectors(t *testing.T) {
	now := time.Now()
	for _, v := range readVectors[struct{ Name, ClientPublicKey, Nonce string }](t, "nonce.json") {
		claims := oidcClaims{nonce: v.Nonce, hasNonce: true, issuedAt: float64(now.Unix()), expires: float64(now.Unix() + 60)}
		if err := claims.check(OIDCIdentity{}, v.ClientPublicKey, now); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if err := claims.check(OIDCIdentity{}, strings.ToUpper(v.ClientPublicKey), now); err != nonceMismatch {
			t.Errorf("%s in upper case: %v, want %v", v.Name, err, nonceMismatch)
		}
	}
}
