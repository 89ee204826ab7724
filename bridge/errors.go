package bridge

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// refusal is an answer of the bridge's own, in Grid's error envelope. Its code
// is stable: clients branch on it and the README lists it. Its message is
// fixed, so that nothing of a request, a token or an upstream can be reflected.
type refusal struct {
	status  int
	code    string
	message string
	reason  Reason // for operators: never shown to the client

	retryAfter      int             // seconds, 0 for not said
	wwwAuthenticate WWWAuthenticate // of a 401
}

// refusals is the list below, for the README's table of it.
var refusals []*refusal

// refuse makes a refusal whose reason is reason, unless another is given: see because.
func refuse(status int, code string, reason Reason, message string) *refusal {
	e := &refusal{status: status, code: code, message: message, reason: reason}
	refusals = append(refusals, e)
	return e
}

func (e *refusal) Error() string { return e.code }

// Is reports whether target is the same refusal, whatever its reason.
func (e *refusal) Is(target error) bool {
	other, ok := target.(*refusal)
	return ok && other.code == e.code
}

// because is e with another reason.
func (e refusal) because(reason Reason) *refusal {
	e.reason = reason
	return &e
}

// after is e with the advice to come back when wait is over.
func (e refusal) after(wait time.Duration) *refusal {
	e.retryAfter = max(1, int((wait+time.Second-1)/time.Second)) // whole seconds, rounded up (RFC 9110, 10.2.3)
	return &e
}

// asking is e with the way to authenticate that err chooses, or else "Bearer".
func (e refusal) asking(err error) *refusal {
	e.wwwAuthenticate = "Bearer"
	if w, ok := errors.AsType[WWWAuthenticate](err); ok && w.valid() {
		e.wwwAuthenticate = w
	}
	return &e
}

// The one list of refusals. Every code begins with BRIDGE_, which Grid's never
// do, so that a client can tell who refused.
var (
	errInputInvalid       = refuse(400, "BRIDGE_INPUT_INVALID", reasonBody, "the path, query, headers or body are not what this route takes")
	errHeadersIncomplete  = refuse(400, "BRIDGE_HEADERS_INCOMPLETE", reasonHalfAPair, "Grid-Wallet-Signature and Request-Id must be sent together, and with a passkey's assertion Request-Id alone")
	errUnauthenticated    = refuse(401, "BRIDGE_UNAUTHENTICATED", ReasonUnknown, "sign in to the application first")
	errSignatureMalformed = refuse(400, "BRIDGE_SIGNATURE_MALFORMED", reasonSignatureForm, "Grid-Wallet-Signature has neither of its two forms")
	errChallengeUnknown   = refuse(401, "BRIDGE_CHALLENGE_UNKNOWN", reasonNoChallenge, "the challenge was not issued to this user for this request, or is too old: ask for a new one")
	errSignatureInvalid   = refuse(401, "BRIDGE_SIGNATURE_INVALID", reasonSignature, "the signature is not of the challenge's payload by the key in the stamp")
	errCrossOrigin        = refuse(403, "BRIDGE_CROSS_ORIGIN", reasonOtherSite, "the request comes from a page of an origin that is not allowed")
	errHeaderMissing      = refuse(403, "BRIDGE_HEADER_MISSING", reasonNoHeader, "requests other than GET must carry X-Gridsigner: 1")
	errNoAccounts         = refuse(403, "BRIDGE_NO_ACCOUNTS", reasonNoAccounts, "the user has no accounts: neither the accounts claim nor the application names any")
	errRouteNotFound      = refuse(404, "BRIDGE_ROUTE_NOT_FOUND", reasonNoRoute, "the bridge has no such route")
	errNotFound           = refuse(404, "BRIDGE_NOT_FOUND", reasonNotTheirs, "no such thing among the user's accounts")
	errMethodNotAllowed   = refuse(405, "BRIDGE_METHOD_NOT_ALLOWED", reasonMethod, "the route does not take this method")
	errSignatureReplayed  = refuse(409, "BRIDGE_SIGNATURE_REPLAYED", reasonReplay, "this signature, or an assertion for this challenge, was passed on before: ask for a new challenge")
	errBodyTooLarge       = refuse(413, "BRIDGE_BODY_TOO_LARGE", reasonBodySize, "the body is larger than this route takes")
	errContentType        = refuse(415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED", reasonContentType, "the body must be application/json")
	errRateLimited        = refuse(429, "BRIDGE_RATE_LIMITED", reasonLimitUser, "too many requests: wait for as long as Retry-After says")
	errClientGone         = refuse(499, "BRIDGE_CLIENT_GONE", reasonClientGone, "the client went away") // only ever seen in the log
	errInternal           = refuse(500, "BRIDGE_INTERNAL", ReasonUnknown, "the bridge failed")
	errUpstreamFailed     = refuse(502, "BRIDGE_UPSTREAM_FAILED", ReasonUnknown, "Grid could not be reached, or closed the connection")
	errUpstreamInvalid    = refuse(502, "BRIDGE_UPSTREAM_INVALID", reasonUnexpected, "Grid's answer is not one that the bridge relays")
	errUpstreamCredential = refuse(502, "BRIDGE_UPSTREAM_CREDENTIALS", reasonCredentials, "Grid refused the bridge's own credentials")
	errChallengeRefused   = refuse(502, "BRIDGE_CHALLENGE_REFUSED", reasonChallengeForm, "Grid's challenge does not ask for what this route is for")
	errOverloaded         = refuse(503, "BRIDGE_OVERLOADED", reasonInFlight, "the bridge has too much to do at the moment")
	errAudit              = refuse(503, "BRIDGE_AUDIT_UNAVAILABLE", reasonAudit, "the bridge cannot write down what it would do")
	errAuthUnavailable    = refuse(503, "BRIDGE_AUTH_UNAVAILABLE", ReasonUnknown, "the application cannot say at the moment who is calling")
	errUpstreamTimeout    = refuse(504, "BRIDGE_UPSTREAM_TIMEOUT", ReasonTimeout, "Grid did not answer in time")
)

// write sends e in Grid's flat error envelope (its schemas Error400 to Error501).
// requestID is the correlation id: what a user can quote to an operator, who finds
// it in the log.
func (e *refusal) write(w http.ResponseWriter, requestID string) {
	type details struct {
		RequestID string `json:"requestId"`
	}
	body, err := json.Marshal(struct {
		Status  int     `json:"status"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Details details `json:"details"`
	}{e.status, e.code, e.message, details{requestID}})
	if err != nil {
		panic("bridge: " + err.Error()) // four strings and a number always marshal
	}
	if e.wwwAuthenticate != "" {
		w.Header().Set("WWW-Authenticate", string(e.wwwAuthenticate))
	}
	if e.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retryAfter))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	w.Write(body) // the client may be gone: nothing to do about it
}
