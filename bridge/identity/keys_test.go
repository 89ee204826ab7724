package identity_test

import (
	"context"
	"crypto/elliptic"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

func TestKeysRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own, which Sleep moves
		first, second := newES256(t, "first"), newES256(t, "second")
		set, reads := jwks(first), 0
		var down error
		authenticate, err := identity.NewOIDC(t.Context(), one(func(context.Context) ([]byte, error) { reads++; return set, down }))
		if err != nil {
			t.Fatal(err)
		}
		assert := func(step string, k issuerKey, want bool, wantReads int) {
			t.Helper()
			_, err := authenticate(bearerRequest(k.fresh(t)))
			if (err == nil) != want || reads != wantReads {
				t.Errorf("%s: error %v after %d reads, want ok %t after %d", step, err, reads, want, wantReads)
			}
			if !want && errors.Is(err, bridge.ErrAuthUnavailable) != (down != nil) { // it may be good, and signs nobody out
				t.Errorf("%s: error %v, want that nobody can say: %t", step, err, down != nil)
			}
		}
		assert("first key", first, true, 1)
		set = jwks(first, second)
		for range 50 {
			assert("unknown key, at once", second, false, 1)
		}
		time.Sleep(10 * time.Second)
		assert("second key, later", second, true, 2)
		down = errors.New("the issuer is down")
		time.Sleep(time.Hour)
		assert("unknown key, issuer down", newES256(t, "third"), false, 3)
		assert("known key, issuer down", first, true, 3)
	})
}

// TestKeysAge has an issuer withdraw a key, go down, and answer with what is no
// key set: only the first makes a difference to its users.
func TestKeysAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, withdrawn := newES256(t, "good"), newES256(t, "withdrawn")
		set, down := jwks(good, withdrawn), error(nil)
		log := &lockedBuffer{}
		seen := &events{}
		o := one(func(context.Context) ([]byte, error) { return set, down })
		o.Log, o.Observe = slog.New(slog.NewTextHandler(log, nil)), seen.observe
		authenticate, err := identity.NewOIDC(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		assert := func(step string, k issuerKey, want bool) {
			t.Helper()
			if _, err := authenticate(bearerRequest(k.fresh(t))); (err == nil) != want {
				t.Errorf("%s: error %v, want ok %t", step, err, want)
			}
		}
		set = jwks(good)
		assert("just withdrawn", withdrawn, true)
		time.Sleep(5 * time.Minute)
		assert("withdrawn", withdrawn, false)
		assert("not withdrawn", good, true)
		// told wants one event, and a line in the log if that is of a failure.
		told := func(step string, reason bridge.Reason) {
			t.Helper()
			if got := seen.take(); !slices.Equal(got, []bridge.Event{{Kind: bridge.EventKeys, Reason: reason}}) {
				t.Errorf("%s: events %v, want one with the reason %q", step, got, reason)
			}
			text := log.take()
			if reason != "" && (!strings.Contains(text, "key set not read") || !strings.HasSuffix(text, " issuer=1 reason="+string(reason)+"\n")) || reason == "" && text != "" {
				t.Errorf("%s: the log holds %q, want the reason %q", step, text, reason)
			}
			assertNoCanary(t, "the log", text)
		}
		told("read", "")
		for text, reason := range map[string]bridge.Reason{
			"": bridge.ReasonNotJSON, "<html>" + canary: bridge.ReasonNotJSON, "{}": bridge.ReasonForm, "null": bridge.ReasonForm,
			`{"keys":[]}`: bridge.ReasonForm, `{"Keys":[{}]}`: bridge.ReasonForm, `{"keys":[{}]}`: bridge.ReasonForm, `{"keys":[1]}`: bridge.ReasonForm,
			`{"keys":[{"kty":"oct","k":"AAAA"}]}`: bridge.ReasonForm, strings.Repeat("[", 1<<20): bridge.ReasonNotJSON,
		} {
			set = []byte(text)
			time.Sleep(time.Hour)
			name := "key set " + text[:min(len(text), 40)]
			assert(name, good, true)
			told(name, reason)
		}
		for _, v := range []struct {
			err    error
			reason bridge.Reason
		}{
			{errors.New("refused with " + canary), bridge.ReasonUnknown},
			{&url.Error{Op: "Get", URL: "https://user:" + canary + "@id.example/", Err: syscall.ECONNREFUSED}, bridge.ReasonRefused},
			{&fs.PathError{Op: "open", Path: canary, Err: fs.ErrNotExist}, bridge.ReasonNotFound},
		} {
			down = v.err
			time.Sleep(time.Hour)
			assert("issuer down", good, true)
			told("issuer down", v.reason)
		}
		set, down = append([]byte(`{"keys":[{"kty":"new"},`), jwks(withdrawn)[len(`{"keys":[`):]...), nil
		time.Sleep(time.Hour)
		assert("beside a key of a kind to come", withdrawn, true)
	})
}

