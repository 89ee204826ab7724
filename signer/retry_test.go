package signer

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

const sessionID = "Session:019542f5-b3e7-1d02-0000-000000000009"

var okChallenge = Response{Status: 202, Body: []byte(`{"type":"OAUTH","payloadToSign":"cGF5bG9hZA==","requestId":"` + requestID + `","expiresAt":"2026-08-22T12:05:00Z"}`)}

func envelope(status int, code string) Response {
	return Response{Status: status, Body: fmt.Appendf(nil, `{"status":%d,"code":%q,"message":"m"}`, status, code)}
}

var errLost = errors.New("lost")

func half() float64 { return 0.5 } // a jitter

// revocation is what every request of one must be.
var revocation = Send{Method: "DELETE", Path: "/auth/sessions/" + strings.Replace(sessionID, ":", "%3A", 1)}

// run plays a revocation against a script of answers, as play does.
func run(t *testing.T, deadline time.Time, script ...any) (story string, done Done) {
	t.Helper()
	r, err := NewRevocation(sessionID, deadline, half)
	if err != nil {
		t.Fatal(err)
	}
	p := play(t, r, revocation, SignOptions{}, script...)
	return p.story, p.done
}

// performance is what became of a [Retry] that was played.
type performance struct {
	story string // one word a step
	sent  []Send // the requests
	uses  int    // of the key
	done  Done
}

// play runs r against a script of answers, one for each request: a Response, or
// an error for no answer. Every request must have the method, the path and the
// body of want, and its Request-Id if it is not signed; what follows on
// "processing" must be the request before, byte for byte. The options are those of [SignChallenge], but for the intent.
func play(t *testing.T, r *Retry, want Send, opt SignOptions, script ...any) (p performance) {
	t.Helper()
	now := noon
	key, uses := countingKey(t)
	var words []string
	var again *Send // what the next request must be
	for range 200 {
		switch s := r.Next().(type) {
		case Send:
			if len(script) == 0 {
				t.Fatalf("a request more than expected after: %s", strings.Join(words, " "))
			}
			if s.Method != want.Method || s.Path != want.Path || s.Body != want.Body {
				t.Errorf("request = %s %s %s\nwant      %s %s %s", s.Method, s.Path, s.Body, want.Method, want.Path, want.Body)
			}
			if p.sent = append(p.sent, s); s.Attempt != len(p.sent) {
				t.Errorf("attempt = %d, want %d", s.Attempt, len(p.sent))
			}
			if s.Signed() && s.RequestID == "" || !s.Signed() && s.RequestID != want.RequestID {
				t.Errorf("not the two headers, and not the one of an answer: %+v", s)
			}
			if again != nil {
				again.Attempt, again.Reauthenticate = s.Attempt, false
				if s != *again {
					t.Errorf("after processing: %+v\nwant              %+v", s, *again)
				}
				again = nil
			}
			word := map[bool]string{false: "ask", true: "signed"}[s.Signed()]
			if s.Reauthenticate {
				word += "-anew"
			}
			words = append(words, word)
			switch answer := script[0].(type) {
			case Response:
				r.Answered(now, answer)
			case error:
				r.Failed(now, answer)
			}
			script = script[1:]
		case Sign:
			words = append(words, "sign")
			opt.Intent = s.Intent
			r.Signed(SignChallenge(t.Context(), key, s.Challenge, opt, now))
		case Wait:
			if s.Reason == "processing" {
				last := p.sent[len(p.sent)-1]
				again = &last
			}
			words = append(words, s.For.String())
			now = now.Add(s.For)
			r.Waited()
		case Done:
			if len(script) != 0 {
				t.Errorf("%d answers were not asked for", len(script))
			}
			p.story, p.uses, p.done = strings.Join(words, " "), *uses, s
			return p
		}
	}
	t.Fatal("it does not end")
	return p
}

