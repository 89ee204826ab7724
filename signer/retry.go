package signer

import (
	"strconv"
	"strings"
	"time"
)

// Limits of a [Retry].
const (
	maxRestarts = 2 // after a 401 on the signed leg

	// Of the pauses after 429, 502, 503, 504 or no answer. Their number has no
	// limit but the deadline: who has time to wait is there when Grid is back.
	backoffBase = 250 * time.Millisecond
	backoffMax  = 8 * time.Second

	// Of the pauses while Grid is processing, in the middle: each is half to one
	// and a half of that, which doubles up to backoffMax.
	pollBase = 500 * time.Millisecond
)

// Retry is one [Operation], as a value: Grid's two-step signed retry, or a
// request that needs no signature. It says what to do next and is told what came
// of it. It does no I/O and has no clock or randomness of its own, so
// the same code runs in a browser, in a Go program and in a test:
//
//	r, err := signer.NewRevocation(id, deadline, rand.Float64)
//	for {
//		switch s := r.Next().(type) {
//		case signer.Send: // make the request, then r.Answered or r.Failed
//		case signer.Sign: // SignChallenge, then r.Signed
//		case signer.Wait: // sleep for s.For, then r.Waited
//		case signer.Done: // s.Status and s.Body, or s.Err
//		}
//	}
//
// It never repeats a signed request whose outcome it does not know: it asks for
// a new challenge instead. Of what is to go, the answer then tells whether it is
// still there; what is to come may have come twice, and a list tells. What signs
// in with one request is not repeated at all then: each would start a session, of
// one key. The one exception is Grid's own "still processing", from which on the
// identical request goes again (its schema WalletOperationProcessing), also where
// none is signed. What it signs again says the same: one Retry is for one thing.
type Retry struct {
	op       *operation
	path     string
	body     string
	asked    question
	answers  string // Request-Id of the challenge that it answers, "" for none
	deadline time.Time
	jitter   func() float64

	next    Step
	sent    Send    // the request being answered
	said    Payload // what was signed last; the zero value at first
	attempt int

	backoff         time.Duration // the longest that the next pause may be
	poll            time.Duration // the middle of what the next one is while Grid is processing
	restarts        int
	processing      bool // Grid has said so of what was sent
	reauthenticated bool
}

// Step is what to do next: [Send], [Sign], [Wait] or [Done].
type Step interface{ step() }

// Send asks for one request to Grid, directly or through the bridge.
type Send struct {
	Method, Path string // Path is below the base URL, percent-encoded, with its query
	Body         string // JSON, the same on both legs; "" for none
	Signature    string // value of Grid-Wallet-Signature; "" on the first leg
	RequestID    string // value of Request-Id; "" on the first leg, unless it answers a challenge
	Attempt      int    // counts the requests of this Retry, from 1

	// Reauthenticate says that the bridge did not take the caller's
	// credentials: ask for them anew. It is set once in a Retry's life.
	Reauthenticate bool
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
	Status   Status // "" if Err is not nil
	Body     []byte // of the terminal answer, nil if it has none
	Accepted bool   // that answer was to the last signature
	Err      error
}

func (Send) step() {}
func (Sign) step() {}
func (Wait) step() {}
func (Done) step() {}

// Response is an HTTP answer. Body may be cut at any length over 1 MiB.
type Response struct {
	Status     int
	RetryAfter string // the header's value, "" if there is none
	Body       []byte
}

// Params are what an operation is about.
type Params struct {
	// ID is the one in the path, or the account of a list.
	ID string

	// Body is what is submitted, as JSON. It is judged ([Operation.Judge]) and
	// then sent as it is.
	Body string

	// Account, if it is known, is the one that what is answered must be of. A body
	// or a list names it already.
	Account string

	// Credential is the type of the credential that [OpRemoveCredential] takes
	// away, as the person saw it.
	Credential CredentialType

	// Contact is the e-mail address or the phone number to which an OTP type is
	// added: Grid takes it from its customer record, and not from the body.
	Contact string

	// RequestID and ClientKey are of the challenge that a passkey answers: its
	// requestId, and the clientPublicKey that it was asked for with.
	RequestID, ClientKey string
}

