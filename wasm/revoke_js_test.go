package main

import (
	"strconv"
	"strings"
	"syscall/js"
	"testing"
	"time"

	"gridsigner/signer"
)

// fakeFetch replaces globalThis.fetch with one that plays a script of
// JavaScript expressions, each a Response or a promise of one, and records
// every request as {url, method, headers, …}.
func fakeFetch(t *testing.T, script ...string) (requests js.Value) {
	t.Helper()
	before := js.Global().Get("fetch")
	t.Cleanup(func() { js.Global().Set("fetch", before) })
	requests = js.Global().Get("Array").New()
	fake := js.Global().Call("eval", `(requests, script) => (url, init) => {
		requests.push({ url, ...init })
		const next = script.shift()
		if (next === undefined) throw new Error("a request more than expected")
		return new Promise((resolve, reject) => {
			init.signal.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")))
			try { resolve(eval("(" + next + ")")) } catch (e) { reject(e) }
		})
	}`)
	answers := js.Global().Get("Array").New()
	for _, s := range script {
		answers.Call("push", s)
	}
	js.Global().Set("fetch", fake.Invoke(requests, answers))
	return requests
}

func challengeAnswer(payload string) string {
	return `new Response(JSON.stringify({ type: "OAUTH", payloadToSign: ` + strconv.Quote(payload) + `, requestId: "` + requestID +
		`", expiresAt: new Date(Date.now() + 60000).toISOString() }), { status: 202 })`
}

const (
	revokedAnswer = `new Response(null, { status: 204 })`
	goneAnswer    = `new Response('{"status":404,"code":"REFERENCE_NOT_FOUND","message":"m"}', { status: 404 })`
	never         = `new Promise(() => {})`
)

func revokeOptions(key js.Value) map[string]any {
	return map[string]any{"key": key, "bridgeUrl": "https://wallet.example/api/grid/", "headers": map[string]any{"Authorization": "Bearer t"}}
}

func TestRevokeSession(t *testing.T) {
	for _, curve := range []string{"P-256", "secp256k1"} {
		t.Run(curve, func(t *testing.T) {
			key := must(t, "createKey", map[string]any{"curve": curve})
			requests := fakeFetch(t, challengeAnswer(payload), revokedAnswer)
			events := js.Global().Get("Array").New()
			opt := revokeOptions(key)
			opt["onProgress"] = eval(`(events) => (event) => {
				events.push(event)
				throw new Error("a callback that throws must not end the revocation")
			}`).Invoke(events)
			result := must(t, "revokeSession", sessionID, opt)
			if got := result.Get("status").String(); got != "revoked" {
				t.Errorf("status = %s", got)
			}
			if got := result.Get("sessionId").String(); got != sessionID {
				t.Errorf("sessionId = %s", got)
			}
			if got := requests.Length(); got != 2 {
				t.Fatalf("%d requests, want 2", got)
			}
			for i := range 2 {
				r := requests.Index(i)
				if got, want := r.Get("url").String(), "https://wallet.example/api/grid/auth/sessions/"+strings.Replace(sessionID, ":", "%3A", 1); got != want {
					t.Errorf("url = %s, want %s", got, want)
				}
				for name, want := range map[string]string{"method": "DELETE", "redirect": "manual", "cache": "no-store", "credentials": "same-origin"} {
					if got := r.Get(name).String(); got != want {
						t.Errorf("request %d: %s = %s, want %s", i+1, name, got, want)
					}
				}
				if got := r.Get("headers").Get("Authorization").String(); got != "Bearer t" {
					t.Errorf("Authorization = %s", got)
				}
				if got := r.Get("headers").Get("X-Gridsigner"); got.String() != "1" {
					t.Errorf("X-Gridsigner = %s", got)
				}
			}
			if !requests.Index(0).Get("headers").Get("Grid-Wallet-Signature").IsUndefined() {
				t.Error("the first leg is signed")
			}
			signed := requests.Index(1).Get("headers")
			verify(t, signed.Get("Grid-Wallet-Signature").String(), key.Get("publicKey").String())
			if got := signed.Get("Request-Id").String(); got != requestID {
				t.Errorf("Request-Id = %s", got)
			}
			var steps []string
			for i := range events.Length() {
				steps = append(steps, events.Index(i).Get("step").String())
			}
			if got, want := strings.Join(steps, " "), "request response challenge signed request response"; got != want {
				t.Errorf("steps = %s, want %s", got, want)
			}
			challenge := events.Index(2)
			if challenge.Get("payload").String() != payload || challenge.Get("activityType").String() != "ACTIVITY_TYPE_DELETE_API_KEYS" || challenge.Get("kind").String() != "activity" {
				t.Error("the challenge's event does not show what is signed")
			}
		})
	}
}

