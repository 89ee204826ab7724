package signer

import (
	"strconv"
	"strings"
	"time"
)

// Limits of a [Retry].
const (
	maxRestarts  = 2  // after a 401 on the signed leg
	maxTransient = 4  // repeats after 429, 502, 503, 504 or no answer
	maxPolls     = 30 // repeats of a signed leg that is still processing

	backoffBase = 250 * time.Millisecond
	backoffMax  = 8 * time.Second
	pollEvery   = 500 * time.Millisecond
)

// Retry is the two-step signed retry of contract 2.0, as a value: it says what
// to do next and is told what came of it. It does no I/O and has no clock or
// randomness of its own, so the same code runs in a browser, in a Go program
// and in a test:
//
//	r, err := signer.NewRevocation(id, deadline, rand.Float64)
//	for {
//		switch s := r.Next().(type) {
//		case signer.Send: // make the request, then r.Answered or r.Failed
//		case signer.Sign: // SignChallenge, then r.Signed
//		case signer.Wait: // sleep for s.For, then r.Waited
//		case signer.Done: // s.Status, s.Err
//		}
//	}
//
// It never repeats a signed request whose outcome it does not know: it asks for
// a new challenge instead, and learns from the answer whether the session is
// still there. The one exception is Grid's own "still processing", which asks
// for the identical request (contract 2.16).
type Retry struct {
	path     string
	deadline time.Time
	jitter   func() float64

	next    Step
	sent    Send // the request being answered
	attempt int

	restarts, transient, polls int
}

// Step is what to do next: [Send], [Sign], [Wait] or [Done].
type Step interface{ step() }

// Send asks for one request to Grid, directly or through the bridge.
type Send struct {
	Method, Path string // below the base URL; Path is percent-encoded
	Signature    string // value of Grid-Wallet-Signature; "" on the first leg
	RequestID    string // value of Request-Id; "" on the first leg
	Attempt      int    // counts the requests of this Retry, from 1
}

// Signed reports whether s is the second leg.
func (s Send) Signed() bool { return s.Signature != "" }

// Sign asks for [SignChallenge] with the intent of this Retry.
type Sign struct {
	Challenge Challenge
	Intent    Intent
}

// Wait asks for a pause, which ends before the deadline.
type Wait struct {
	For    time.Duration
	Reason string // "HTTP 503", "network", "processing"
	then   Send
}

// Done is the end: Next returns it from then on.
type Done struct {
	Status Status // "" if Err is not nil
	Err    error
}

func (Send) step() {}
func (Sign) step() {}
func (Wait) step() {}
func (Done) step() {}

// Status is the outcome of a revocation.
type Status string

const (
	// Revoked means that Grid answered 204 to our signature.
	Revoked Status = "revoked"

	// Inactive means that there is no active session of that id, by the word
	// of Grid or of the bridge: it was revoked before, ran out, never was, or
	// is another user's.
	Inactive Status = "inactive"
)

// Response is an HTTP answer. Body may be cut at any length over 1 MiB.
type Response struct {
	Status     int
	RetryAfter string // the header's value, "" if there is none
	Body       []byte
}

// NewRevocation starts the revocation of a session: DELETE /auth/sessions/{id}
// (contract 2.1). No wait goes past deadline. jitter returns numbers in [0,1).
//
// The error is [ErrArgumentInvalid] for an id that is not Session:<uuid>.
func NewRevocation(sessionID string, deadline time.Time, jitter func() float64) (*Retry, error) {
	if !ValidID("Session", sessionID) {
		return nil, fail(ErrArgumentInvalid, "session id must be Session:<uuid>")
	}
	r := &Retry{
		path:     "/auth/sessions/" + strings.Replace(sessionID, ":", "%3A", 1),
		deadline: deadline,
		jitter:   jitter,
	}
	r.firstLeg()
	return r, nil
}

// Next returns the step to take. It changes only when the step's outcome is
// reported.
func (r *Retry) Next() Step { return r.next }

func (r *Retry) send(s Send) {
	r.attempt++
	s.Method, s.Path, s.Attempt = "DELETE", r.path, r.attempt
	r.sent, r.next = s, s
}

func (r *Retry) firstLeg() { r.send(Send{}) }

// Signed reports what [SignChallenge] made of a [Sign] step.
func (r *Retry) Signed(s Signed, err error) {
	if err != nil {
		r.end(err)
		return
	}
	r.send(Send{Signature: s.Header, RequestID: s.RequestID})
}

// Waited reports that a [Wait] is over.
func (r *Retry) Waited() {
	if w, ok := r.next.(Wait); ok {
		r.send(w.then)
	}
}

// Failed reports that a [Send] got no answer, or lost it on the way.
func (r *Retry) Failed(now time.Time, err error) {
	r.retry(now, "network", 0, &Error{Kind: ErrNetworkFailed, Msg: "no answer from the bridge", Err: err, RequestID: r.sent.RequestID})
}