// NewRetry starts an operation. No wait goes past deadline. jitter returns
// numbers in [0,1).
//
// The error is [ErrArgumentInvalid] for an id of another kind, a body of another
// form, parameters that contradict it, or an intent that is not complete.
func NewRetry(op Operation, p Params, deadline time.Time, jitter func() float64) (*Retry, error) {
	s, err := op.Judge(p.Body)
	if err != nil {
		return nil, err
	}
	in, account := s.Intent, s.Account
	r := &Retry{op: op.row(), body: p.Body, answers: p.RequestID, deadline: deadline, jitter: jitter, backoff: backoffBase, poll: pollBase}
	kind := r.op.idKind()
	if kind == "InternalAccount" {
		account = p.ID
	}
	switch {
	case kind == "" && p.ID != "":
		return nil, fail(ErrArgumentInvalid, string(op)+" takes no id")
	case kind != "" && !ValidID(kind, p.ID):
		return nil, fail(ErrArgumentInvalid, "the id of "+string(op)+" must be "+kind+":<uuid>")
	case s.Answers && !ValidRequestID(p.RequestID) || !s.Answers && p.RequestID != "":
		return nil, fail(ErrArgumentInvalid, "a passkey, and nothing else, goes with the requestId of its challenge")
	case p.ClientKey != "" && (!isClientKey(p.ClientKey) || !s.Answers && in.TargetPublicKey == ""):
		// By it an answer is known: it must not make one of a code's look like a
		// passkey's, nor have a sealed key taken where none was asked for.
		return nil, fail(ErrArgumentInvalid, "clientKey must be the clientPublicKey that was submitted, or that the challenge of a passkey was asked for with")
	case in.Name == RefreshSession && isUncompressed(in.TargetPublicKey):
		// Grid would make the key, and seal it for one that is to sign.
		return nil, fail(ErrArgumentInvalid, "clientPublicKey must be compressed")
	case p.Account != "" && !ValidID("InternalAccount", p.Account):
		// No answer would fit it, and by then the session is there.
		return nil, fail(ErrArgumentInvalid, "the account must be InternalAccount:<uuid>")
	case !fill(&in.Credential, p.Credential) || !fill(&in.Submitted, p.Contact) || !fill(&in.TargetPublicKey, p.ClientKey) || !fill(&account, p.Account):
		return nil, fail(ErrArgumentInvalid, "the parameters of "+string(op)+" contradict each other")
	}
	r.path = strings.Replace(r.op.path, "{"+kind+"}", strings.Replace(p.ID, ":", "%3A", 1), 1)
	r.asked = question{p.ID, account, in}
	if in.Name != "" {
		if _, err := in.normalize(); err != nil {
			return nil, err
		}
	}
	r.send(Send{})
	return r, nil
}

// fill sets what the body left open, and reports whether the two agree.
func fill[T ~string](said *T, param T) bool {
	if *said == "" {
		*said = param
	}
	return param == "" || param == *said
}

// NewRevocation starts the revocation of a session: [OpRevokeSession].
func NewRevocation(sessionID string, deadline time.Time, jitter func() float64) (*Retry, error) {
	return NewRetry(OpRevokeSession, Params{ID: sessionID}, deadline, jitter)
}

// Next returns the step to take. It changes only when the outcome of that very
// step is reported: any other report, as of a late answer, changes nothing.
func (r *Retry) Next() Step { return r.next }

func (r *Retry) send(s Send) {
	r.attempt++
	s.Method, s.Path, s.Body, s.Attempt = r.op.method, r.path, r.body, r.attempt
	if !s.Signed() {
		s.RequestID = r.answers
	}
	r.sent, r.next = s, s
}

// Signed reports what [SignChallenge] made of a [Sign] step.
func (r *Retry) Signed(s Signed, err error) {
	step, ok := r.next.(Sign)
	if !ok {
		return
	}
	if err != nil {
		r.end(err)
		return
	}
	r.said, _ = ParsePayload(step.Challenge.Payload)
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
	if _, ok := r.next.(Send); !ok {
		return
	}
	e := &Error{Kind: ErrNetworkFailed, Msg: "no answer from the bridge", Err: err, RequestID: r.sent.RequestID}
	if r.isSpent() {
		r.end(e)
		return
	}
	r.retry(now, "network", e)
}

