package signer

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// What is answered must be about what was asked for, in the one form that it has.
func TestHostileAnswers(t *testing.T) {
	for _, o := range everything {
		body := string(o.answer.Body)
		bad := map[string]Response{
			"a challenge": challengeAnswer(revokePayload),
			"a redirect":  {Status: 0},
			"301":         {Status: 301, Body: o.answer.Body},
		}
		for _, status := range []int{200, 201, 202, 203, 204, 205, 206} {
			if status != o.answer.Status {
				bad[strconv.Itoa(status)] = Response{Status: status, Body: o.answer.Body}
			}
		}
		bodies := map[string]string{"null": "null", "an object": "{}", "a list": "[]", "a text": `"x"`, "a page": "<html>"}
		if body == "" {
			bodies["a blank"] = " "
			bodies["a session"] = sessionAnswer
		} else {
			bodies["nothing"] = ""
			bodies["half of it"] = body[:len(body)/2]
			bodies["it twice"] = body + body
			bodies["a list of it"] = "[" + body + "]"
			bodies["a byte-order mark"] = "\ufeff" + body
			bodies["what is no UTF-8"] = strings.Replace(body, `":`, "\xff\":", 1)
			bodies["a lone surrogate"] = body[:len(body)-1] + `,"x":"\ud800"}`
			bodies["a name twice"] = body[:len(body)-1] + `,"x":1,"x":2}`
			bodies["a second id"] = strings.Replace(body, `"id":`, `"id":"`+sessionID+`","id":`, 1)
			bodies["an id by another name"] = strings.Replace(body, `"id":`, `"\u0069d":"`+sessionID+`","id":`, 1)
			bodies["without end"] = `{"data":[` + strings.Repeat("1,", maxValues) + "1]}"
			bodies["depth"] = body[:len(body)-1] + `,"x":` + strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth) + "}"
		}
		for name, edit := range o.hostile {
			edited := strings.Replace(body, edit[0], edit[1], 1)
			if edited == body {
				t.Errorf("%s: %q changes nothing", o.name, name)
			}
			bodies[name] = edited
		}
		for name, body := range bodies {
			bad[name] = answerOf(o.answer.Status, body)
		}
		for name, answer := range bad {
			t.Run(o.name+"/"+name, func(t *testing.T) {
				o.play(t, answer).wantEnd(t, o.legs(), "", ErrResponseMalformed)
			})
		}
		if o.payload != "" {
			t.Run(o.name+"/the end without a signature", func(t *testing.T) {
				p := o.playFrom(t, SignOptions{}, o.answer)
				p.wantEnd(t, "ask", "", ErrResponseMalformed)
				if p.uses != 0 {
					t.Error("the key was used")
				}
			})
		}
	}
}

// Who reads an empty body, as net/http does, has read none.
func TestEmptyBodyIsNone(t *testing.T) {
	for _, o := range everything {
		if o.answer.Body == nil {
			p := o.play(t, Response{Status: o.answer.Status, Body: []byte{}})
			if p.wantEnd(t, o.legs(), o.status, ""); p.done.Body != nil {
				t.Errorf("%s ends with a body of %d bytes, want none", o.name, len(p.done.Body))
			}
		}
	}
}

// Where the account is not known, any may be answered, but an account it is.
func TestAccountThatIsNotKnown(t *testing.T) {
	for _, o := range everything {
		if o.p.Account != "" {
			o.p.Account = ""
			answer := answerOf(o.answer.Status, strings.Replace(string(o.answer.Body), accountID, otherAccountID, 1))
			o.play(t, answer).wantEnd(t, o.legs(), o.status, "")
			answer.Body = []byte(strings.Replace(string(o.answer.Body), accountID, "me", 1))
			o.play(t, answer).wantEnd(t, o.legs(), "", ErrResponseMalformed)
		}
	}
}

