package identity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

func TestOIDC(t *testing.T) {
	now := time.Unix(1_775_681_700, 0)
	es, other, rs, ed := newES256(t, "es"), newES256(t, "es"), newRS256(t, "rs", 2048), newEdDSA(t, "ed")
	set := jwks(es, rs, ed)
	authenticate, err := identity.NewOIDC(t.Context(), identity.OIDC{
		Issuers:       []identity.Issuer{{Issuer: "https://id.example", Audience: "grid", Keys: func(context.Context) ([]byte, error) { return set, nil }}},
		AccountsClaim: "grid_accounts", Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	claims := func(change object) object {
		c := object{
			"iss": "https://id.example", "aud": "grid", "sub": "u1", "exp": now.Unix() + 60,
			"grid_accounts": []string{alice, aliceToo},
		}
		for name, value := range change {
			c[name] = value
			if value == nil {
				delete(c, name)
			}
		}
		return c
	}
	signed := func(k issuerKey, change object) string { return k.token(t, k.header(), claims(change)) }
	with := func(change object) []string { return []string{"Bearer " + signed(es, change)} }
	headed := func(change object) []string {
		h := es.header()
		maps.Copy(h, change)
		return []string{"Bearer " + es.token(t, h, claims(nil))}
	}
	// raw adds text to the claims, to which no map of Go's can have a name twice.
	raw := func(members string) []string {
		h, _ := json.Marshal(es.header())
		p, _ := json.Marshal(claims(nil))
		return []string{"Bearer " + es.sign(t, string(h), strings.TrimSuffix(string(p), "}")+","+members+"}")}
	}
	hmacToken := func() string {
		h, _ := json.Marshal(object{"alg": "HS256", "kid": "es"})
		p, _ := json.Marshal(claims(nil))
		text := b64.EncodeToString(h) + "." + b64.EncodeToString(p)
		point, _ := es.key.Public().(*ecdsa.PublicKey).Bytes()
		mac := hmac.New(sha256.New, point)
		mac.Write([]byte(text))
		return text + "." + b64.EncodeToString(mac.Sum(nil))
	}
	unsigned := func() string {
		token := es.token(t, object{"alg": "none"}, claims(nil))
		return token[:strings.LastIndex(token, ".")+1]
	}
	many := func(n int) (accounts []string) {
		for i := range n {
			accounts = append(accounts, fmt.Sprintf("InternalAccount:019542f5-b3e7-1d02-0000-%012d", i))
		}
		return accounts
	}
	good := signed(es, nil)
	parts := strings.Split(good, ".")

	both := []string{alice, aliceToo}
	tests := []struct {
		name          string
		authorization []string
		accounts      []string      // nil and no reason: a user with no accounts
		reason        bridge.Reason // "" for a user
	}{
		{"ES256", []string{"Bearer " + good}, both, ""},
		{"RS256", []string{"Bearer " + signed(rs, nil)}, both, ""},
		{"EdDSA", []string{"Bearer " + signed(ed, nil)}, both, ""},
		{"scheme in lower case", []string{"bearer " + good}, both, ""},
		{"audience in a list", with(object{"aud": []string{"a", "grid"}}), both, ""},
		{"one account as a string", with(object{"grid_accounts": alice}), []string{alice}, ""},
		{"no accounts claim", with(object{"grid_accounts": nil}), nil, ""},
		{"accounts repeated", with(object{"grid_accounts": []string{alice, aliceToo, alice, alice}}), both, ""},
		{"16 accounts, each twice", with(object{"grid_accounts": append(many(16), many(16)...)}), many(16), ""},
		{"at its expiry", with(object{"exp": now.Unix()}), both, ""},
		{"type JWT", headed(object{"typ": "JWT"}), both, ""},
		{"type at+jwt", headed(object{"typ": "AT+jwt"}), both, ""},
		{"type application/at+jwt", headed(object{"typ": "application/at+jwt"}), both, ""},
		{"clock of the issuer ahead", with(object{"iat": now.Unix() + 60, "nbf": now.Unix() + 60}), both, ""},

		{"no header", nil, nil, bridge.ReasonNoToken},
		{"Basic", []string{"Basic " + good}, nil, bridge.ReasonNoToken},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, nil, bridge.ReasonTokenForm},
		{"scheme only", []string{"Bearer"}, nil, bridge.ReasonTokenForm},
		{"two spaces", []string{"Bearer  " + good}, nil, bridge.ReasonTokenForm},
		{"two tokens", []string{"Bearer " + good + "," + good}, nil, bridge.ReasonTokenForm},
		{"not a JWT", []string{"Bearer abc"}, nil, bridge.ReasonTokenForm},
		{"JSON serialisation", []string{`Bearer {"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`}, nil, bridge.ReasonTokenForm},
		{"over 8 KiB", with(object{"x": strings.Repeat("x", 8<<10)}), nil, bridge.ReasonTokenForm},
		{"claims that are no object", []string{"Bearer " + es.sign(t, `{"alg":"ES256","kid":"es"}`, `["iss"]`)}, nil, bridge.ReasonTokenForm},
		{"critical extension", headed(object{"crit": []string{"x"}, "x": 1}), nil, bridge.ReasonTokenForm},
		{"critical extension that a library knows", headed(object{"crit": []string{"b64"}, "b64": true}), nil, bridge.ReasonTokenForm},
		{"header name twice", []string{"Bearer " + es.sign(t, `{"alg":"ES256","kid":"es","kid":"es"}`, `{}`)}, nil, bridge.ReasonTokenForm},
		{"type of a logout token", headed(object{"typ": "logout+jwt"}), nil, bridge.ReasonTokenType},
		{"type of a DPoP proof", headed(object{"typ": "dpop+jwt"}), nil, bridge.ReasonTokenType},
		{"type that is no text", headed(object{"typ": 1}), nil, bridge.ReasonTokenType},
		{"alg none", []string{"Bearer " + unsigned()}, nil, bridge.ReasonTokenAlgorithm},
		{"HMAC under the public key", []string{"Bearer " + hmacToken()}, nil, bridge.ReasonTokenAlgorithm},
		{"alg of another key", []string{"Bearer " + es.token(t, object{"alg": "RS256", "kid": "es"}, claims(nil))}, nil, bridge.ReasonTokenKey},
		{"alg not in the list", []string{"Bearer " + rs.token(t, object{"alg": "RS512", "kid": "rs"}, claims(nil))}, nil, bridge.ReasonTokenAlgorithm},
		{"another key of the same id", []string{"Bearer " + signed(other, nil)}, nil, bridge.ReasonTokenSignature},
		{"key in the header", []string{"Bearer " + other.token(t, object{"alg": "ES256", "jwk": other.jwk()}, claims(nil))}, nil, bridge.ReasonTokenSignature},
		{"changed payload", []string{"Bearer " + parts[0] + "." + strings.Split(signed(es, object{"sub": "u2"}), ".")[1] + "." + parts[2]}, nil, bridge.ReasonTokenSignature},
		{"another issuer", with(object{"iss": "https://id.example/"}), nil, bridge.ReasonTokenIssuer},
		{"no issuer", with(object{"iss": nil}), nil, bridge.ReasonTokenIssuer},
		{"another audience", with(object{"aud": "grid2"}), nil, bridge.ReasonTokenAudience},
		{"no audience", with(object{"aud": nil}), nil, bridge.ReasonTokenAudience},
		{"expired", with(object{"exp": now.Unix() - 1}), nil, bridge.ReasonTokenExpired},
		{"not yet valid", with(object{"nbf": now.Unix() + 61}), nil, bridge.ReasonTokenEarly},
		{"issued in the future", with(object{"iat": now.Unix() + 61}), nil, bridge.ReasonTokenEarly},
		{"bound to a certificate", with(object{"cnf": object{"x5t#S256": "x"}}), nil, bridge.ReasonTokenBound},
		{"bound to nothing", raw(`"cnf":null`), nil, bridge.ReasonTokenBound},
		{"no expiry", with(object{"exp": nil}), nil, bridge.ReasonClaimMissing},
		{"no subject", with(object{"sub": nil}), nil, bridge.ReasonClaimMissing},
		{"empty subject", with(object{"sub": ""}), nil, bridge.ReasonClaimMissing},
		{"subject a number", with(object{"sub": 1}), nil, bridge.ReasonClaimForm},
		{"subject that is no text", with(object{"sub": json.RawMessage(`"u\ud800"`)}), nil, bridge.ReasonClaimForm},
		{"subject too long", with(object{"sub": strings.Repeat("u", 256)}), nil, bridge.ReasonUserID},
		{"expiry a text", with(object{"exp": "9999999999"}), nil, bridge.ReasonClaimForm},
		{"accounts not strings", with(object{"grid_accounts": []any{alice, 1}}), nil, bridge.ReasonClaimForm},
		{"accounts an object", with(object{"grid_accounts": object{"a": alice}}), nil, bridge.ReasonClaimForm},
		{"17 accounts", with(object{"grid_accounts": many(17)}), nil, bridge.ReasonTooManyAccounts},

		{"another user in capitals", raw(`"SUB":"u2"`), both, ""},
		{"only a user in capitals", with(object{"sub": nil, "SUB": "u1"}), nil, bridge.ReasonClaimMissing},
		{"another issuer in capitals", raw(`"ISS":"https://evil.example"`), both, ""},
		{"the issuer in capitals", with(object{"iss": "https://evil.example", "ISS": "https://id.example"}), nil, bridge.ReasonTokenIssuer},
		{"the audience in capitals", with(object{"aud": "other", "AUD": "grid"}), nil, bridge.ReasonTokenAudience},
		{"the expiry in capitals", with(object{"exp": now.Unix() - 1, "Exp": now.Unix() + 60}), nil, bridge.ReasonTokenExpired},
		{"accounts in capitals", raw(`"Grid_Accounts":["` + mallory + `"]`), both, ""},
		{"user twice", raw(`"sub":"u2"`), nil, bridge.ReasonTokenForm},
		{"user twice, once escaped", raw(`"s\u0075b":"u2"`), nil, bridge.ReasonTokenForm},
		{"issuer twice", raw(`"iss":"https://id.example"`), nil, bridge.ReasonTokenForm},
		{"accounts twice", raw(`"grid_accounts":["` + mallory + `"]`), nil, bridge.ReasonTokenForm},
		{"a name twice further in", raw(`"x":{"y":1,"y":2}`), nil, bridge.ReasonClaimForm},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header["Authorization"] = v.authorization
			user, err := authenticate(r)
			assertReason(t, err, v.reason)
			says, _ := errors.AsType[bridge.WWWAuthenticate](err)
			want, text := bridge.WWWAuthenticate(`Bearer error="invalid_token"`), string(v.reason)+": "+says.Error()
			if v.reason == "" || v.reason == bridge.ReasonNoToken { // RFC 6750, 3.1
				want, text = "", string(v.reason)
			}
			if err != nil && err.Error() != text || says != want {
				t.Errorf("error = %v that says %q, want nothing but the reason %q and %q", err, says, v.reason, want)
			}
			if v.reason == "" && (user.ID != "u1" || !slices.Equal(user.Accounts, v.accounts)) {
				t.Errorf("user = %+v, want u1 with %v", user, v.accounts)
			}
		})
	}
}

