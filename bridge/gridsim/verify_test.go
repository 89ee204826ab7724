package gridsim

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

func TestVerify(t *testing.T) {
	now := time.Date(2026, 8, 22, 10, 0, 0, 0, time.UTC).Unix()
	tests := []struct {
		name   string
		claims func(good map[string]any, k key) map[string]any
		status int
		code   string
	}{
		{"good", func(good map[string]any, k key) map[string]any { return good }, 200, ""},
		{"audience-list-of-one", func(good map[string]any, k key) map[string]any {
			return with(good, "aud", []string{seedIdentity.Audience})
		}, 200, ""},
		{"audience-list-of-two", func(good map[string]any, k key) map[string]any {
			return with(good, "aud", []string{seedIdentity.Audience, "b"})
		}, 400, "INVALID_INPUT"},
		{"audience-empty", func(good map[string]any, k key) map[string]any { return with(good, "aud", "") }, 400, "INVALID_INPUT"},
		{"audience-missing", func(good map[string]any, k key) map[string]any { return with(good, "aud", nil) }, 400, "INVALID_INPUT"},
		{"subject-empty", func(good map[string]any, k key) map[string]any { return with(good, "sub", "") }, 400, "INVALID_INPUT"},
		{"subject-number", func(good map[string]any, k key) map[string]any { return with(good, "sub", 1) }, 400, "INVALID_INPUT"},
		{"issuer-missing", func(good map[string]any, k key) map[string]any { return with(good, "iss", nil) }, 400, "INVALID_INPUT"},
		{"issuer-without-scheme", func(good map[string]any, k key) map[string]any {
			return with(good, "iss", "accounts.google.com")
		}, 401, "UNAUTHORIZED"},
		{"expiry-missing", func(good map[string]any, k key) map[string]any { return with(good, "exp", nil) }, 400, "INVALID_INPUT"},
		{"issued-65s-ago", func(good map[string]any, k key) map[string]any { return with(good, "iat", now-65) }, 200, ""},
		{"issued-65.5s-ago", func(good map[string]any, k key) map[string]any {
			return with(good, "iat", float64(now)-65.5)
		}, 401, "UNAUTHORIZED"},
		{"issued-in-5s", func(good map[string]any, k key) map[string]any { return with(good, "iat", now+5) }, 200, ""},
		{"expires-in-1s", func(good map[string]any, k key) map[string]any { return with(good, "exp", now+1) }, 200, ""},
		{"expired-1s-ago", func(good map[string]any, k key) map[string]any { return with(good, "exp", now-1) }, 401, "UNAUTHORIZED"},
		{"nonce-upper-case", func(good map[string]any, k key) map[string]any {
			return with(good, "nonce", strings.ToUpper(nonce(k.public)))
		}, 401, "UNAUTHORIZED"},
		{"nonce-over-bytes", func(good map[string]any, k key) map[string]any {
			raw, err := hex.DecodeString(k.public)
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(raw)
			return with(good, "nonce", hex.EncodeToString(sum[:]))
		}, 401, "UNAUTHORIZED"},
		{"nonce-over-other-encoding", func(good map[string]any, k key) map[string]any {
			return with(good, "nonce", nonce(strings.ToUpper(k.public)))
		}, 401, "UNAUTHORIZED"},
		{"nonce-of-another-key", func(good map[string]any, k key) map[string]any {
			return with(good, "nonce", nonce(newP256(t).public))
		}, 401, "UNAUTHORIZED"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, Config{})
			k := newP256(t)
			a := w.verify(credential1, k, test.claims(w.claims(credential1, k.public), k))
			a.want(t, test.status, test.code)
			if got, want := len(w.listed(seedAccountID)), map[bool]int{true: 1}[test.status == 200]; got != want {
				t.Errorf("%d sessions, want %d", got, want)
			}
		})
	}
}

func TestVerifyBody(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	good := jwt(t, w.claims(credential1, k.public))
	for name, body := range map[string]string{
		"extra-fields":  `{"later":{"a":[1]},` + verifyBody(good, k.public)[1:],
		"white-space":   " \n" + verifyBody(good, k.public) + "\n",
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
	for name, body := range map[string]string{
		"case":         strings.Replace(verifyBody(good, k.public), "oidcToken", "OIDCToken", 1),
		"legacy":       `{"type":"EMAIL_OTP","otp":"000000","clientPublicKey":"` + k.public + `"}`,
		"not-utf8":     `{"type":"OAUTH","x":"` + "\xff" + `"}`,
		"empty":        "",
		"trailing":     verifyBody(good, k.public) + "{}",
		"null":         "null",
		"no-break-sp":  "\u00a0" + verifyBody(good, k.public),
		"wrong-type":   `{"type":["OAUTH"]}`,
		"nothing-else": `{"type":"OAUTH"}`,
	} {
		a := w.send("POST", verifyPath(credential1), body, "Content-Type", "application/json")
		if a.status != 400 || a.code() != "INVALID_INPUT" {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
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

// TestNonceVector pins the nonce convention to the compressed example key of
// Grid's documentation.
func TestNonceVector(t *testing.T) {
	const public = "02f45f2a22c908b9ce09a7150e514afd24627c401c38a4afc164e1ea783adaaa31"
	w := newWorld(t, Config{})
	claims := with(w.claims(credential1, public), "nonce", "24afbb45e88967cf181405d0804cfa7c998c8437b5c601e5d1f477e3303bceb7")
	w.send("POST", verifyPath(credential1), verifyBody(jwt(t, claims), public)).want(t, 200, "")
}