// isSpent reports whether what was sent may have started a session that another
// request would not continue.
func (r *Retry) isSpent() bool {
	return r.op.name == OpVerifyCredential && r.asked.intent.Name == "" && !r.processing
}

// Answered reports the answer to a [Send].
func (r *Retry) Answered(now time.Time, res Response) {
	if _, ok := r.next.(Send); !ok {
		return
	}
	signed := r.sent.Signed()
	terminal := signed || r.asked.intent.Name == "" // where the terminal answer may come
	failure := res.Failure()
	failure.RequestID = r.sent.RequestID
	switch code := failure.UpstreamCode; {
	case !terminal && res.Status == 202:
		c, err := ParseChallenge(res.Body)
		if err != nil {
			r.end(err)
			return
		}
		if !r.sameAgain(c) {
			r.end(&Error{Kind: ErrIntentMismatch, Msg: "the new challenge is for something else than what was signed", RequestID: c.RequestID})
			return
		}
		r.poll, r.processing = pollBase, false
		r.next = Sign{Challenge: c, Intent: r.asked.intent}

	case terminal && r.op.method != "GET" && res.Status == 200 && isProcessing(res.Body):
		still := &Error{Kind: ErrUpstreamUnavailable, Msg: "Grid is still processing it", Status: 200, RetryAfter: failure.RetryAfter, RequestID: r.sent.RequestID}
		pause := time.Duration((0.5 + r.jitter()) * float64(r.poll))
		r.poll = min(2*r.poll, backoffMax)
		r.processing = true
		r.wait(now, "processing", max(pause, failure.RetryAfter), still)

	case terminal && res.Status == r.op.status && r.fits(res.Body):
		done := Done{Status: r.op.done, Accepted: signed}
		if r.op.answer != nil {
			done.Body = res.Body
		}
		r.next = done

	case r.op.gone != "" && res.Status == 404 && failure.Kind == ErrUpstreamRefused:
		r.next = Done{Status: r.op.gone}

	case res.Status == 401 && code == "BRIDGE_UNAUTHENTICATED" && !r.reauthenticated:
		r.reauthenticated = true
		again := r.onward()
		again.Reauthenticate = true
		r.send(again)

	case signed && res.Status == 401 && code == "BRIDGE_CHALLENGE_UNKNOWN":
		// A bridge of several replicas that cannot reach what they share:
		// with a pause, because it takes a moment to notice and to mend.
		r.processing = false
		r.retry(now, code, failure)

	case signed && isStale(res.Status, code) && r.restarts < maxRestarts:
		r.restarts++
		r.send(Send{})

	case failure.Kind == ErrUpstreamUnavailable && (res.Status == 429 || res.Status == 503 || (res.Status == 502 || res.Status == 504) && !r.isSpent()):
		r.retry(now, "HTTP "+strconv.Itoa(res.Status), failure)

	default:
		if !terminal && r.asked.intent.Name == SignIn && res.Status == 401 {
			failure.Kind = otpRefusal(res)
		}
		r.end(failure)
	}
}

// sameAgain reports whether a challenge is for what was signed before, if
// anything was. An intent does not say which session or which credential goes: a
// relay that pretends to have lost an answer could otherwise have one consent
// sign for all of them.
func (r *Retry) sameAgain(c Challenge) bool {
	if r.said.Kind == "" {
		return true
	}
	p, _ := ParsePayload(c.Payload)
	return p.OrganizationID == r.said.OrganizationID && p.parameters.equal(&r.said.parameters)
}

// fits reports whether the terminal body is about what was asked for: a bridge or
// a cache could answer with what belongs to somebody else.
func (r *Retry) fits(body []byte) bool {
	if r.op.answer == nil {
		return len(body) == 0
	}
	v, err := parseUpTo(string(body), maxListed)
	return err == nil && r.op.answer(&r.asked, &v)
}

// isStale reports whether an answer says that the challenge, and not the
// signature, is no longer good: a new one may do. The plain code is Grid's for
// one that ran out or was used (its guide Authentication). The bridge takes no
// signature twice, as when a proxy before it resends.
func isStale(status int, code string) bool {
	return status == 401 && code == "UNAUTHORIZED" || status == 409 && code == "BRIDGE_SIGNATURE_REPLAYED"
}