func TestRetry(t *testing.T) {
	gone := envelope(404, "REFERENCE_NOT_FOUND")
	stale := envelope(401, "UNAUTHORIZED")
	unknown := envelope(401, "BRIDGE_UNAUTHENTICATED")
	busy := envelope(503, "X")
	processing := Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)}
	expired := okChallenge
	expired.Body = []byte(strings.Replace(string(expired.Body), "2026", "2025", 1))
	payment := okChallenge
	payment.Body = []byte(strings.Replace(string(payment.Body), "cGF5bG9hZA==", strings.ReplaceAll(strings.Replace(revokePayload, "DELETE_API_KEYS", "SIGN_TRANSACTION_V2", 1), `"`, `\"`), 1))

	for _, test := range []struct {
		name   string
		script []any
		story  string
		status Status
		fail   Kind
	}{
		{"revoked", []any{okChallenge, Response{Status: 204}}, "ask sign signed", Revoked, ""},
		{"dead before the first leg", []any{gone}, "ask", Inactive, ""},
		{"dead before the second leg", []any{okChallenge, gone}, "ask sign signed", Inactive, ""},

		{"challenge used or out: a new one", []any{okChallenge, stale, okChallenge, Response{Status: 204}}, "ask sign signed ask sign signed", Revoked, ""},
		{"challenge forgotten by the bridge: a new one", []any{okChallenge, envelope(401, "BRIDGE_CHALLENGE_UNKNOWN"), okChallenge, Response{Status: 204}}, "ask sign signed 125ms ask sign signed", Revoked, ""},
		{"resent by a proxy: a new one, and the session is gone", []any{okChallenge, envelope(409, "BRIDGE_SIGNATURE_REPLAYED"), gone}, "ask sign signed ask", Inactive, ""},
		{"another conflict is final", []any{okChallenge, envelope(409, "CONFLICT")}, "ask sign signed", "", ErrUpstreamRefused},
		{"at most twice", []any{okChallenge, stale, okChallenge, stale, okChallenge, stale}, "ask sign signed ask sign signed ask sign signed", "", ErrUpstreamRefused},
		{"a 401 that blames the signature is final", []any{okChallenge, envelope(401, "WALLET_SIGNATURE_INVALID")}, "ask sign signed", "", ErrUpstreamRefused},
		{"a 401 to the first leg is final", []any{stale}, "ask", "", ErrUpstreamRefused},
		{"401 with the code of a 409 is final", []any{okChallenge, envelope(401, "BRIDGE_SIGNATURE_REPLAYED")}, "ask sign signed", "", ErrUpstreamRefused},
		{"409 with the code of a 401 is final", []any{okChallenge, envelope(409, "UNAUTHORIZED")}, "ask sign signed", "", ErrUpstreamRefused},
		{"a challenge that was never made is not forgotten", []any{envelope(401, "BRIDGE_CHALLENGE_UNKNOWN")}, "ask", "", ErrUpstreamRefused},
		{"any other 4xx is final", []any{okChallenge, envelope(403, "FORBIDDEN")}, "ask sign signed", "", ErrUpstreamRefused},

		{"lost signed answer, session gone", []any{okChallenge, errLost, gone}, "ask sign signed 125ms ask", Inactive, ""},
		{"lost signed answer, session there", []any{okChallenge, errLost, okChallenge, Response{Status: 204}}, "ask sign signed 125ms ask sign signed", Revoked, ""},
		{"a 502 to the signed leg is a lost answer", []any{okChallenge, envelope(502, "X"), gone}, "ask sign signed 125ms ask", Inactive, ""},
		{"back-off doubles up to 8 s, as long as there is time", repeat(busy, 12), "ask 125ms ask 250ms ask 500ms ask 1s ask 2s ask 4s ask 4s ask 4s ask 4s ask 4s ask 4s ask", "", ErrUpstreamUnavailable},
		{"network, as long as there is time", repeat(errLost, 12), "ask 125ms ask 250ms ask 500ms ask 1s ask 2s ask 4s ask 4s ask 4s ask 4s ask 4s ask 4s ask", "", ErrNetworkFailed},
		{"back again late", append(repeat(errLost, 10), okChallenge, Response{Status: 204}), "ask 125ms ask 250ms ask 500ms ask 1s ask 2s ask 4s ask 4s ask 4s ask 4s ask 4s ask sign signed", Revoked, ""},

		{"the app's token ran out: one more, at once", []any{unknown, okChallenge, Response{Status: 204}}, "ask ask-anew sign signed", Revoked, ""},
		{"the app's token ran out between the legs", []any{okChallenge, unknown, okChallenge, Response{Status: 204}}, "ask sign signed ask-anew sign signed", Revoked, ""},
		{"the app has no better token", []any{unknown, unknown}, "ask ask-anew", "", ErrUpstreamRefused},
		{"the app's token is asked for once in all", []any{unknown, okChallenge, unknown}, "ask ask-anew sign signed", "", ErrUpstreamRefused},
		{"a new token, and then the network", []any{unknown, errLost, okChallenge, Response{Status: 204}}, "ask ask-anew 125ms ask sign signed", Revoked, ""},
		{"the code without its status", []any{envelope(403, "BRIDGE_UNAUTHENTICATED")}, "ask", "", ErrUpstreamRefused},
		{"Retry-After is honoured", []any{Response{Status: 429, RetryAfter: "3", Body: envelope(429, "RATE_LIMITED").Body}, gone}, "ask 3s ask", Inactive, ""},
		{"Retry-After is decimal", []any{Response{Status: 504, RetryAfter: "12"}, gone}, "ask 12s ask", Inactive, ""},
		{"Retry-After past the deadline ends it", []any{Response{Status: 429, RetryAfter: "60"}}, "ask", "", ErrUpstreamUnavailable},
		{"Retry-After without bounds", []any{Response{Status: 429, RetryAfter: "9999999999999999999"}}, "ask", "", ErrUpstreamUnavailable},
		{"Retry-After that is not a number", []any{Response{Status: 503, RetryAfter: "-1"}, gone}, "ask 125ms ask", Inactive, ""},
		{"500 is final", []any{envelope(500, "INTERNAL_ERROR")}, "ask", "", ErrUpstreamUnavailable},
		{"501 is final", []any{envelope(501, "X")}, "ask", "", ErrUpstreamUnavailable},
		{"a challenge that the bridge did not relay", []any{envelope(502, "BRIDGE_CHALLENGE_REFUSED")}, "ask", "", ErrIntentMismatch},
		{"505 is final", []any{envelope(505, "X")}, "ask", "", ErrUpstreamUnavailable},
		{"428 is final", []any{envelope(428, "X")}, "ask", "", ErrUpstreamRefused},

		{"processing: the identical request again", []any{okChallenge, processing, processing, Response{Status: 204}}, "ask sign signed 500ms signed 1s signed", Revoked, ""},
		{"processing, then gone", []any{okChallenge, processing, gone}, "ask sign signed 500ms signed", Inactive, ""},
		{"processing, as long as there is time", append([]any{okChallenge}, repeat(processing, 7)...), "ask sign signed 500ms signed 1s signed 2s signed 4s signed 8s signed 8s signed", "", ErrUpstreamUnavailable},

		{"204 without a signature proves nothing", []any{Response{Status: 204}}, "ask", "", ErrResponseMalformed},
		{"200 without a signature", []any{processing}, "ask", "", ErrResponseMalformed},
		{"processing, and a lost answer: still the identical request", []any{okChallenge, processing, errLost, gone}, "ask sign signed 500ms signed 125ms signed", Inactive, ""},
		{"200 that is not processing", []any{okChallenge, Response{Status: 200, Body: []byte(`{}`)}}, "ask sign signed", "", ErrResponseMalformed},
		{"202 to the signed leg", []any{okChallenge, okChallenge}, "ask sign signed", "", ErrResponseMalformed},
		{"404 of a server that is not a bridge", []any{Response{Status: 404, Body: []byte("<html>")}}, "ask", "", ErrResponseMalformed},
		{"404 with a body of another status", []any{Response{Status: 404, Body: envelope(403, "X").Body}}, "ask", "", ErrResponseMalformed},
		{"404 of a bridge without that route", []any{envelope(404, "BRIDGE_ROUTE_NOT_FOUND")}, "ask", "", ErrResponseMalformed},
		{"404 to the signed leg of a bridge without that route", []any{okChallenge, envelope(404, "BRIDGE_ROUTE_NOT_FOUND")}, "ask sign signed", "", ErrResponseMalformed},
		{"redirect", []any{Response{Status: 0}}, "ask", "", ErrResponseMalformed},
		{"garbage challenge", []any{Response{Status: 202, Body: []byte("hello")}}, "ask", "", ErrChallengeMalformed},

		{"expired challenge is not signed", []any{expired}, "ask sign", "", ErrChallengeExpired},
		{"payment is not signed", []any{payment}, "ask sign", "", ErrIntentMismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			story, done := run(t, noon.Add(31*time.Second), test.script...)
			if story != test.story {
				t.Errorf("story = %s\nwant    %s", story, test.story)
			}
			if done.Status != test.status {
				t.Errorf("status = %q, want %q", done.Status, test.status)
			}
			wantKind(t, done.Err, test.fail)
		})
	}
}