// Ids are compared as Grid may spell them, in hex of either case.
func TestIDsInUpperCase(t *testing.T) {
	for _, o := range everything {
		answer := Response{Status: o.answer.Status}
		if o.answer.Body != nil {
			answer.Body = []byte(strings.NewReplacer(accountID, shouted(accountID), otherSessionID, shouted(otherSessionID), credentialID, shouted(credentialID)).Replace(string(o.answer.Body)))
		}
		o.play(t, answer).wantEnd(t, o.legs(), o.status, "")
	}
}

// A 404 of Grid's, or of the bridge's for Grid, is good news to who removes.
func TestGone(t *testing.T) {
	for _, o := range everything {
		t.Run(o.name, func(t *testing.T) {
			if deletes := o.request.Method == "DELETE"; deletes != (o.gone != "") {
				t.Fatal("only what is removed may be gone")
			}
			fail := ErrUpstreamRefused
			if o.gone != "" {
				fail = ""
			}
			for _, code := range []string{"REFERENCE_NOT_FOUND", "BRIDGE_NOT_FOUND"} {
				o.playFrom(t, SignOptions{}, envelope(404, code)).wantEnd(t, "ask", o.gone, fail)
				p := o.play(t, envelope(404, code))
				p.wantEnd(t, o.legs(), o.gone, fail)
				if p.done.Accepted || p.done.Body != nil {
					t.Errorf("what is gone was accepted: %+v", p.done)
				}
			}
			for _, answer := range []Response{{Status: 404}, answerOf(404, "<html>"), envelope(404, "BRIDGE_ROUTE_NOT_FOUND")} {
				o.playFrom(t, SignOptions{}, answer).wantEnd(t, "ask", "", ErrResponseMalformed)
				o.play(t, answer).wantEnd(t, o.legs(), "", ErrResponseMalformed)
			}
			o.play(t, envelope(410, "GONE")).wantEnd(t, o.legs(), "", ErrUpstreamRefused)
		})
	}
}

// While Grid is at it, the identical request is made until there is an end: no
// second signature, by play. An outcome that is lost is asked for from the start.
func TestProcessing(t *testing.T) {
	processing := answerOf(200, `{"status":"PROCESSING","message":"m"}`)
	for _, o := range everything {
		if o.request.Method == "GET" {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			once, leg := o.legs(), "ask"
			if o.payload != "" {
				leg = "signed"
			}
			one := once + " 500ms " + leg
			waited := func(tail ...any) performance { return o.play(t, append([]any{processing}, tail...)...) }

			waited(o.answer).wantEnd(t, one, o.status, "")
			waited(processing, processing, o.answer).wantEnd(t, one+" 1s "+leg+" 2s "+leg, o.status, "")
			waited(Response{Status: 200, Body: processing.Body, RetryAfter: "7"}, o.answer).wantEnd(t, one+" 7s "+leg, o.status, "")
			waited(repeat(processing, 10)...).wantEnd(t, one+" 1s "+leg+" 2s "+leg+" 4s "+leg+strings.Repeat(" 8s "+leg, 6), "", ErrUpstreamUnavailable)

			fail := ErrUpstreamRefused
			if o.gone != "" {
				fail = ""
			}
			waited(envelope(404, "REFERENCE_NOT_FOUND")).wantEnd(t, one, o.gone, fail)
			waited(envelope(400, "INVALID_INPUT")).wantEnd(t, one, "", ErrUpstreamRefused)
			waited(envelope(401, "WALLET_SIGNATURE_INVALID")).wantEnd(t, one, "", ErrUpstreamRefused)
			waited(answerOf(200, `{"status":"DONE"}`)).wantEnd(t, one, "", ErrResponseMalformed)

			// Whatever becomes of an answer on the way, it stays the identical request.
			for _, lost := range []any{errLost, envelope(503, "X"), envelope(429, "X")} {
				waited(lost, processing, o.answer).wantEnd(t, one+" 125ms "+leg+" 1s "+leg, o.status, "")
			}
			waited(envelope(401, "BRIDGE_UNAUTHENTICATED"), o.answer).wantEnd(t, one+" "+leg+"-anew", o.status, "")
			if o.payload == "" {
				waited(envelope(401, "UNAUTHORIZED")).wantEnd(t, one, "", ErrUpstreamRefused)
				return
			}
			// A new start begins its pauses anew.
			for _, stale := range []Response{envelope(401, "UNAUTHORIZED"), envelope(409, "BRIDGE_SIGNATURE_REPLAYED")} {
				waited(stale, challengeAnswer(o.payload), processing, o.answer).wantEnd(t, one+" "+once+" 500ms "+leg, o.status, "")
			}
			unknown := envelope(401, "BRIDGE_CHALLENGE_UNKNOWN")
			waited(unknown, challengeAnswer(o.payload), o.answer).wantEnd(t, one+" 125ms "+once, o.status, "")
		})
	}
}