// retry goes on after a pause, or ends with e if there is no time left for one.
func (r *Retry) retry(now time.Time, reason string, e *Error) {
	// Full jitter: clients that failed together must not come back together.
	pause := time.Duration(r.jitter() * float64(r.backoff))
	r.backoff = min(2*r.backoff, backoffMax)
	r.wait(now, reason, max(pause, e.RetryAfter), e)
}

func (r *Retry) wait(now time.Time, reason string, pause time.Duration, err error) {
	if !now.Add(pause).Before(r.deadline) {
		r.end(err)
		return
	}
	r.next = Wait{For: pause, Reason: reason, then: r.onward()}
}

// onward is the request to go on with: the first leg, or the identical one where
// Grid is processing it, whatever becomes of an answer on the way.
func (r *Retry) onward() Send {
	if !r.processing {
		return Send{}
	}
	again := r.sent
	again.Reauthenticate = false
	return again
}

func (r *Retry) end(err error) { r.next = Done{Err: err} }

// Failure says what an answer that is not a success means: [ErrUpstreamRefused]
// for a 4xx, [ErrUpstreamUnavailable] for 429 and 5xx, [ErrIntentMismatch] where
// the bridge did not relay a challenge, and otherwise [ErrResponseMalformed]. So
// is a 404 that is not Grid's: of what is there, and what is gone, a server
// without Grid's paths knows nothing.
func (res Response) Failure() *Error {
	e := &Error{
		Kind: ErrResponseMalformed, Status: res.Status, UpstreamCode: errorCode(res), RetryAfter: retryAfter(res.RetryAfter),
		Msg: "the bridge answered HTTP " + strconv.Itoa(res.Status),
	}
	if e.UpstreamCode != "" {
		e.Msg += " " + e.UpstreamCode
	}
	switch {
	case res.Status == 404 && (e.UpstreamCode == "" || e.UpstreamCode == "BRIDGE_ROUTE_NOT_FOUND"):
		e.Msg += ": nothing of Grid's is at this address, bridgeUrl may be wrong"
	case e.UpstreamCode == "BRIDGE_CHALLENGE_REFUSED":
		e.Kind = ErrIntentMismatch // by the bridge's judgement, which is the signer's: no time will change it
	case res.Status == 429 || 500 <= res.Status && res.Status <= 599:
		e.Kind = ErrUpstreamUnavailable
	case 400 <= res.Status && res.Status <= 499:
		e.Kind = ErrUpstreamRefused
	}
	return e
}

// otpRefusal says what is wrong with a code, by the reason that Grid gives: it has
// one error code for all that is (its guide Sandbox testing), and some reasons
// come as the message. A refusal of another kind stays what it is.
func otpRefusal(res Response) Kind {
	if code := errorCode(res); code != "UNAUTHORIZED" && code != "OTP_INVALID" {
		return ErrUpstreamRefused
	}
	v, _ := parseJSON(string(res.Body))
	details := v.member("details")
	if details == nil {
		details = &jsonValue{}
	}
	reason, _ := details.text("reason")
	for _, name := range []string{"reason", "message"} {
		if reason == "" {
			reason, _ = v.text(name)
		}
	}
	if reason = lower(reason); strings.Contains(reason, "no pending otp") || strings.Contains(reason, "expired") {
		return ErrOTPExpired
	}
	return ErrOTPIncorrect
}

// errorCode returns the code of Grid's error envelope (its schemas Error400 to
// Error501), or "" if the body is not one. Codes are upper-case names: an upstream
// may put no more than that in our errors.
func errorCode(res Response) string {
	if res.Status < 400 {
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

// isProcessing reports the body {"status":"PROCESSING",…} of WalletOperationProcessing.
func isProcessing(body []byte) bool {
	v, err := parseJSON(string(body))
	return err == nil && v.isText("status", "PROCESSING")
}

// retryAfter reads the header's seconds (RFC 9110 section 10.2.3); 0 for none.
// Grid's API reference says seconds, so a date counts as none.
func retryAfter(header string) time.Duration {
	if !isDecimal(header) {
		return 0
	}
	seconds := uint64(0)
	for _, c := range []byte(header) { // no more than a uint64 holds; strconv's errors, which quote, would add 6 kB
		seconds = seconds*10 + uint64(c-'0')
	}
	return time.Duration(min(seconds, 1<<31-1)) * time.Second
}