func repeat(answer any, n int) (all []any) {
	for range n {
		all = append(all, answer)
	}
	return all
}

const (
	accountID      = "InternalAccount:019542f5-b3e7-1d02-0000-000000000001"
	otherAccountID = "InternalAccount:019542f5-b3e7-1d02-0000-000000000002"
)

// shouted is the same id with its hex in upper case.
func shouted(id string) string {
	kind, uuid, _ := strings.Cut(id, ":")
	return kind + ":" + strings.ToUpper(uuid)
}

func TestSessionList(t *testing.T) {
	list := Response{Status: 200, Body: []byte(`{"data":[]}`)}
	sessions := Response{Status: 200, Body: []byte(`{"data":[{"id":"` + sessionID + `","expiresAt":"2026-08-22T12:15:00Z","of":["tomorrow"]}]}`)}
	listOf := func(account string) Response {
		return Response{Status: 200, Body: []byte(`{"data":[{"id":"` + sessionID + `","accountId":"` + account + `","expiresAt":"2026-08-22T12:15:00Z"}]}`)}
	}
	processing := Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)}
	for _, test := range []struct {
		name   string
		script []any
		story  string
		body   string
		fail   Kind
	}{
		{"listed", []any{list}, "ask", `{"data":[]}`, ""},
		{"sessions", []any{sessions}, "ask", string(sessions.Body), ""},
		{"sessions of a named account", []any{listOf(accountID)}, "ask", string(listOf(accountID).Body), ""},
		{"of another case", []any{listOf(shouted(accountID))}, "ask", string(listOf(shouted(accountID)).Body), ""},
		{"sessions of another account", []any{listOf(otherAccountID)}, "ask", "", ErrResponseMalformed},
		{"sessions of what is no account", []any{listOf(sessionID)}, "ask", "", ErrResponseMalformed},
		{"no list", []any{processing}, "ask", "", ErrResponseMalformed},
		{"an empty body", []any{Response{Status: 200}}, "ask", "", ErrResponseMalformed},
		{"lost answers", []any{errLost, envelope(503, "X"), Response{Status: 429, RetryAfter: "3"}, list}, "ask 125ms ask 250ms ask 3s ask", `{"data":[]}`, ""},
		{"without end", repeat(envelope(504, "X"), 12), "ask 125ms ask 250ms ask 500ms ask 1s ask 2s ask 4s ask 4s ask 4s ask 4s ask 4s ask 4s ask", "", ErrUpstreamUnavailable},
		{"the app's token ran out", []any{envelope(401, "BRIDGE_UNAUTHENTICATED"), list}, "ask ask-anew", `{"data":[]}`, ""},
		{"the app has no better token", repeat(envelope(401, "BRIDGE_UNAUTHENTICATED"), 2), "ask ask-anew", "", ErrUpstreamRefused},
		{"401 of Grid's is final", []any{envelope(401, "UNAUTHORIZED")}, "ask", "", ErrUpstreamRefused},
		{"no such account", []any{envelope(404, "REFERENCE_NOT_FOUND")}, "ask", "", ErrUpstreamRefused},
		{"no bridge", []any{Response{Status: 404, Body: []byte("<html>")}}, "ask", "", ErrResponseMalformed},
		{"no such route", []any{envelope(404, "BRIDGE_ROUTE_NOT_FOUND")}, "ask", "", ErrResponseMalformed},
		{"a challenge", []any{okChallenge}, "ask", "", ErrResponseMalformed},
		{"204", []any{Response{Status: 204}}, "ask", "", ErrResponseMalformed},
		{"500", []any{envelope(500, "X")}, "ask", "", ErrUpstreamUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := NewRetry(OpListSessions, Params{ID: accountID}, noon.Add(31*time.Second), half)
			if err != nil {
				t.Fatal(err)
			}
			p := play(t, r, Send{Method: "GET", Path: "/auth/sessions?accountId=" + strings.Replace(accountID, ":", "%3A", 1)}, SignOptions{}, test.script...)
			story, done := p.story, p.done
			if story != test.story {
				t.Errorf("story = %s\nwant    %s", story, test.story)
			}
			if string(done.Body) != test.body || (done.Status == Listed) != (test.fail == "") {
				t.Errorf("body = %s, status %q", done.Body, done.Status)
			}
			wantKind(t, done.Err, test.fail)
		})
	}
}

