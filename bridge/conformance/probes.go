package conformance

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const (
	marker  = "made-up-51f2c0de" // in what a client makes up; no answer may repeat it
	nowhere = "00000000-0000-4000-8000-000000000000"
	evil    = "https://evil.example"
	app     = "X-Gridsigner: 1" // our bridge wants it, others do not mind it
	isJSON  = "Content-Type: application/json"

	// Bodies that are good, so that only what is spoilt can be the reason of a
	// refusal. What they submit is of no use to anybody.
	clientKey = `"clientPublicKey":"02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5"`
	signIn    = `{"type":"OAUTH","oidcToken":"h.p.s",` + clientKey + `}`
	refresh   = `{` + clientKey + `}`
	addition  = `{"type":"EMAIL_OTP","accountId":"InternalAccount:` + nowhere + `"}`
	code      = `{"type":"EMAIL_OTP","encryptedOtpBundle":"{\"encappedPublic\":\"04\",\"ciphertext\":\"00\"}"}`
	assertion = `{"assertion":{"credentialId":"YQ","clientDataJson":"YQ","authenticatorData":"YQ","signature":"YQ"},"type":"PASSKEY"}`
	export    = `{"clientPublicKey":"04c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee51ae168fea63dc339a3c58419466ceaeef7f632653266d0e1236431a950cfe52a"}`

	pair = "Grid-Wallet-Signature: AAAA"
	id   = "Request-Id: Request:" + nowhere
)

// probe is a request and what is wanted of its answer.
type probe struct {
	group, name string
	request     string
	want        func(reply) string // what is wrong, "" if nothing
	mayHangUp   bool               // no answer is an answer, too
	elsewhere   bool               // it may be answered by a server in front, which knows nothing of Grid
	promised    bool               // it has no end, as the body that it announces never comes
}

// gridCodes are the codes of Grid's own refusals (its schemas Error400 to
// Error501) that a probe can cause. They tell who refused: what Grid had to
// refuse got through the bridge, with its credentials, and only Grid's own care
// made it harmless.
var gridCodes = []string{
	"INVALID_INPUT", "INVALID_REQUEST_FORMAT", "UNAUTHORIZED", "INVALID_SIGNATURE", "WALLET_SIGNATURE_MISSING",
	"WALLET_SIGNATURE_MALFORMED", "WALLET_SIGNATURE_BODY_MISMATCH", "WALLET_SIGNATURE_INVALID", "REQUEST_ID_MISSING", "FORBIDDEN",
	"USER_NOT_FOUND", "TOKEN_NOT_FOUND", "REFERENCE_NOT_FOUND", "METHOD_NOT_ALLOWED", "RATE_LIMITED", "INTERNAL_ERROR", "NOT_IMPLEMENTED",
}

// refused wants one of the statuses, or any 4xx if there are none, and not from
// Grid.
func refused(statuses ...int) func(reply) string {
	return func(r reply) string {
		switch code := r.code(); {
		case slices.Contains(gridCodes, code):
			return fmt.Sprintf("answered %d %s, which is Grid's: the request got through", r.status, code)
		case slices.Contains(statuses, r.status) || len(statuses) == 0 && r.status >= 400 && r.status < 500:
			return ""
		case len(statuses) == 0:
			return fmt.Sprintf("answered %d, want a 4xx", r.status)
		}
		return fmt.Sprintf("answered %d, want one of %v", r.status, statuses)
	}
}

// stopped wants a refusal that is not a 404, which a bridge may have from Grid
// and put into words of its own: it has to come before Grid was asked.
var stopped = refused(400, 401, 403, 405, 413, 415, 421, 431)

// unread is stopped for what is no HTTP.
var unread = refused(400, 401, 403, 405, 413, 414, 415, 421, 431, 501)

// ignored wants the request to be what its first line says, or to be refused.
func ignored(r reply) string {
	if r.status == 200 {
		return ""
	}
	return refused(400, 403)(r)
}