func TestRevokeSessionEndings(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	payment := strings.Replace(payload, "DELETE_API_KEYS", "SIGN_TRANSACTION_V2", 1)
	for _, test := range []struct {
		name     string
		script   []string
		want     signer.Kind // "" means inactive
		requests int
	}{
		{"already dead", []string{goneAnswer}, "", 1},
		{"dead between the legs", []string{challengeAnswer(payload), goneAnswer}, "", 2},
		{"lost answer", []string{challengeAnswer(payload), `Promise.reject(new TypeError("network"))`, goneAnswer}, "", 3},
		{"payment instead", []string{challengeAnswer(payment)}, signer.ErrIntentMismatch, 1},
		{"garbage", []string{`new Response("hello", { status: 202 })`}, signer.ErrChallengeMalformed, 1},
		{"100 MB", []string{`new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1 << 20)) } }), { status: 202 })`}, signer.ErrChallengeMalformed, 1},
		{"redirect", []string{`Object.defineProperty(Response.error(), "type", { value: "opaqueredirect" })`}, signer.ErrResponseMalformed, 1},
		{"body that breaks off", []string{
			`new Response(new ReadableStream({ pull(c) { c.error(new TypeError("reset")) } }), { status: 202 })`, goneAnswer}, "", 2},
		{"forbidden", []string{`new Response('{"status":403,"code":"FORBIDDEN","message":"m"}', { status: 403 })`}, signer.ErrUpstreamRefused, 1},
		{"404 of another server", []string{`new Response("<html>", { status: 404 })`}, signer.ErrResponseMalformed, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests := fakeFetch(t, test.script...)
			if test.want == "" {
				if got := must(t, "revokeSession", sessionID, revokeOptions(key)).Get("status").String(); got != "inactive" {
					t.Errorf("status = %s, want inactive", got)
				}
			} else {
				wantCode(t, test.want, "revokeSession", sessionID, revokeOptions(key))
			}
			if got := requests.Length(); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
			for i := range requests.Length() {
				if test.want == signer.ErrIntentMismatch && !requests.Index(i).Get("headers").Get("Grid-Wallet-Signature").IsUndefined() {
					t.Error("a signature was sent")
				}
			}
		})
	}
}

func TestRevokeSessionEndsInTime(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	fakeFetch(t, never)
	opt := revokeOptions(key)
	opt["timeoutMs"] = 20
	wantCode(t, signer.ErrTimeout, "revokeSession", sessionID, opt)

	requests := fakeFetch(t, never)
	opt = revokeOptions(key)
	controller := js.Global().Get("AbortController").New()
	opt["signal"] = controller.Get("signal")
	promise := js.Global().Get("gridsigner").Call("revokeSession", sessionID, opt)
	for requests.Length() == 0 {
		time.Sleep(time.Millisecond) // yields to the call
	}
	controller.Call("abort")
	_, f := wait(t, promise)
	if f == nil || f.code() != "ABORTED" {
		t.Errorf("aborted call: %v", f)
	}
	if !requests.Index(0).Get("signal").Get("aborted").Bool() {
		t.Error("the request goes on")
	}
}

// What Grid has confirmed is told, also to a caller who gave up at that moment.
func TestRevokedIsToldInSpiteOfAnAbort(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	fakeFetch(t, challengeAnswer(payload), revokedAnswer)
	opt := revokeOptions(key)
	controller := js.Global().Get("AbortController").New()
	opt["signal"] = controller.Get("signal")
	opt["onProgress"] = eval("(controller) => ({ status }) => status === 204 && controller.abort()").Invoke(controller)
	if got := must(t, "revokeSession", sessionID, opt).Get("status").String(); got != "revoked" {
		t.Errorf("status = %s, want revoked", got)
	}
}