// What is done in one request may take its time as well (Grid's schema
// WalletOperationProcessing): only a question has its answer at once.
func TestProcessingOfAnUnsignedRequest(t *testing.T) {
	processing := Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)}
	verified := Response{Status: 200, Body: []byte(`{"id":"` + sessionID + `","accountId":"` + accountID + `","type":"OAUTH","expiresAt":"2026-08-22T12:15:00Z"}`)}
	id := "AuthMethod:019542f5-b3e7-1d02-0000-000000000004"
	body := `{"type":"OAUTH","oidcToken":"h.p.s","clientPublicKey":"02` + strings.Repeat("0", 64) + `"}`
	for _, test := range []struct {
		script []any
		story  string
		fail   Kind
	}{
		{[]any{processing, processing, verified}, "ask 500ms ask 1s ask", ""},
		{[]any{envelope(401, "BRIDGE_UNAUTHENTICATED"), processing, verified}, "ask ask-anew 500ms ask", ""},
		{repeat(processing, 7), "ask 500ms ask 1s ask 2s ask 4s ask 8s ask 8s ask", ErrUpstreamUnavailable},
	} {
		r, err := NewRetry(OpVerifyCredential, Params{ID: id, Body: body}, noon.Add(31*time.Second), half)
		if err != nil {
			t.Fatal(err)
		}
		p := play(t, r, Send{Method: "POST", Path: "/auth/credentials/" + strings.Replace(id, ":", "%3A", 1) + "/verify", Body: body}, SignOptions{}, test.script...)
		if p.story != test.story || (p.done.Status == Verified) != (test.fail == "") || p.done.Accepted {
			t.Errorf("story = %s, %+v\nwant    %s", p.story, p.done, test.story)
		}
		wantKind(t, p.done.Err, test.fail)
	}
}

