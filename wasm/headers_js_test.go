package main

import (
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

// badHeaders are JavaScript expressions of what are no headers, or such as are
// the module's to set.
var badHeaders = []string{
	`"x"`, `5`, `true`, `{ "grid-wallet-signature": "x" }`, `{ "Request-ID": "x" }`, `{ "a b": "x" }`, `{ X: "a\r\nb" }`, `{ get X() { throw 1 } }`,
	`new Headers({ "Request-Id": "x" })`, `new Proxy({}, { ownKeys() { throw 1 } })`,
}

// The header that the bridge insists on is sent once, whatever the page adds.
func TestOwnHeaderIsSentOnce(t *testing.T) {
	key := newKey(t, "secp256k1")
	for _, headers := range []any{map[string]any{"x-gridsigner": "0"}, eval(`() => new Headers({ "X-Gridsigner": "0" })`)} {
		requests := fakeFetch(t, goneAnswer)
		resolve(t, "revokeSession", sessionID, with(revokeOptions(key), "headers", headers))
		if got := header(requests.Index(0), "X-Gridsigner").String(); got != "1" {
			t.Errorf("X-Gridsigner = %q, want 1", got)
		}
	}
}

// asking returns a headers function that counts its calls and gives out a token
// of that number, by an expression in which token is the whole header.
func asking(expression string) js.Value {
	return eval(`(make) => {
		const headers = ({ signal }) => {
			headers.signals.push(signal)
			return make({ Authorization: "Bearer " + headers.signals.length })
		}
		headers.signals = []
		return headers
	}`).Invoke(eval("(token) => " + expression))
}

func TestHeadersFunction(t *testing.T) {
	key := newKey(t, "secp256k1")
	for _, expression := range []string{"token", "Promise.resolve(token)", "new Headers(token)", "Object.entries(token)"} {
		requests := fakeFetch(t, challengeAnswer(payload), revokedAnswer)
		headers := asking(expression)
		resolve(t, "revokeSession", sessionID, with(revokeOptions(key), "headers", headers))
		signals := headers.Get("signals")
		if got := signals.Length(); got != 1 {
			t.Errorf("%s: asked %d times, want 1", expression, got)
		}
		if !signals.Index(0).InstanceOf(js.Global().Get("AbortSignal")) {
			t.Error("it gets no AbortSignal")
		}
		for i := range requests.Length() {
			if got := header(requests.Index(i), "Authorization").String(); got != "Bearer 1" {
				t.Errorf("%s: request %d: Authorization = %s", expression, i+1, got)
			}
		}
	}
	// Arguments that are wrong are so before anybody is asked.
	headers := asking("token")
	wantCode(t, signer.ErrArgumentInvalid, "revokeSession", "x", with(revokeOptions(key), "headers", headers))
	wantCode(t, signer.ErrKeyNotFound, "revokeSession", sessionID, with(with(revokeOptions(key), "headers", headers), "key", "x"))
	if got := headers.Get("signals").Length(); got != 0 {
		t.Errorf("asked %d times for nothing", got)
	}
}

// The app's own token ran out: a new one is asked for once, on whichever leg it
// is, and the signed request is not sent again with the same signature.
func TestHeadersAreAskedForOnceMore(t *testing.T) {
	for _, test := range []struct {
		name   string
		script []string
		bearer string // of each request
		status string
		want   signer.Kind
	}{
		{"before the challenge", []string{unauthenticatedAnswer, challengeAnswer(payload), revokedAnswer}, "1 2 2", "revoked", ""},
		{"on the signed leg", []string{challengeAnswer(payload), unauthenticatedAnswer, challengeAnswer(payload), revokedAnswer}, "1 1 2 2", "revoked", ""},
		{"twice", []string{unauthenticatedAnswer, unauthenticatedAnswer}, "1 2", "", signer.ErrUpstreamRefused},
		{"on each leg", []string{unauthenticatedAnswer, challengeAnswer(payload), unauthenticatedAnswer}, "1 2 2", "", signer.ErrUpstreamRefused},
		{"Grid's own 401", []string{refusal("401", "UNAUTHORIZED")}, "1", "", signer.ErrUpstreamRefused},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := newKey(t, "P-256")
			requests := fakeFetch(t, test.script...)
			headers := asking("token")
			opt := with(revokeOptions(key), "headers", headers)
			if test.want == "" {
				if got := resolve(t, "revokeSession", sessionID, opt).Get("status").String(); got != test.status {
					t.Errorf("status = %s, want %s", got, test.status)
				}
			} else if f := wantCode(t, test.want, "revokeSession", sessionID, opt); f.Get("status").Int() != 401 {
				t.Errorf("status = %v, want 401", f.Get("status"))
			}
			var bearer, signatures []string
			for i := range requests.Length() {
				bearer = append(bearer, strings.TrimPrefix(header(requests.Index(i), "Authorization").String(), "Bearer "))
				if signature := header(requests.Index(i), "Grid-Wallet-Signature"); !signature.IsUndefined() {
					signatures = append(signatures, signature.String())
				}
			}
			if got := strings.Join(bearer, " "); got != test.bearer {
				t.Errorf("tokens = %s, want %s", got, test.bearer)
			}
			if len(signatures) == 2 && signatures[0] == signatures[1] || len(signatures) != key.Get("signed").Length() {
				t.Error("a signature was sent twice")
			}
		})
	}
	requests := fakeFetch(t, unauthenticatedAnswer, emptyList)
	headers := asking("token")
	resolve(t, "perform", "list-sessions", map[string]any{"id": accountID, "bridgeUrl": bridgeURL, "headers": headers})
	if got := header(requests.Index(1), "Authorization").String(); got != "Bearer 2" {
		t.Errorf("a list asks with %s", got)
	}
}