// TestIssuerHangs has strangers make up tokens, each of which asks for a newer
// key set, while the issuer does not answer: they wait for it together, and
// only once.
func TestIssuerHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good, unknown := newES256(t, "good"), newES256(t, "unknown")
		var reads atomic.Int32
		authenticate, err := identity.NewOIDC(t.Context(), one(func(ctx context.Context) ([]byte, error) {
			if reads.Add(1) == 1 {
				return jwks(good), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		assert := func(step string, k issuerKey, ok bool, at time.Duration, wantReads int32) {
			t.Helper()
			_, err := authenticate(bearerRequest(k.fresh(t)))
			if took := time.Since(start); (err == nil) != ok || took != at || reads.Load() != wantReads {
				t.Errorf("%s: error %v at %s after %d reads, want ok %t at %s after %d", step, err, took, reads.Load(), ok, at, wantReads)
			}
		}
		time.Sleep(10 * time.Second)
		var all sync.WaitGroup
		for range 9 {
			all.Go(func() { assert("stranger", unknown, false, 12*time.Second, 2) })
		}
		synctest.Wait() // for all of them to wait
		assert("user", good, true, 10*time.Second, 2)
		all.Wait()
		assert("a later stranger", unknown, false, 12*time.Second, 2)
		time.Sleep(18 * time.Second) // to the end of the read
		synctest.Wait()
		assert("a stranger after the read", unknown, false, 30*time.Second, 2)
		time.Sleep(5 * time.Minute)
		assert("a user of an old set", good, true, 332*time.Second, 3)
		assert("another user of an old set", good, true, 332*time.Second, 3)
		time.Sleep(time.Minute) // to the end of the read
	})
}

func TestKeysFrom(t *testing.T) {
	set := jwks(newES256(t, "k"))
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, set, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/keys":
			w.Write(set)
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/empty":
			w.Write([]byte(`{"keys":[]}`))
		case "/garbage":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "HTTP/1.1 "+canary+"\r\n\r\n")
			conn.Close()
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	tests := []struct {
		name, location string
		ok             bool
	}{
		{"file", file, true},
		{"URL", server.URL + "/keys", true},
		{"URL with a query", server.URL + "/keys?p=1", true},
		{"nothing", "", false},
		{"no file", file + "x", false},
		{"not found", server.URL + "/nothing", false},
		{"redirect", server.URL + "/moved", false},
		{"no keys", server.URL + "/empty", false},
		{"garbage", server.URL + "/garbage", false},
		{"not loopback", "http://keys.example/keys", false},
		{"scheme", "file:///etc/passwd", false},
		{"with a password", "https://user:" + url.QueryEscape(canary) + "@keys.example/", false},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			_, err := identity.NewOIDC(t.Context(), one(identity.KeysFrom(v.location, identity.HTTP{})))
			if (err == nil) != v.ok {
				t.Errorf("error = %v, want ok %t", err, v.ok)
			}
			if err != nil {
				assertNoCanary(t, "the error", err.Error())
			}
		})
	}
}