func TestRetryErrorsCarryTheAnswer(t *testing.T) {
	_, done := run(t, noon.Add(time.Minute), okChallenge, envelope(401, "WALLET_SIGNATURE_INVALID"))
	e, ok := errors.AsType[*Error](done.Err)
	if !ok || e.Status != 401 || e.UpstreamCode != "WALLET_SIGNATURE_INVALID" || e.RequestID != requestID {
		t.Errorf("error = %+v", done.Err)
	}
	_, done = run(t, noon.Add(time.Second), okChallenge, Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)}, Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)})
	if e, ok := errors.AsType[*Error](done.Err); !ok || e.Kind != ErrUpstreamUnavailable || e.Status != 200 || e.RequestID != requestID {
		t.Errorf("error = %+v", done.Err)
	}
	// How long Grid wants to be left alone, when that is longer than there is time.
	_, done = run(t, noon.Add(time.Minute), okChallenge, Response{Status: 429, RetryAfter: "90"})
	if e, ok := errors.AsType[*Error](done.Err); !ok || e.RetryAfter != 90*time.Second || e.Status != 429 {
		t.Errorf("error = %+v", done.Err)
	}
	// A signed request without an answer says which challenge it was for.
	r, err := NewRevocation(sessionID, noon.Add(time.Millisecond), func() float64 { return 0.5 })
	if err != nil {
		t.Fatal(err)
	}
	r.Answered(noon, okChallenge)
	r.Signed(Signed{Header: "x", RequestID: requestID}, nil)
	r.Failed(noon, errLost)
	if e, ok := errors.AsType[*Error](r.Next().(Done).Err); !ok || e.Kind != ErrNetworkFailed || e.RequestID != requestID {
		t.Errorf("error = %+v", r.Next())
	}
	// What an upstream says may be shown to people: no more than a code of it.
	_, done = run(t, noon.Add(time.Minute), envelope(403, "<script>"))
	if e, _ := errors.AsType[*Error](done.Err); e.UpstreamCode != "" || strings.Contains(e.Error(), "script") {
		t.Errorf("error = %+v", done.Err)
	}
}