// bodiless is ignored for a request that takes no body: Grid has nothing to say of it.
func bodiless(r reply) string {
	if r.status == 200 {
		return ""
	}
	return stopped(r)
}

// answered wants the request to work.
func answered(r reply) string {
	if r.status == 200 {
		return ""
	}
	return fmt.Sprintf("answered %d, want 200", r.status)
}

// shows wants that there is no page with text.
func shows(text string) func(reply) string {
	return func(r reply) string {
		if r.status == 200 && strings.Contains(r.body, text) {
			return "it is there"
		}
		return ""
	}
}

// sorted is list in the order of the report: the maps that it is made of have none.
func sorted(list []probe) []probe {
	slices.SortStableFunc(list, func(a, b probe) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.name, b.name))
	})
	return list
}

// probes lists the checks that are one whole request and one answer.
func (t *target) probes() (list []probe) {
	add := func(group, name, request string, want func(reply) string) {
		list = append(list, probe{group: group, name: name, request: request, want: want})
	}
	// with is the user's headers and more.
	with := func(lines ...string) []string { return append(slices.Clone(t.headers), lines...) }
	session, credential := "/auth/sessions/Session:"+nowhere, "/auth/credentials/AuthMethod:"+nowhere
	query := "?accountId=" + t.Account
	get := func(path string, lines ...string) string { return t.request("GET", path, "", with(lines...)...) }
	remove := func(lines ...string) string { return t.request("DELETE", session, "", with(lines...)...) }
	verify := func(body string, lines ...string) string {
		return t.request("POST", credential+"/verify", body, with(lines...)...)
	}

	for name, lines := range map[string][]string{
		"nobody": nil, "a made-up token": {"Authorization: Bearer " + marker}, "a made-up cookie": {"Cookie: session=" + marker},
		"Basic": {"Authorization: Basic YTpi"}, "an empty token": {"Authorization: Bearer "},
		"a user named by the client": {"X-Gridsigner-User: admin", "X-Gridsigner-Accounts: " + t.Account, "X-Forwarded-User: admin", "X-Remote-User: admin", "Remote-User: admin"},
	} {
		add("users", name, t.list(lines...), refused(401, 403))
		add("users", name+", deleting", t.request("DELETE", session, "", append(lines, app)...), refused(401, 403))
		add("users", name+", adding", t.request("POST", "/auth/credentials", addition, append(lines, app, isJSON)...), refused(401, 403, 404, 405))
	}
	add("ownership", "somebody else's account", get("/auth/sessions?accountId=InternalAccount:"+nowhere), refused(401, 403, 404))
	add("ownership", "two accounts, own first", get("/auth/sessions"+query+"&accountId=InternalAccount:"+nowhere), refused())
	add("ownership", "two accounts, own last", get("/auth/sessions?accountId=InternalAccount:"+nowhere+"&accountId="+t.Account), refused())
	add("ownership", "two accounts, one escaped", get("/auth/sessions"+query+"&account%49d=InternalAccount:"+nowhere), refused())
	add("ownership", "no account", get("/auth/sessions"), refused())

	// A bridge need not have these routes. One that has them must not pass on
	// what is not its user's, or what Grid might read as something else.
	add("ownership", "asking for a code", t.request("POST", credential+"/challenge", "{}", with(app, isJSON)...), refused(401, 403, 404, 405))
	add("ownership", "signing in by a code", verify(code, app, isJSON), refused(401, 403, 404, 405))
	add("ownership", "signing in by a passkey", verify(assertion, app, isJSON, id), refused(401, 403, 404, 405))
	for path, body := range map[string]string{
		session + "/refresh": refresh, "/auth/credentials": addition, credential + "/challenge": refresh, credential + "/verify": signIn,
		"/internal-accounts/InternalAccount:" + nowhere + "/export": export,
	} {
		post := func(body string, lines ...string) string {
			return t.request("POST", path, body, with(append(lines, app)...)...)
		}
		name := "POST " + strings.ReplaceAll(path, nowhere, "…")
		add("ownership", name, post(body, isJSON), refused(401, 403, 404, 405))
		for how, spoilt := range map[string]string{
			"an unknown field": `{"x":1,` + body[1:], "all fields twice": strings.TrimSuffix(body, "}") + "," + body[1:],
			"a lone surrogate": strings.TrimSuffix(body, `"}`) + `\ud800"}`, "invalid UTF-8": strings.TrimSuffix(body, `"}`) + "\xff\"}",
			"another value behind": body + body, "an array": "[" + body + "]", "deep nesting": strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
		} {
			add("body", name+" with "+how, post(spoilt, isJSON), refused())
		}
		add("body", name+" as text/plain", post(body, "Content-Type: text/plain"), refused())
		add("cross-site", name, post(body, isJSON, "Sec-Fetch-Site: cross-site", "Origin: "+evil), refused())
	}
	add("ownership", "DELETE of a credential that is not the user's", t.request("DELETE", credential, "", with(app)...), refused(401, 403, 404, 405))

	for _, path := range []string{
		"/auth/x/../sessions", "/auth/./sessions", "/auth//sessions", "//auth/sessions", "/auth/sessions/", "/auth/sessions/.", "/x/../auth/sessions",
		"/auth/x/..%2fsessions", "/auth/x%2f..%2fsessions", "/auth/%2e/sessions", "/auth/x/%2e%2e/sessions", "/auth/x/%252e%252e/sessions", "/auth/%73essions",
		"/auth%2fsessions", "/auth%5csessions", "/auth\\sessions", "/auth/sessions;a=b", "/auth/sessions%3b", "/auth/sessions%00", "/auth/sessions%20", "/AUTH/SESSIONS",
		"/auth/sessions%0d%0aX-Injected:%20" + marker, "/auth/..%c0%afsessions",
	} {
		add("traversal", path, get(path+query), refused())
	}
	for _, path := range []string{
		"/auth/sessions/..%2f..%2fcustomers", "/auth/sessions/" + "Session:" + nowhere + "%2f..%2f..%2fcustomers", "/auth/sessions/%2e%2e",
		"/auth/sessions/Session:" + nowhere + "?accountId=" + t.Account, "/auth/sessions/Session%253A" + nowhere, "/auth/sessions/Session:" + nowhere + "%0d%0aX-Injected:%20" + marker,
	} {
		add("traversal", "DELETE "+path, t.request("DELETE", path, "", with(app)...), refused())
	}
	for _, path := range []string{"/customers", "/quotes", "/tokens", "/config", "/webhooks", "/internal-accounts", "/_sim/clock", "/auth/delegated-keys", "/" + marker} {
		add("allow-list", path, get(path), refused(403, 404, 405))
	}

	for name, lines := range map[string][]string{
		"another site": {app, "Sec-Fetch-Site: cross-site", "Origin: " + evil}, "another site without Origin": {app, "Sec-Fetch-Site: cross-site"},
		"a sibling site": {app, "Sec-Fetch-Site: same-site", "Origin: https://blog." + t.base.Hostname()}, "another site, old browser": {app, "Origin: " + evil},
		"a sandboxed frame": {app, "Origin: null"}, "a look-alike": {app, "Origin: https://" + t.base.Hostname() + ".evil.example"},
		"no header of the app": nil, "a form's DELETE": {"Content-Type: application/x-www-form-urlencoded"},
	} {
		add("cross-site", name, remove(lines...), stopped)
		add("cross-site", name+", POST", verify(signIn, append([]string{isJSON}, lines...)...), stopped)
	}
	// A list changes nothing, but it costs the bridge and Grid, and tells a page by
	// its time, or by what an <img> makes of it, whose visitor signed in.
	for name, lines := range map[string][]string{
		"another site": {"Sec-Fetch-Site: cross-site"}, "another site with Origin": {"Sec-Fetch-Site: cross-site", "Origin: " + evil},
		"a sibling site": {"Sec-Fetch-Site: same-site"}, "a sibling site with Origin": {"Sec-Fetch-Site: same-site", "Origin: https://blog." + t.base.Hostname()},
	} {
		add("cross-site", "reading, "+name, get("/auth/sessions"+query, lines...), stopped)
	}
	add("cross-site", "reading, the app's own site", get("/auth/sessions"+query, "Sec-Fetch-Site: same-origin"), answered)
	add("cross-site", "reading, no site", get("/auth/sessions"+query, "Sec-Fetch-Site: none"), answered)
	for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/json, text/plain", "text/json"} {
		add("cross-site", "body as "+contentType, verify(signIn, app, "Content-Type: "+contentType), stopped)
	}

	for _, origin := range []string{evil, "null", "https://" + t.base.Hostname() + ".evil.example", "https://evil" + t.base.Hostname(), "file://"} {
		reflects := func(r reply) string {
			if v := r.header.Get("Access-Control-Allow-Origin"); v == "*" || v == origin {
				return "Access-Control-Allow-Origin: " + v
			}
			return ""
		}
		add("CORS", "reading from "+origin, get("/auth/sessions"+query, "Origin: "+origin), reflects)
		add("CORS", "preflight from "+origin, t.request("OPTIONS", session, "", "Origin: "+origin, "Access-Control-Request-Method: DELETE",
			"Access-Control-Request-Headers: "+strings.ToLower(app[:12])), reflects)
	}

	own := "Origin: " + t.base.Scheme + "://" + t.base.Host
	for name, lines := range map[string][]string{"two origins, own first": {own, "Origin: " + evil}, "two origins, own last": {"Origin: " + evil, own}} {
		add("CORS", "reading from "+name, get("/auth/sessions"+query, lines...), func(r reply) string {
			if v := strings.Join(r.header.Values("Access-Control-Allow-Origin"), ", "); v == "*" || strings.Contains(v, evil) {
				return "Access-Control-Allow-Origin: " + v
			}
			return ""
		})
	}
	add("CORS", "preflight into a private network", t.request("OPTIONS", session, "", "Origin: "+evil, "Access-Control-Request-Method: DELETE",
		"Access-Control-Request-Private-Network: true"), func(r reply) string {
		if v := r.header.Get("Access-Control-Allow-Private-Network"); v != "" {
			return "Access-Control-Allow-Private-Network: " + v
		}
		return ""
	})

	// Both ways, because either alone may end in a refusal for another reason.
	for _, name := range []string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"} {
		add("method", "GET with "+name+": DELETE", get("/auth/sessions"+query, app, name+": DELETE"), ignored)
		add("method", "POST with "+name+": GET", t.request("POST", "/auth/sessions"+query, "", with(app, name+": GET")...), refused())
	}
	add("method", "POST with _method=GET", t.request("POST", "/auth/sessions"+query+"&_method=GET", "", with(app)...), refused())
	for _, method := range []string{"TRACE", "PUT", "PATCH", "PROPFIND", "get"} {
		add("method", method, t.request(method, "/auth/sessions"+query, "", with(app, "X-Probe: "+marker)...), refused(400, 403, 404, 405, 501))
	}

	add("headers", "signature without request id", remove(app, pair), stopped)
	add("headers", "request id without signature", remove(app, id), stopped)
	add("headers", "a code with a signature and no request id", verify(code, app, isJSON, pair), stopped)
	add("headers", "a code with a request id and no signature", verify(code, app, isJSON, id), stopped)
	add("headers", "a passkey without request id", verify(assertion, app, isJSON), stopped)
	add("headers", "a passkey with a signature", verify(assertion, app, isJSON, pair, id), stopped)
	add("headers", "two signatures", remove(app, pair, pair, id), stopped)
	add("headers", "two request ids", remove(app, pair, id, id), stopped)
	add("headers", "a list of signatures", remove(app, pair+", BBBB", id), stopped)
	add("headers", "a signature on two lines", remove(app, pair+"\r\n X-Injected: "+marker, id), stopped)
	add("headers", "a request id with a tab", remove(app, pair, id+"\tX-Injected: "+marker), stopped)
	add("headers", "two content types", verify(signIn, app, isJSON, "Content-Type: text/plain"), stopped)
	add("headers", "a signature of 6 KiB", remove(app, pair+strings.Repeat("A", 6<<10), id), stopped)
	add("headers", "body where none belongs, GET", t.list(with("Content-Length: 2")...)+"{}", bodiless)
	add("headers", "body where none belongs", t.request("DELETE", session, "{}", with(app, isJSON)...), stopped)

	// A trace is no reason to refuse a request, or to repeat anything.
	trace, long := "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", strings.Repeat("a", 4<<10)
	for name, lines := range map[string][]string{
		"a parent that is none": {"Traceparent: " + marker}, "a parent of 4 KiB": {"Traceparent: 00-" + long}, "two parents": {trace, trace},
		"a parent of zeros": {"Traceparent: 00-00000000000000000000000000000000-0000000000000000-00"}, "a state without a parent": {"Tracestate: a=" + marker},
		"a state that is none": {trace, "Tracestate: ,=;" + marker}, "a state of 4 KiB": {trace, "Tracestate: a=" + long},
		"baggage that is none": {trace, "Baggage: =;,%zz" + marker}, "baggage of 4 KiB": {trace, "Baggage: a=" + long},
	} {
		add("trace", name, get("/auth/sessions"+query, lines...), answered)
	}
	for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
		list = append(list, probe{group: "trace", name: "control characters in " + name, request: get("/auth/sessions"+query, name+": a\x01\x1b[31m"+marker),
			want: ignored, mayHangUp: true, elsewhere: true})
	}

	add("size", "body that is not JSON", verify(`{"a":`, app, isJSON), stopped)
	list = append(list, probe{group: "size", name: "body of 2 MiB", request: verify(`{"a":"`+strings.Repeat("a", 2<<20)+`"}`, app, isJSON),
		want: refused(400, 413), mayHangUp: true, elsewhere: true})
	for name, request := range map[string]string{
		"headers of 256 KiB":       t.list(with("X-Probe: " + strings.Repeat("a", 256<<10))...),
		"path of 256 KiB":          get("/auth/sessions/" + strings.Repeat("a", 256<<10)),
		"two lengths":              t.list(with("Content-Length: 0", "Content-Length: 3")...) + "abc",
		"length and chunks":        t.request("DELETE", session, "", with(app, "Content-Length: 4", "Transfer-Encoding: chunked")...) + "0\r\n\r\n",
		"chunks of another name":   t.list(with("Transfer-Encoding: xchunked")...) + "0\r\n\r\n",
		"a header name with space": t.list(with("X-Probe : a", "Transfer-Encoding : chunked")...),
		"a header with NUL":        t.list(with("X-Probe: a\x00b")...),
		"a header with a bare CR":  t.list(with("X-Probe: a\rX-Injected: " + marker)...),
		"an escape that is none":   get("/auth/%u002e%u002e/sessions" + query),
		"two Hosts":                t.list(with("Host: evil.example")...),
	} {
		list = append(list, probe{group: "malformed", name: name, request: request, want: unread, mayHangUp: true, elsewhere: true})
	}
	for path, text := range map[string]string{
		"/debug/pprof/": "goroutine", "/debug/vars": "memstats", "/metrics": "# HELP", "/actuator/env": "propertySources", "/server-status": "Server Status", "/.env": "GRID_",
	} {
		list = append(list, probe{group: "operators' pages", name: path, request: t.root("GET", path), want: shows(text), elsewhere: true})
	}
	// nginx refuses these by itself, with a page of its own.
	for i, p := range list {
		if slices.Contains([]string{"TRACE", "get", "/auth/sessions%00", "a signature on two lines"}, p.name) {
			list[i].elsewhere = true
		}
	}
	return list
}