// PROCESSING is an answer to what may be the last request, and to nothing else.
func TestProcessingOfWhatWasNotSigned(t *testing.T) {
	for _, o := range everything {
		if o.payload != "" || o.request.Method == "GET" {
			o.playFrom(t, SignOptions{}, answerOf(200, `{"status":"PROCESSING"}`)).wantEnd(t, "ask", "", ErrResponseMalformed)
		}
	}
}

// What an answer got lost of is asked for again, from the start: what needs no
// signature with the identical request, and what needs one with a new challenge. But
// what signs in with one request would start another session each time.
func TestLostAnswers(t *testing.T) {
	for _, o := range everything {
		t.Run(o.name, func(t *testing.T) {
			for _, lost := range []any{errLost, envelope(502, "X"), envelope(503, "X"), envelope(504, "X"), envelope(429, "X")} {
				if res, ok := lost.(Response); o.op == OpVerifyCredential && o.payload == "" && (!ok || res.Status == 502 || res.Status == 504) {
					o.playFrom(t, SignOptions{}, lost).wantEnd(t, "ask", "", map[bool]Kind{true: ErrUpstreamUnavailable, false: ErrNetworkFailed}[ok])
					continue
				}
				o.playLost(t, lost).wantEnd(t, "ask 125ms "+o.legs(), o.status, "")
				again := []any{lost}
				if o.payload != "" {
					again = append(again, challengeAnswer(o.payload))
				}
				p := o.play(t, append(again, o.answer)...)
				if p.wantEnd(t, o.legs()+" 125ms "+o.legs(), o.status, ""); p.uses != strings.Count(p.story, "signed") {
					t.Errorf("%d signatures in %s", p.uses, p.story)
				}
				if n := len(p.sent); o.payload != "" && p.sent[1] == p.sent[n-1] {
					t.Error("what may have been taken was sent again")
				}
			}
			r, err := NewRetry(o.op, o.p, noon.Add(time.Millisecond), half)
			if err != nil {
				t.Fatal(err)
			}
			play(t, r, o.request, SignOptions{}, errLost).wantEnd(t, "ask", "", ErrNetworkFailed)
		})
	}
}

// playLost loses the answer to the first request.
func (o performed) playLost(t *testing.T, lost any) performance {
	t.Helper()
	script := []any{lost}
	if o.payload != "" {
		script = append(script, challengeAnswer(o.payload))
	}
	return o.playFrom(t, SignOptions{}, append(script, o.answer)...)
}

// Pauses stay within their bounds for any jitter, and grow.
func TestPausesWhileProcessing(t *testing.T) {
	for _, test := range []struct {
		jitter float64
		want   []string
	}{
		{0, []string{"250ms", "500ms", "1s", "2s", "4s", "4s"}},
		{0.999999999, []string{"749.999999ms", "1.499999999s", "2.999999998s", "5.999999996s", "11.999999992s", "11.999999992s"}},
	} {
		r, err := NewRevocation(sessionID, noon.Add(time.Hour), func() float64 { return test.jitter })
		if err != nil {
			t.Fatal(err)
		}
		r.Answered(noon, okChallenge)
		r.Signed(Signed{Header: "x", RequestID: requestID}, nil)
		for _, want := range test.want {
			r.Answered(noon, answerOf(200, `{"status":"PROCESSING"}`))
			if got := r.Next().(Wait).For.String(); got != want {
				t.Errorf("pause = %s, want %s", got, want)
			}
			r.Waited()
		}
	}
}