// A 4xx was refused, a 429 or a 5xx may pass, and nothing else is an answer of
// Grid's. A code is that of an error.
func TestFailureKinds(t *testing.T) {
	for status := range 700 {
		want := ErrResponseMalformed
		switch {
		case status == 429 || status/100 == 5:
			want = ErrUpstreamUnavailable
		case status/100 == 4:
			want = ErrUpstreamRefused
		}
		e := envelope(status, "SOME_CODE").Failure()
		wantKind(t, e, want)
		code, text := "SOME_CODE", fmt.Sprintf("signer: the bridge answered HTTP %d SOME_CODE", status)
		if status < 400 {
			code, text = "", strings.TrimSuffix(text, " SOME_CODE")
		}
		if e.Status != status || e.UpstreamCode != code || e.Error() != text || e.RetryAfter != 0 {
			t.Errorf("HTTP %d: %+v", status, e)
		}
	}
}

// A 404 that is not Grid's says so, whatever the call.
func TestNothingOfGridsIsThere(t *testing.T) {
	for code, res := range map[string]Response{"": {Status: 404, Body: []byte("<html>")}, "BRIDGE_ROUTE_NOT_FOUND": envelope(404, "BRIDGE_ROUTE_NOT_FOUND")} {
		e := res.Failure()
		if e.Kind != ErrResponseMalformed || e.UpstreamCode != code || !strings.HasSuffix(e.Msg, "nothing of Grid's is at this address, bridgeUrl may be wrong") {
			t.Errorf("%q: %+v", code, e)
		}
	}
	for _, code := range []string{"REFERENCE_NOT_FOUND", "BRIDGE_NOT_FOUND"} {
		wantKind(t, envelope(404, code).Failure(), ErrUpstreamRefused)
	}
}

