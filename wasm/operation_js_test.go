package main

import (
	"strconv"
	"strings"
	"testing"

	"gridsigner/signer"
)

func TestListing(t *testing.T) {
	opt := map[string]any{"id": accountID, "bridgeUrl": bridgeURL}
	entry := `"accountId":"` + accountID + `","type":"OAUTH","nickname":"n","createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:00Z","expiresAt":"2026-08-22T10:15:00Z","future":1`
	list := `{"data":[{"id":"` + sessionID + `",` + entry + `}]}`
	requests := fakeFetch(t, `new Response(`+strconv.Quote(list)+`, { status: 200 })`)
	listed := resolve(t, "perform", "list-sessions", opt)
	if listed.Get("status").String() != "listed" || listed.Get("body").String() != list || !listed.Get("organizationId").IsUndefined() {
		t.Error("the list is not handed on as it came")
	}
	r := requests.Index(0)
	if got, want := r.Get("url").String(), bridgeURL+"/auth/sessions?accountId="+strings.Replace(accountID, ":", "%3A", 1); got != want {
		t.Errorf("url = %s, want %s", got, want)
	}
	if r.Get("method").String() != "GET" || r.Get("keepalive").Bool() || !header(r, "X-Gridsigner").IsUndefined() {
		t.Error("a list is more than a plain GET")
	}
	for _, test := range []struct {
		answer string
		want   signer.Kind
	}{
		{`new Response("hello")`, signer.ErrResponseMalformed},
		{`new Response('{"data":[null]}')`, signer.ErrResponseMalformed},
		{`new Response(null, { status: 204 })`, signer.ErrResponseMalformed},
		{`new Response("<html>", { status: 404 })`, signer.ErrResponseMalformed},
		{refusal("404", "NOT_FOUND"), signer.ErrUpstreamRefused},
		{refusal("403", "FORBIDDEN"), signer.ErrUpstreamRefused},
		{`new Response("", { status: 500 })`, signer.ErrUpstreamUnavailable},
	} {
		requests := fakeFetch(t, test.answer)
		wantCode(t, test.want, "perform", "list-sessions", opt)
		if got := requests.Length(); got != 1 {
			t.Errorf("%s: %d requests, want 1", test.answer, got)
		}
	}
	fakeFetch(t, `Promise.reject(new TypeError("x"))`)
	alwaysRandom(t, 1) // the pause is 250 ms, which would end too late
	wantCode(t, signer.ErrNetworkFailed, "perform", "list-sessions", with(opt, "timeoutMs", 250))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", with(opt, "id", sessionID))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", with(opt, "body", "{}"))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", map[string]any{"bridgeUrl": bridgeURL})
	wantCode(t, signer.ErrArgumentInvalid, "perform", "no-such-operation", opt)
	wantCode(t, signer.ErrArgumentInvalid, "perform")
}