func TestHeadersThatFail(t *testing.T) {
	key := newKey(t, "P-256")
	failing := []string{`(() => { throw new Error("secret") })()`, `Promise.reject(new Error("secret"))`, `Promise.reject()`, `{ get then() { throw 1 } }`}
	for _, expression := range append(failing, badHeaders...) {
		for _, first := range []string{"", unauthenticatedAnswer} { // asked the first time, and once more
			script, want := []string{}, 0
			headers := eval("() => (" + expression + ")")
			if first != "" {
				script, want = append(script, first), 1
				headers = eval("() => { let asked = 0; return () => asked++ ? (" + expression + ") : {} }").Invoke()
			}
			requests := fakeFetch(t, script...)
			f := wantCode(t, signer.ErrHeadersFailed, "revokeSession", sessionID, with(revokeOptions(key), "headers", headers))
			if strings.Contains(f.Get("message").String(), "secret") {
				t.Errorf("message = %s", f.Get("message"))
			}
			if got := requests.Length(); got != want {
				t.Errorf("%s: %d requests, want %d", expression, got, want)
			}
		}
	}
	if got := key.Get("signed").Length(); got != 0 {
		t.Errorf("signed %d times", got)
	}
}

// Headers that never come end the call in time, and are told that nobody waits.
func TestHeadersThatHang(t *testing.T) {
	key := newKey(t, "secp256k1")
	requests := fakeFetch(t)
	headers := asking(never)
	signal := func(i int) js.Value { return headers.Get("signals").Index(i) }
	opt := with(revokeOptions(key), "headers", headers)
	wantCode(t, signer.ErrTimeout, "revokeSession", sessionID, with(opt, "timeoutMs", 20))
	if !signal(0).Get("aborted").Bool() {
		t.Error("its signal did not fire at the deadline")
	}

	controller := js.Global().Get("AbortController").New()
	promise := start("revokeSession", sessionID, with(opt, "signal", controller.Get("signal")))
	for headers.Get("signals").Length() < 2 {
		time.Sleep(time.Millisecond) // yields to the call
	}
	if signal(1).Get("aborted").Bool() {
		t.Error("its signal fired while it was waited for")
	}
	controller.Call("abort")
	if _, f := wait(t, promise); f == nil || f.code() != "ABORTED" {
		t.Errorf("aborted call: %v", f)
	}
	if !signal(1).Get("aborted").Bool() {
		t.Error("its signal did not fire with the caller's")
	}
	wantCode(t, signer.ErrTimeout, "perform", "list-sessions", map[string]any{"id": accountID, "bridgeUrl": bridgeURL, "headers": headers, "timeoutMs": 20})
	if requests.Length() != 0 {
		t.Errorf("%d requests were made without headers", requests.Length())
	}
}