// TestIssuers has issuers that do not know of each other, and of whom each has a
// user "1".
func TestIssuers(t *testing.T) {
	first, second := newES256(t, "k"), newES256(t, "k")
	source := func(k issuerKey) identity.KeySource {
		return func(context.Context) ([]byte, error) { return jwks(k), nil }
	}
	authenticate, err := identity.NewOIDC(t.Context(), identity.OIDC{Issuers: []identity.Issuer{
		{Issuer: "https://a.example", Audience: "a", Keys: source(first)},
		{Issuer: "https://b.example", Audience: "b", Keys: source(second)},
	}, AccountsClaim: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name          string
		key           issuerKey
		iss, aud, sub string
		reason        bridge.Reason
	}{
		{"first", first, "https://a.example", "a", "1", ""},
		{"second", second, "https://b.example", "b", "1", ""},
		{"subject-that-is-another-s", second, "https://b.example", "b", "https://a.example 1", ""},
		{"key-of-the-first", first, "https://b.example", "b", "1", bridge.ReasonTokenSignature},
		{"key-of-the-second", second, "https://a.example", "a", "1", bridge.ReasonTokenSignature},
		{"audience-of-the-first", second, "https://b.example", "a", "1", bridge.ReasonTokenAudience},
		{"prefix-of-an-issuer", first, "https://a.exampl", "a", "1", bridge.ReasonTokenIssuer},
		{"issuer-and-more", first, "https://a.example/", "a", "1", bridge.ReasonTokenIssuer},
		{"at-255-bytes", first, "https://a.example", "a", strings.Repeat("s", 255-len("https://a.example ")), ""},
		{"over-255-bytes", first, "https://a.example", "a", strings.Repeat("s", 256-len("https://a.example ")), bridge.ReasonUserID},
	} {
		user, err := authenticate(bearerRequest(v.key.token(t, v.key.header(), map[string]any{"iss": v.iss, "aud": v.aud, "sub": v.sub, "exp": time.Now().Unix() + 60})))
		t.Run(v.name, func(t *testing.T) {
			assertReason(t, err, v.reason)
			if want := v.iss + " " + v.sub; v.reason == "" && user.ID != want {
				t.Errorf("user = %q, want %q", user.ID, want)
			}
		})
	}
}

// TestOIDCConfig wants all that is wrong at once, and no text that may be a URL
// with a password.
func TestOIDCConfig(t *testing.T) {
	keys := func(context.Context) ([]byte, error) { return jwks(newES256(t, "k")), nil }
	password := "https://user:" + url.QueryEscape(canary) + "@id.example"
	for _, v := range []struct {
		name string
		oidc identity.OIDC
		want []string
	}{
		{"nothing", identity.OIDC{}, []string{"no token issuer is set", "the accounts claim is not set"}},
		{"two-issuers", identity.OIDC{Issuers: []identity.Issuer{
			{Issuer: "i", Keys: keys}, {Audience: "a"}, {Issuer: "i", Audience: "a", Keys: identity.KeysFrom("", identity.HTTP{})},
			{Issuer: "i i", Audience: "a", Keys: keys}, {Issuer: password, Audience: "a", Keys: identity.DiscoverKeys(password, identity.HTTP{})},
		}}, []string{
			"issuer 1: the token audience is not set", "issuer 2: the token issuer is not set", "issuer 2: no source of keys", "issuer 3: it is there twice",
			"issuer 3: reading the key set (JWKS): no file or URL is set", "issuer 4: there is a space in it", "issuer 5: reading the key set (JWKS): discovery: the URL is",
			"the accounts claim is not set",
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			_, err := identity.NewOIDC(t.Context(), v.oidc)
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			for _, want := range v.want {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "identity: "+want) }) {
					t.Errorf("error = %v, want %q in it", err, want)
				}
			}
			if len(lines) != len(v.want) {
				t.Errorf("error = %v, want %d lines", err, len(v.want))
			}
			assertNoCanary(t, "the error", err.Error())
		})
	}
}