// The header that the bridge insists on is sent once, whatever the page adds.
func TestOwnHeaderIsSentOnce(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	requests := fakeFetch(t, goneAnswer)
	opt := revokeOptions(key)
	opt["headers"] = map[string]any{"x-gridsigner": "0"}
	must(t, "revokeSession", sessionID, opt)
	if got := js.Global().Get("Headers").New(requests.Index(0).Get("headers")).Call("get", "X-Gridsigner").String(); got != "1" {
		t.Errorf("X-Gridsigner = %q, want 1", got)
	}
}

func TestRevokeSessionArguments(t *testing.T) {
	key := must(t, "createKey", map[string]any{"curve": "secp256k1"})
	requests := fakeFetch(t)
	with := func(name string, value any) map[string]any {
		opt := revokeOptions(key)
		opt[name] = value
		return opt
	}
	for _, id := range []any{nil, 5, "", "Session:x", "Session:..", sessionID + "/..", sessionID + "\r\n", strings.Repeat("x", 10<<20)} {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", id, revokeOptions(key))
	}
	for _, url := range []any{nil, "", "/api/grid", "javascript:alert(1)", "ftp://x/", "https://u:p@x/", "https://:p@x/", "https://x/?q", "https://x/#f", 5} {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with("bridgeUrl", url))
	}
	for _, headers := range []any{
		"x", 5, map[string]any{"grid-wallet-signature": "x"}, map[string]any{"Request-ID": "x"}, map[string]any{"a b": "x"},
		map[string]any{"X": "a\r\nb"}, map[string]any{"X": 5}, eval(`{get X() { throw 1 }}`),
	} {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with("headers", headers))
	}
	wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with("credentials", "all"))
	wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with("onProgress", "x"))
	wantCode(t, signer.ErrKeyNotFound, "revokeSession", sessionID, with("key", "x"))
	if requests.Length() != 0 {
		t.Errorf("%d requests were made", requests.Length())
	}
}

func TestListSessions(t *testing.T) {
	opt := map[string]any{"bridgeUrl": "https://wallet.example/api/grid"}
	list := `new Response('{"data":[{"id":"` + sessionID + `","accountId":"` + accountID + `","type":"OAUTH","nickname":"n","createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:00Z","expiresAt":"2026-08-22T10:15:00Z","future":1}]}', { status: 200 })`
	requests := fakeFetch(t, list)
	all := must(t, "listSessions", accountID, opt)
	if all.Length() != 1 || all.Index(0).Get("id").String() != sessionID {
		t.Error("the session is not in the list")
	}
	if got, want := requests.Index(0).Get("url").String(), "https://wallet.example/api/grid/auth/sessions?accountId="+strings.Replace(accountID, ":", "%3A", 1); got != want {
		t.Errorf("url = %s, want %s", got, want)
	}
	for _, test := range []struct {
		answer string
		want   signer.Kind
	}{
		{`new Response("hello")`, signer.ErrResponseMalformed},
		{`new Response("null")`, signer.ErrResponseMalformed},
		{`new Response("{}")`, signer.ErrResponseMalformed},
		{`new Response('{"data":{"length":1}}')`, signer.ErrResponseMalformed},
		{`new Response('{"data":[{"id":"x"}]}')`, signer.ErrResponseMalformed},
		{`new Response('{"data":[null]}')`, signer.ErrResponseMalformed},
		{`new Response('{"status":401,"code":"BRIDGE_UNAUTHENTICATED","message":"m"}', { status: 401 })`, signer.ErrUpstreamRefused},
		{`new Response("", { status: 503 })`, signer.ErrUpstreamUnavailable},
		{`new Response(null, { status: 204 })`, signer.ErrResponseMalformed},
		{`Promise.reject(new TypeError("x"))`, signer.ErrNetworkFailed},
	} {
		fakeFetch(t, test.answer)
		wantCode(t, test.want, "listSessions", accountID, opt)
	}
	wantCode(t, signer.ErrArgumentInvalid, "listSessions", sessionID, opt)
	wantCode(t, signer.ErrArgumentInvalid, "listSessions", accountID)
}
