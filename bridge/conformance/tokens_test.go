package conformance

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestSpoiltTokens wants each weakness of a verifier seen in the rows that are of
// it, and in no other.
func TestSpoiltTokens(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	signed := encode([]byte(`{"alg":"EdDSA"}`)) + "." + encode([]byte(`{"exp":1,"iss":"https://id.example","sub":"alice"}`))
	good := ed25519.Sign(private, []byte(signed))
	const bearer = "Bearer "
	token := signed + "." + encode(good)

	parts := func(r *http.Request) (header, payload string, signature []byte) {
		part := append(strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), bearer), "."), "", "")
		signature, _ = base64.RawURLEncoding.DecodeString(part[2])
		return part[0], part[1], signature
	}
	strict := func(r *http.Request) bool {
		header, payload, signature := parts(r)
		return len(r.Header["Authorization"]) == 1 && strings.Count(r.Header.Get("Authorization"), ".") == 2 &&
			len(signature) == ed25519.SignatureSize && ed25519.Verify(public, []byte(header+"."+payload), signature)
	}
	for name, v := range map[string]struct {
		believes func(r *http.Request) bool
		rows     string // that fail
	}{
		"none": {func(*http.Request) bool { return false }, ""},
		"alg is obeyed": {func(r *http.Request) bool {
			header, _, _ := parts(r)
			m := members(header)
			return m != nil && m["alg"] == "none"
		}, "alg none|alg none, signature kept"},
		"alg is obeyed in any case, without a signature": {func(r *http.Request) bool {
			header, _, signature := parts(r)
			m := members(header)
			return m != nil && strings.EqualFold(m["alg"].(string), "none") && len(signature) == 0
		}, "alg nOnE|alg none"},
		"the signature is compared as far as it goes": {func(r *http.Request) bool {
			header, payload, signature := parts(r)
			return header+"."+payload == signed && bytes.HasPrefix(good, signature)
		}, "four parts|no signature|signature cut short|two parts|two, the good one first"},
		"what is behind the signature is not read": {func(r *http.Request) bool {
			header, payload, signature := parts(r)
			return len(signature) >= 63 && header+"."+payload == signed && bytes.HasPrefix(signature, good[:63])
		}, "four parts|signature with more behind it|two, the good one first"},
		"the header is not signed": {func(r *http.Request) bool {
			_, payload, signature := parts(r)
			return strings.HasSuffix(signed, "."+payload) && bytes.Equal(signature, good)
		}, "alg none, signature kept|four parts|two, the good one first|typ changed"},
		"the signature is of what was checked before": {func(r *http.Request) bool {
			_, payload, signature := parts(r)
			var claims struct{ Sub string } // Go does not mind the case
			text, _ := base64.RawURLEncoding.DecodeString(payload)
			return json.Unmarshal(text, &claims) == nil && bytes.Equal(signature, good)
		}, "ISS beside iss|SUB beside sub|a later expiry|alg none, signature kept|four parts|one bit of the payload|two, the good one first|two, the good one last|typ changed"},
		"the last of two": {func(r *http.Request) bool { h := r.Header["Authorization"]; return len(h) == 2 && h[1] == bearer+token }, "two, the good one last"},
		"the query":       {func(r *http.Request) bool { return r.FormValue("access_token") == token }, "in the query"},
		"a cookie":        {func(r *http.Request) bool { c, err := r.Cookie("token"); return err == nil && c.Value == token }, "in a cookie"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Staging") != "yes" {
				w.WriteHeader(500) // the other headers go along
			} else if !strict(r) && !v.believes(r) {
				w.WriteHeader(401)
			}
		}))
		target, err := newTarget(Options{URL: server.URL, Account: "InternalAccount:x", Headers: []string{"X-Staging: yes", "Authorization: " + bearer + token}})
		if err != nil {
			t.Fatal(err)
		}
		var failed []string
		list := sorted(target.spoiltTokens())
		for _, p := range list {
			if strings.Contains(p.name, token) {
				t.Errorf("the name %q tells the token", p.name)
			}
			r, err := target.try(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if !r.OK {
				failed = append(failed, r.Name)
			}
		}
		server.Close()
		if got := strings.Join(failed, "|"); got != v.rows || len(list) < 15 {
			t.Errorf("believed too much: %s: %d rows, of which failed\n%s, want\n%s", name, len(list), got, v.rows)
		}
	}
}

// TestTokenInAnswer wants an answer noticed that repeats the user's token.
func TestTokenInAnswer(t *testing.T) {
	const token = "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"
	target, err := newTarget(Options{URL: "http://127.0.0.1", Account: "InternalAccount:x", Headers: []string{"Authorization: Bearer " + token}})
	if err != nil {
		t.Fatal(err)
	}
	for body, repeats := range map[string]bool{"": false, "no such token": false, "no such token: " + token: true} {
		clear(target.seen)
		target.observe("probe", reply{status: 401, body: body}, false)
		if got := len(target.seen[noSecret]) > 0; got != repeats {
			t.Errorf("%q: noticed %t, want %t", body, got, repeats)
		}
	}
}

// TestOtherCredentials wants no such rows where a token alone does not decide.
func TestOtherCredentials(t *testing.T) {
	const token = "Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA"
	for _, v := range []struct {
		headers []string
		ok      bool
	}{
		{[]string{token}, true},
		{[]string{"authorization: bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA"}, true},
		{[]string{token, "X-Staging: yes"}, true},
		{nil, false},
		{[]string{token, token}, false},
		{[]string{token, "Cookie: session=1"}, false},
		{[]string{"Authorization: Basic YTpi"}, false},
		{[]string{"Authorization: Bearer opaque"}, false},
		{[]string{"Authorization: Bearer a.b.c"}, false},
		{[]string{"Authorization: Bearer " + strings.Repeat("eyJhbGciOiJkaXIifQ.", 4) + "AAAA"}, false}, // encrypted: five parts
	} {
		target, err := newTarget(Options{URL: "http://127.0.0.1", Account: "InternalAccount:x", Headers: v.headers})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(target.spoiltTokens()); n > 0 != v.ok {
			t.Errorf("%q: %d rows, want some %t", v.headers, n, v.ok)
		}
	}
}