// TestKeySelection has sets of which only some keys are for the token.
func TestKeySelection(t *testing.T) {
	type object = map[string]any
	es, second, nameless, nextNameless := newES256(t, "es"), newES256(t, "second"), newES256(t, ""), newES256(t, "")
	es384, rs, ed := newEC(t, "es384", "ES384", elliptic.P384()), newRS256(t, "rs", 2048), newEdDSA(t, "ed")
	weak := newRS256(t, "weak", 1024)
	as := func(k issuerKey, id string) issuerKey { k.id = id; return k }
	for _, v := range []struct {
		name   string
		set    []object
		signer issuerKey
		reason bridge.Reason
	}{
		{"the-only-key", []object{es.jwk()}, es, ""},
		{"by-its-name", []object{second.jwk(), es.jwk()}, es, ""},
		{"P-384", []object{es384.jwk()}, es384, ""},
		{"Ed25519", []object{ed.jwk()}, ed, ""},
		{"for-signatures", []object{es.jwk(object{"use": "sig", "key_ops": []string{"verify"}, "alg": "ES256"})}, es, ""},
		{"no-names-at-all", []object{nextNameless.jwk(), nameless.jwk()}, nameless, ""},
		{"named-by-the-token-only", []object{nextNameless.jwk(), nameless.jwk()}, as(nameless, "name"), ""},
		{"named-by-the-set-only", []object{second.jwk(), es.jwk()}, as(es, ""), ""},
		{"two-of-one-name", []object{second.jwk(object{"kid": "es"}), es.jwk()}, es, ""},

		{"name-that-no-key-has", []object{es.jwk(), second.jwk()}, as(es, "third"), bridge.ReasonTokenKey},
		{"name-that-no-key-has-beside-one-without", []object{second.jwk(), nameless.jwk()}, as(nameless, "third"), bridge.ReasonTokenKey},
		{"name-of-another-key", []object{es.jwk(), second.jwk()}, as(es, "second"), bridge.ReasonTokenSignature},
		{"for-encryption", []object{second.jwk(), es.jwk(object{"use": "enc"})}, es, bridge.ReasonTokenKey},
		{"use-of-a-kind-to-come", []object{second.jwk(), es.jwk(object{"use": "wrap"})}, es, bridge.ReasonTokenKey},
		{"operations-without-verify", []object{second.jwk(), es.jwk(object{"key_ops": []string{"deriveKey"}})}, es, bridge.ReasonTokenKey},
		{"no-operations", []object{second.jwk(), es.jwk(object{"key_ops": []string{}})}, es, bridge.ReasonTokenKey},
		{"operations-that-are-no-list", []object{second.jwk(), es.jwk(object{"key_ops": "verify"})}, es, bridge.ReasonTokenKey},
		{"algorithm-of-another", []object{rs.jwk(object{"alg": "PS256"})}, rs, bridge.ReasonTokenKey},
		{"algorithm-of-encryption", []object{second.jwk(), rs.jwk(object{"alg": "RSA-OAEP"})}, rs, bridge.ReasonTokenKey},
		{"algorithm-of-another-curve", []object{second.jwk(), es.jwk(object{"alg": "ES384"})}, es, bridge.ReasonTokenKey},
		{"curve-of-another-algorithm", []object{es384.jwk()}, issuerKey{"es384", "ES256", es384.key}, bridge.ReasonTokenKey},
		{"RSA-of-1024-bits", []object{second.jwk(), weak.jwk()}, weak, bridge.ReasonTokenKey},
	} {
		t.Run(v.name, func(t *testing.T) {
			authenticate, err := identity.NewOIDC(t.Context(), one(func(context.Context) ([]byte, error) { return setOf(v.set...), nil }))
			if err == nil {
				_, err = authenticate(bearerRequest(v.signer.fresh(t)))
			}
			assertReason(t, err, v.reason)
		})
	}
}

// TestKeySetsWithoutUse are refused at the start, in words.
func TestKeySetsWithoutUse(t *testing.T) {
	es, weak := newES256(t, canary), newRS256(t, "weak", 1024)
	private := es.jwk(map[string]any{"d": b64.EncodeToString(make([]byte, 32))})
	for name, v := range map[string]struct {
		set  []byte
		want string
	}{
		"encryption": {setOf(es.jwk(map[string]any{"use": "enc"})), "of 1 keys, 1 are for something else (use, key_ops), 0 are RSA keys under 2048 bits, and 0 are of another kind or private"},
		"weak":       {setOf(weak.jwk()), "of 1 keys, 0 are for something else (use, key_ops), 1 are RSA keys under 2048 bits"},
		"mixed":      {setOf(weak.jwk(), es.jwk(map[string]any{"use": "enc"}), private), "of 3 keys, 1 are for something else (use, key_ops), 1 are RSA keys under 2048 bits, and 1 are of another kind or private"},
		"empty":      {setOf(), "at least one public key"},
		"no-json":    {[]byte(canary), "no JSON"},
	} {
		_, err := identity.NewOIDC(t.Context(), one(func(context.Context) ([]byte, error) { return v.set, nil }))
		if err == nil || !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: error = %v, want one with %q", name, err, v.want)
			continue
		}
		assertNoCanary(t, "the error", err.Error())
	}
}