func TestRetryAfter(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "0": 0, "1": time.Second, "12": 12 * time.Second, "007": 7 * time.Second, "2147483647": (1<<31 - 1) * time.Second,
		"2147483648": (1<<31 - 1) * time.Second, "9999999999999999999": (1<<31 - 1) * time.Second, "99999999999999999999": 0,
		"-1": 0, "+1": 0, "1.5": 0, " 1": 0, "Wed, 21 Oct 2026 07:28:00 GMT": 0,
	} {
		if got := (Response{Status: 429, RetryAfter: header}).Failure().RetryAfter; got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

// The code of an envelope, of Grid's form and of the answer's own status.
func TestErrorCode(t *testing.T) {
	for body, want := range map[string]string{
		`{"status":404,"code":"X_1","message":"m"}`: "X_1",
		`{"status":404}`:              "",
		`{"code":"X"}`:                "",
		`{"status":"404","code":"X"}`: "",
		`{"status":404,"code":1}`:     "",
		`{"status":404,"code":null}`:  "",
		`{"status":403,"code":"X"}`:   "",
		`{"status":404.0,"code":"X"}`: "",
		`{"status":404,"code":"X"}}`:  "",
		`[{"status":404,"code":"X"}]`: "",
		`null`:                        "",
		``:                            "",
	} {
		res := Response{Status: 404, Body: []byte(body)}
		if got := errorCode(res); got != want {
			t.Errorf("%s: code = %q, want %q", body, got, want)
		}
		if got, want := res.Failure().Error(), strings.TrimSpace("signer: the bridge answered HTTP 404 "+want); !strings.HasPrefix(got, want) {
			t.Errorf("%s: error = %q, want %q", body, got, want)
		}
	}
}

// A wait says what for; to report one that was not asked for changes nothing.
func TestWait(t *testing.T) {
	for reason, report := range map[string]func(r *Retry){
		"network":                  func(r *Retry) { r.Failed(noon, errLost) },
		"HTTP 503":                 func(r *Retry) { r.Answered(noon, envelope(503, "X")) },
		"processing":               func(r *Retry) { r.Answered(noon, Response{Status: 200, Body: []byte(`{"status":"PROCESSING"}`)}) },
		"BRIDGE_CHALLENGE_UNKNOWN": func(r *Retry) { r.Answered(noon, envelope(401, "BRIDGE_CHALLENGE_UNKNOWN")) },
	} {
		r, err := NewRevocation(sessionID, noon.Add(time.Minute), func() float64 { return 0.5 })
		if err != nil {
			t.Fatal(err)
		}
		r.Answered(noon, okChallenge)
		r.Signed(Signed{Header: "x", RequestID: requestID}, nil)
		before := r.Next()
		if r.Waited(); r.Next() != before {
			t.Errorf("after a wait that was not asked for: %+v, want %+v", r.Next(), before)
		}
		report(r)
		if w, ok := r.Next().(Wait); !ok || w.Reason != reason {
			t.Errorf("step = %+v, want a wait for %q", r.Next(), reason)
		}
	}
}

// A driver may hear of a request twice: of a time-out, and then of its answer.
func TestReportsOutOfTurnChangeNothing(t *testing.T) {
	r, err := NewRevocation(sessionID, noon.Add(time.Minute), half)
	if err != nil {
		t.Fatal(err)
	}
	reports := map[string]func(){
		"Answered": func() { r.Answered(noon, Response{Status: 204}) },
		"Failed":   func() { r.Failed(noon, errLost) },
		"Signed":   func() { r.Signed(Signed{Header: "x", RequestID: requestID}, nil) },
		"no":       func() { r.Signed(Signed{}, errLost) },
		"Waited":   func() { r.Waited() },
	}
	ignores := func(names ...string) {
		t.Helper()
		for _, name := range names {
			before := r.Next()
			if reports[name](); !reflect.DeepEqual(r.Next(), before) {
				t.Errorf("%s turned %T into %T", name, before, r.Next())
			}
		}
	}
	ignores("Signed", "no", "Waited")
	r.Failed(noon, errLost)
	ignores("Answered", "Failed", "Signed", "no")
	r.Waited()
	r.Answered(noon, okChallenge)
	ignores("Answered", "Failed", "Waited")
	reports["Signed"]()
	ignores("Signed", "no", "Waited")
	reports["Answered"]()
	if done, ok := r.Next().(Done); !ok || done.Status != Revoked {
		t.Fatalf("step = %+v", r.Next())
	}
	ignores("Answered", "Failed", "Signed", "no", "Waited")
}

func TestRetryKeepsTheRequestIDExactly(t *testing.T) {
	r, err := NewRevocation(sessionID, noon.Add(time.Minute), func() float64 { return 0 })
	if err != nil {
		t.Fatal(err)
	}
	bare := "019542F5-b3e7-1d02-0000-00000000000A"
	r.Answered(noon, Response{Status: 202, Body: []byte(strings.Replace(string(okChallenge.Body), requestID, bare, 1))})
	s := r.Next().(Sign)
	r.Signed(SignChallenge(t.Context(), parseKey(t, Secp256k1, secretHex), s.Challenge, SignOptions{Intent: s.Intent}, noon))
	if got := r.Next().(Send).RequestID; got != bare {
		t.Errorf("Request-Id = %q, want %q", got, bare)
	}
}

func TestRevocationIDs(t *testing.T) {
	for _, id := range []string{"", "Session:", "Session:xyz", strings.TrimPrefix(sessionID, "Session:"), strings.Replace(sessionID, "Session", "AuthMethod", 1), sessionID + "/..", sessionID + "\r\n", "Session:" + strings.Repeat("0", 10<<20)} {
		_, err := NewRevocation(id, noon, nil)
		wantKind(t, err, ErrArgumentInvalid)
	}
}
