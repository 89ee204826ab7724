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
		requests.push({ url, ...init, headers: Object.fromEntries(new Headers(init.headers)) })
		const next = script.shift()
		return new Promise((resolve, reject) => {
			if (next === undefined) reject(new Error("a request more than expected"))
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

// refusal is an error envelope of Grid's, or of the bridge's.
func refusal(status, code string) string {
	return `new Response('{"status":` + status + `,"code":"` + code + `","message":"m"}', { status: ` + status + ` })`
}

var (
	goneAnswer            = refusal("404", "REFERENCE_NOT_FOUND")
	unauthenticatedAnswer = refusal("401", "BRIDGE_UNAUTHENTICATED")
)

const (
	bridgeURL     = "https://wallet.example/api/grid"
	revokedAnswer = `new Response(null, { status: 204 })`
	emptyList     = `new Response('{"data":[]}')`
	never         = `new Promise(() => {})`
)

func revokeOptions(key js.Value) map[string]any {
	return map[string]any{"key": key, "bridgeUrl": bridgeURL + "/", "headers": map[string]any{"Authorization": "Bearer t"}}
}

func header(request js.Value, name string) js.Value {
	return request.Get("headers").Get(strings.ToLower(name))
}

func TestRevokeSession(t *testing.T) {
	for _, curve := range curves {
		t.Run(curve, func(t *testing.T) {
			key := newKey(t, curve)
			requests := fakeFetch(t, challengeAnswer(payload), revokedAnswer)
			events := js.Global().Get("Array").New()
			opt := revokeOptions(key)
			opt["onProgress"] = eval(`(events) => (event) => {
				events.push(event)
				throw new Error("a callback that throws must not end the revocation")
			}`).Invoke(events)
			result := resolve(t, "revokeSession", sessionID, opt)
			want := `{"organizationId":"org_sim","sessionId":"` + sessionID + `","status":"revoked"}`
			if got := sorted(result); got != want {
				t.Errorf("result = %s, want %s", got, want)
			}
			if got := requests.Length(); got != 2 {
				t.Fatalf("%d requests, want 2", got)
			}
			for i := range 2 {
				r := requests.Index(i)
				if got, want := r.Get("url").String(), bridgeURL+"/auth/sessions/"+strings.Replace(sessionID, ":", "%3A", 1); got != want {
					t.Errorf("url = %s, want %s", got, want)
				}
				for name, want := range map[string]string{"method": "DELETE", "redirect": "manual", "cache": "no-store", "credentials": "same-origin"} {
					if got := r.Get(name).String(); got != want {
						t.Errorf("request %d: %s = %s, want %s", i+1, name, got, want)
					}
				}
				// The signed one goes on when its page goes away.
				if got, want := r.Get("keepalive").Bool(), i == 1; got != want {
					t.Errorf("request %d: keepalive = %v, want %v", i+1, got, want)
				}
				if got := header(r, "Authorization").String(); got != "Bearer t" {
					t.Errorf("Authorization = %s", got)
				}
				if got := header(r, "X-Gridsigner").String(); got != "1" {
					t.Errorf("X-Gridsigner = %s", got)
				}
			}
			first, second := requests.Index(0), requests.Index(1)
			if !header(first, "Grid-Wallet-Signature").IsUndefined() || !header(first, "Request-Id").IsUndefined() {
				t.Error("the first leg is signed")
			}
			verify(t, header(second, "Grid-Wallet-Signature").String(), key.Get("publicKey").String())
			if got := header(second, "Request-Id").String(); got != requestID {
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

// sorted writes an object of texts as JSON.
func sorted(v js.Value) string {
	object := js.Global().Get("Object")
	entries := object.Call("entries", v).Call("sort")
	return js.Global().Get("JSON").Call("stringify", object.Call("fromEntries", entries)).String()
}

// The organization is told only where Grid has accepted a signature for it.
func TestOrganizationOfARevocation(t *testing.T) {
	key := newKey(t, "secp256k1")
	for _, test := range []struct {
		script []string
		want   string
	}{
		{[]string{challengeAnswer(payload), goneAnswer}, "inactive"},
		{[]string{goneAnswer}, "inactive"},
		{[]string{challengeAnswer(opaque), revokedAnswer}, "revoked"}, // names none
	} {
		fakeFetch(t, test.script...)
		result := resolve(t, "revokeSession", sessionID, revokeOptions(key))
		if got := result.Get("status").String(); got != test.want || !result.Get("organizationId").IsUndefined() {
			t.Errorf("%v: %s", test.script, sorted(result))
		}
	}
	other := strings.Replace(payload, "org_sim", "org_other", 1)
	requests := fakeFetch(t, challengeAnswer(other))
	wantCode(t, signer.ErrOrganizationMismatch, "revokeSession", sessionID, with(revokeOptions(key), "organizationId", "org_sim"))
	if got := requests.Length(); got != 1 {
		t.Errorf("%d requests, want 1", got)
	}
}

func TestRevokeSessionEndings(t *testing.T) {
	key := newKey(t, "P-256")
	for _, test := range []struct {
		name     string
		script   []string
		want     signer.Kind // "" means inactive
		requests int
		signed   int
	}{
		{"already dead", []string{goneAnswer}, "", 1, 0},
		{"dead between the legs", []string{challengeAnswer(payload), goneAnswer}, "", 2, 1},
		{"lost answer", []string{challengeAnswer(payload), `Promise.reject(new TypeError("network"))`, goneAnswer}, "", 3, 1},
		{"stale challenge", []string{challengeAnswer(payload), refusal("401", "UNAUTHORIZED"), challengeAnswer(payload), goneAnswer}, "", 4, 2},
		{"payment instead", []string{challengeAnswer(payment)}, signer.ErrIntentMismatch, 1, 0},
		{"a JWT's input instead", []string{challengeAnswer("eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzb21lb25lIiwiaWF0IjoxNzc1NjgxNzAwfQ")}, signer.ErrPayloadMalformed, 1, 0},
		{"a hash in hex instead", []string{challengeAnswer("c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670")}, signer.ErrPayloadMalformed, 1, 0},
		{"garbage", []string{`new Response("hello", { status: 202 })`}, signer.ErrChallengeMalformed, 1, 0},
		{"100 MB", []string{`new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1 << 20)) } }), { status: 202 })`}, signer.ErrChallengeMalformed, 1, 0},
		{"redirect", []string{`Object.defineProperty(Response.error(), "type", { value: "opaqueredirect" })`}, signer.ErrResponseMalformed, 1, 0},
		{"body that breaks off", []string{
			`new Response(new ReadableStream({ pull(c) { c.error(new TypeError("reset")) } }), { status: 202 })`, goneAnswer}, "", 2, 0},
		{"forbidden", []string{refusal("403", "FORBIDDEN")}, signer.ErrUpstreamRefused, 1, 0},
		{"404 of another server", []string{`new Response("<html>", { status: 404 })`}, signer.ErrResponseMalformed, 1, 0},
		{"404 of a bridge at another path", []string{refusal("404", "BRIDGE_ROUTE_NOT_FOUND")}, signer.ErrResponseMalformed, 1, 0},
		{"page of a captive portal", []string{`new Response("<html>", { status: 200 })`}, signer.ErrResponseMalformed, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := key.Get("signed").Length()
			requests := fakeFetch(t, test.script...)
			if test.want == "" {
				if got := resolve(t, "revokeSession", sessionID, revokeOptions(key)).Get("status").String(); got != "inactive" {
					t.Errorf("status = %s, want inactive", got)
				}
			} else {
				wantCode(t, test.want, "revokeSession", sessionID, revokeOptions(key))
			}
			if got := requests.Length(); got != test.requests {
				t.Errorf("%d requests, want %d", got, test.requests)
			}
			if got := key.Get("signed").Length() - before; got != test.signed {
				t.Errorf("signed %d times, want %d", got, test.signed)
			}
		})
	}
	fakeFetch(t, challengeAnswer(opaque))
	wantCode(t, signer.ErrIntentMismatch, "revokeSession", sessionID, with(revokeOptions(key), "payloads", "activities"))
}

// alwaysRandom makes every pause the same share of what it may be at most.
func alwaysRandom(t *testing.T, share float64) {
	math := js.Global().Get("Math")
	before := math.Get("random")
	t.Cleanup(func() { math.Set("random", before) })
	math.Set("random", eval("(share) => () => share").Invoke(share))
}

const unavailable = `new Response("", { status: 503 })`

// Not the number of tries ends them but the deadline, and a wait that would go
// past it ends them at once.
func TestRetriesLastUntilTheDeadline(t *testing.T) {
	alwaysRandom(t, 0.001)
	key := newKey(t, "secp256k1")
	script := strings.Fields(strings.Repeat("503 ", 20))
	for i := range script {
		script[i] = unavailable
	}
	fakeFetch(t, append(script, goneAnswer)...)
	if got := resolve(t, "revokeSession", sessionID, revokeOptions(key)).Get("status").String(); got != "inactive" {
		t.Errorf("status = %s, want inactive", got)
	}

	late := `new Response("", { status: 429, headers: { "Retry-After": "60" } })`
	for name, args := range map[string][]any{
		"revokeSession": {sessionID, revokeOptions(key)},
		"perform":       {"list-sessions", map[string]any{"id": accountID, "bridgeUrl": bridgeURL}},
	} {
		requests := fakeFetch(t, append(script, late)...)
		f := wantCode(t, signer.ErrUpstreamUnavailable, name, args...)
		if status, after := f.Get("status").Int(), f.Get("retryAfterMs").Int(); status != 429 || after != 60_000 {
			t.Errorf("status = %d, retryAfterMs = %d, want 429 and 60000", status, after)
		}
		if got := requests.Length(); got != 21 {
			t.Errorf("%d requests, want 21", got)
		}
	}

	alwaysRandom(t, 0.5) // pauses of 125, 250 and 500 ms: the third would end too late
	requests := fakeFetch(t, script...)
	f := wantCode(t, signer.ErrUpstreamUnavailable, "revokeSession", sessionID, with(revokeOptions(key), "timeoutMs", 600))
	if got := f.Get("status").Int(); got != 503 || !f.Get("retryAfterMs").IsUndefined() {
		t.Errorf("status = %d, retryAfterMs = %v", got, f.Get("retryAfterMs"))
	}
	if got := requests.Length(); got < 2 || 3 < got {
		t.Errorf("%d requests, want 3", got)
	}
}

func TestRevokeSessionEndsInTime(t *testing.T) {
	key := newKey(t, "secp256k1")
	fakeFetch(t, never)
	wantCode(t, signer.ErrTimeout, "revokeSession", sessionID, with(revokeOptions(key), "timeoutMs", 20))

	requests := fakeFetch(t, never)
	controller := js.Global().Get("AbortController").New()
	promise := start("revokeSession", sessionID, with(revokeOptions(key), "signal", controller.Get("signal")))
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
	key := newKey(t, "secp256k1")
	fakeFetch(t, challengeAnswer(payload), revokedAnswer)
	opt := revokeOptions(key)
	controller := js.Global().Get("AbortController").New()
	opt["signal"] = controller.Get("signal")
	opt["onProgress"] = eval("(controller) => ({ status }) => status === 204 && controller.abort()").Invoke(controller)
	if got := resolve(t, "revokeSession", sessionID, opt).Get("status").String(); got != "revoked" {
		t.Errorf("status = %s, want revoked", got)
	}
}

// Between the challenge and the signature the key may have come to its end.
func TestAllowIsAskedForEverySignature(t *testing.T) {
	key := newKey(t, "P-256")
	stale := refusal("401", "UNAUTHORIZED")
	requests := fakeFetch(t, challengeAnswer(payload), stale, challengeAnswer(payload))
	own := eval(`Object.assign(new Error("m"), { name: "GridSignerError", code: "KEY_LOST", retryable: false })`)
	allow := eval(`(own) => {
		let asked = 0
		return async () => { if (++asked === 2) throw own }
	}`).Invoke(own)
	f := wantCode(t, signer.ErrKeyLost, "revokeSession", sessionID, with(revokeOptions(key), "allow", allow))
	if !f.Equal(own) {
		t.Error("it is another error")
	}
	if requests.Length() != 3 || key.Get("signed").Length() != 1 {
		t.Errorf("%d requests, signed %d times", requests.Length(), key.Get("signed").Length())
	}
}

// Every answer with a Date that may be read teaches the clock, and so does one
// that has none.
func TestClockLearns(t *testing.T) {
	key := newKey(t, "secp256k1")
	fakeFetch(t, `new Response("", { status: 503, headers: { Date: "Sat, 22 Aug 2026 10:00:00 GMT" } })`, goneAnswer)
	alwaysRandom(t, 0)
	learnt := js.Global().Get("Array").New()
	clock := eval("(learnt) => ({ now: Date.now, learn(date) { learnt.push(date) } })").Invoke(learnt)
	resolve(t, "revokeSession", sessionID, with(revokeOptions(key), "clock", clock))
	if got := js.Global().Get("JSON").Call("stringify", learnt).String(); got != `["Sat, 22 Aug 2026 10:00:00 GMT",null]` {
		t.Errorf("learnt %s", got)
	}
}

func TestRevokeSessionArguments(t *testing.T) {
	key := newKey(t, "secp256k1")
	good := revokeOptions(key)
	requests := fakeFetch(t)
	for _, id := range []any{nil, 5, "", "Session:x", "Session:..", sessionID + "/..", sessionID + "\r\n", strings.Repeat("x", 10<<20)} {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", id, good)
	}
	for _, url := range []any{nil, "", "/api/grid", "javascript:alert(1)", "ftp://x/", "https://u:p@x/", "https://:p@x/", "https://x/?q", "https://x/#f", 5} {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with(good, "bridgeUrl", url))
	}
	for _, headers := range badHeaders {
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with(good, "headers", eval(headers)))
	}
	for name, value := range map[string]any{
		"credentials": "all", "onProgress": "x", "clock": "x", "allow": "x", "payloads": "x", "organizationId": 5, "signal": "x", "timeoutMs": "x",
	} {
		if name == "payloads" { // it is judged with a payload
			fakeFetch(t, challengeAnswer(payload))
		}
		wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID, with(good, name, value))
	}
	wantCode(t, signer.ErrKeyNotFound, "revokeSession", sessionID, with(good, "key", "x"))
	wantCode(t, signer.ErrArgumentInvalid, "revokeSession", sessionID)
	if requests.Length() != 0 {
		t.Errorf("%d requests were made", requests.Length())
	}
}