// TestKnownTokenExpires checks a token twice, so that the second answer comes
// from memory, and then at its expiry.
func TestKnownTokenExpires(t *testing.T) {
	var now clock
	key := newES256(t, "k")
	o := one(func(context.Context) ([]byte, error) { return jwks(key), nil })
	o.Now = now.time
	authenticate, err := identity.NewOIDC(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+key.token(t, map[string]any{"alg": "ES256", "kid": "k"}, map[string]any{
		"iss": "i", "aud": "a", "sub": "u", "exp": now.time().Add(10 * time.Second).Unix(), "c": alice}))
	for _, step := range []struct {
		after time.Duration
		ok    bool
	}{{0, true}, {0, true}, {9 * time.Second, true}, {2 * time.Second, false}, {0, false}} {
		now.advance(step.after)
		if user, err := authenticate(r); (err == nil) != step.ok || step.ok && (user.ID != "u" || !slices.Equal(user.Accounts, []string{alice})) {
			t.Errorf("at %s: user = %+v, %v; want ok %t", now.time().Format(time.TimeOnly), user, err, step.ok)
		}
	}
	r.Header.Set("Authorization", r.Header.Get("Authorization")[:len(r.Header.Get("Authorization"))-1])
	if _, err := authenticate(r); err == nil {
		t.Error("a token cut by one character is believed")
	}
}