// Answered reports the answer to a [Send].
func (r *Retry) Answered(now time.Time, res Response) {
	signed := r.sent.Signed()
	switch res.Status {
	case 202:
		if signed {
			r.end(r.unexpected(res)) // of all endpoints, only delegated keys have a third leg
			return
		}
		c, err := ParseChallenge(res.Body)
		if err != nil {
			r.end(err)
			return
		}
		r.next = Sign{Challenge: c, Intent: Intent{Name: RevokeSession}}

	case 204:
		if !signed {
			r.end(r.unexpected(res)) // nothing was signed, so nothing can be revoked
			return
		}
		r.next = Done{Status: Revoked}

	case 200:
		if !signed || !isProcessing(res.Body) {
			r.end(r.unexpected(res))
			return
		}
		still := &Error{Kind: ErrUpstreamUnavailable, Msg: "Grid is still processing the revocation", Status: 200, RequestID: r.sent.RequestID}
		if r.polls++; r.polls > maxPolls {
			r.end(still)
			return
		}
		r.wait(now, "processing", max(pollEvery, retryAfter(res.RetryAfter)), r.sent, still)

	case 401, 409:
		switch code := errorCode(res); {
		case signed && code == "BRIDGE_CHALLENGE_UNKNOWN":
			// A bridge of several replicas that cannot reach what they share:
			// with a pause, because it takes a moment to notice and to mend.
			r.retry(now, code, 0, r.failure(res))
		case signed && isStale(code) && r.restarts < maxRestarts:
			r.restarts++
			r.firstLeg()
		default:
			r.end(r.failure(res))
		}

	case 404:
		// Only Grid, or the bridge in its place, may say that a session is
		// gone. A web server that has no such path knows nothing of it.
		if code := errorCode(res); code == "" || code == "BRIDGE_ROUTE_NOT_FOUND" {
			r.end(r.unexpected(res))
			return
		}
		r.next = Done{Status: Inactive}

	case 429, 502, 503, 504:
		r.retry(now, "HTTP "+strconv.Itoa(res.Status), retryAfter(res.RetryAfter), r.failure(res))

	default:
		r.end(r.failure(res))
	}
}

// isStale reports whether code says that the challenge, and not the signature,
// is no longer good: a new one may do. The plain code is Grid's for one that ran
// out or was used (contract 2.0). The bridge takes no signature twice, as when a
// proxy before it resends.
func isStale(code string) bool {
	return code == "UNAUTHORIZED" || code == "BRIDGE_SIGNATURE_REPLAYED"
}

// retry goes back to the first leg after a pause of at least least, or ends
// with err when the tries or the time are used up.
func (r *Retry) retry(now time.Time, reason string, least time.Duration, err error) {
	if r.transient++; r.transient > maxTransient {
		r.end(err)
		return
	}
	// Full jitter: clients that failed together must not come back together.
	pause := min(backoffBase<<(r.transient-1), backoffMax)
	pause = time.Duration(r.jitter() * float64(pause))
	r.wait(now, reason, max(pause, least), Send{}, err)
}

func (r *Retry) wait(now time.Time, reason string, pause time.Duration, then Send, err error) {
	if !now.Add(pause).Before(r.deadline) {
		r.end(err)
		return
	}
	r.next = Wait{For: pause, Reason: reason, then: then}
}

func (r *Retry) end(err error) { r.next = Done{Err: err} }

// failure is [Response.Failure], with the challenge that the answer is about.
func (r *Retry) failure(res Response) *Error {
	e := res.Failure()
	e.RequestID = r.sent.RequestID
	return e
}

// unexpected says that res is one that Grid never gives at this step.
func (r *Retry) unexpected(res Response) *Error {
	e := r.failure(res)
	e.Kind = ErrResponseMalformed
	return e
}

// Failure says what an answer that is not a success means: [ErrUpstreamRefused]
// for a 4xx, [ErrUpstreamUnavailable] for 429 and 5xx, and otherwise
// [ErrResponseMalformed].
func (res Response) Failure() *Error {
	e := &Error{
		Kind: ErrResponseMalformed, Status: res.Status, UpstreamCode: errorCode(res),
		Msg: "the bridge answered HTTP " + strconv.Itoa(res.Status),
	}
	switch {
	case res.Status == 429 || 500 <= res.Status && res.Status <= 599:
		e.Kind = ErrUpstreamUnavailable
	case 400 <= res.Status && res.Status <= 499:
		e.Kind = ErrUpstreamRefused
	}
	if e.UpstreamCode != "" {
		e.Msg += " " + e.UpstreamCode
	}
	return e
}

// maxEnvelope bounds what is read of an error, far above any envelope: a body
// of many small values takes a hundred times its size once it is parsed.
const maxEnvelope = 64 << 10

// errorCode returns the code of Grid's error envelope (contract 1.5), or "" if
// the body is not one. Codes are upper-case names: what an upstream may put in
// our errors is no more than that.
func errorCode(res Response) string {
	if len(res.Body) > maxEnvelope {
		return ""
	}
	v, err := parseJSON(string(res.Body))
	if err != nil {
		return ""
	}
	status, code := v.member("status"), v.member("code")
	if status == nil || status.kind != jsonNumber || status.scalar != strconv.Itoa(res.Status) ||
		code == nil || code.kind != jsonString || len(code.scalar) > 64 {
		return ""
	}
	for _, c := range []byte(code.scalar) {
		if !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return ""
		}
	}
	return code.scalar
}

// isProcessing reports the body {"status":"PROCESSING",…} of contract 2.16.
func isProcessing(body []byte) bool {
	v, err := parseJSON(string(body))
	return err == nil && v.isText("status", "PROCESSING")
}

// retryAfter reads the header's seconds (RFC 9110 section 10.2.3); 0 for none.
// Grid sends seconds (contract 1.6), so a date counts as none.
func retryAfter(header string) time.Duration {
	if !isDecimal(header) {
		return 0
	}
	seconds, err := strconv.ParseUint(header, 10, 31)
	if err != nil {
		seconds = 1<<31 - 1 // further off than any deadline
	}
	return time.Duration(seconds) * time.Second
}