// TestKeysLeftOut has a set with a key that is of use, and reads in the log of the others, once
// and by no name of theirs.
func TestKeysLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own, which Sleep moves
		type object = map[string]any
		es, enc, weak := newES256(t, "es"), newES256(t, canary), newRS256(t, canary, 1024)
		encryption := enc.jwk(object{"use": "enc"})
		const warned = "level=WARN msg=\"key set: some keys verify no token and are left out\" issuer=1 forSomethingElse=1 rsaUnder2048Bits=1 ofAnotherKindOrPrivate=1\n"
		var log lockedBuffer
		set := setOf(es.jwk(), encryption, weak.jwk(), object{"kty": canary})
		o := one(func(context.Context) ([]byte, error) { return set, nil })
		o.Log = slog.New(slog.NewTextHandler(&log, nil))
		authenticate, err := identity.NewOIDC(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		read := func(want string) {
			t.Helper()
			if got := log.take(); !strings.HasSuffix(got, want) || strings.Count(got, "\n") != strings.Count(want, "\n") || strings.Contains(got, canaryPart) {
				t.Errorf("log = %q, want %q", got, want)
			}
		}
		read(warned)
		again := func() {
			time.Sleep(6 * time.Minute)
			if _, err := authenticate(bearerRequest(es.fresh(t))); err != nil {
				t.Fatal(err)
			}
		}
		again() // the same set: nothing is new
		read("")
		set = setOf(es.jwk(), encryption)
		again()
		read("level=INFO msg=\"key set: some keys verify no token and are left out\" issuer=1 forSomethingElse=1 rsaUnder2048Bits=0 ofAnotherKindOrPrivate=0\n")
		set = setOf(es.jwk())
		again()
		read("")
	})
}

// TestKidTriggersRead has an issuer rotate its key: the new name is enough to ask.
func TestKidTriggersRead(t *testing.T) {
	var now clock
	first, second := newES256(t, "first"), newES256(t, "second")
	set := jwks(first)
	o := one(func(context.Context) ([]byte, error) { return set, nil })
	o.Now = now.time
	authenticate, err := identity.NewOIDC(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	token := func(k issuerKey, name string) *http.Request {
		claims := map[string]any{"iss": "i", "aud": "a", "sub": "u", "exp": now.time().Unix() + 60}
		return bearerRequest(k.token(t, map[string]any{"alg": "ES256", "kid": name}, claims))
	}
	set = jwks(second)
	_, err = authenticate(token(second, "second"))
	assertReason(t, err, bridge.ReasonTokenKey)
	now.advance(10 * time.Second)
	_, err = authenticate(token(second, "second"))
	assertReason(t, err, "")
	_, err = authenticate(token(first, "first"))
	assertReason(t, err, bridge.ReasonTokenKey)
}

func TestDiscovery(t *testing.T) {
	key := newES256(t, "k")
	var document string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tenant/.well-known/openid-configuration":
			io.WriteString(w, document)
		case "/keys":
			w.Write(jwks(key))
		case "/moved":
			http.Redirect(w, r, "/keys", http.StatusFound)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	issuer := server.URL + "/tenant"
	for _, v := range []struct {
		name, document string
		ok             bool
	}{
		{"good", `{"issuer":"` + issuer + `","jwks_uri":"` + server.URL + `/keys"}`, true},
		{"another issuer", `{"issuer":"` + server.URL + `","jwks_uri":"` + server.URL + `/keys"}`, false},
		{"no keys", `{"issuer":"` + issuer + `"}`, false},
		{"keys in the open", `{"issuer":"` + issuer + `","jwks_uri":"http://keys.example/"}`, false},
		{"keys elsewhere", `{"issuer":"` + issuer + `","jwks_uri":"` + server.URL + `/moved"}`, false},
		{"names in capitals", `{"ISSUER":"` + issuer + `","jwks_uri":"` + server.URL + `/keys"}`, false},
		{"keys twice", `{"issuer":"` + issuer + `","jwks_uri":"` + server.URL + `/keys","jwks_uri":"` + server.URL + `/keys"}`, false},
		{"not JSON", `<html>`, false},
	} {
		document = v.document
		authenticate, err := identity.NewOIDC(t.Context(), identity.OIDC{
			Issuers: []identity.Issuer{{Issuer: issuer, Audience: "a", Keys: identity.DiscoverKeys(issuer, identity.HTTP{})}}, AccountsClaim: "c",
		})
		if (err == nil) != v.ok {
			t.Errorf("%s: error = %v, want ok %t", v.name, err, v.ok)
			continue
		}
		if err == nil {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", "Bearer "+key.token(t, map[string]any{"alg": "ES256", "kid": "k"}, map[string]any{
				"iss": issuer, "aud": "a", "sub": "u", "exp": time.Now().Add(time.Hour).Unix()}))
			if user, err := authenticate(r); err != nil || user.ID != "u" {
				t.Errorf("user = %+v, %v; want u", user, err)
			}
		}
	}
}
