package signer

import "time"

// Kind is the stable reason for an [Error]. It is a string constant, so no
// importer can reassign it, and its value is the code that JavaScript sees:
// renaming one is a breaking change.
type Kind string

// The one list of codes. Those of the second group are raised by the WASM
// module too, those of the third by the TypeScript loader alone, but for
// LOAD_FAILED for whoever uses the module without it; they live here so that a
// test can hold the TypeScript union against a single list.
const (
	// ErrArgumentInvalid reports an argument of the wrong type, form or size.
	ErrArgumentInvalid Kind = "ARGUMENT_INVALID"

	// ErrKeyMalformed reports key bytes of the wrong length or range, or a
	// public key that is not a point of its curve.
	ErrKeyMalformed Kind = "KEY_MALFORMED"

	// ErrCurveUnsupported reports a curve that this build cannot sign with.
	ErrCurveUnsupported Kind = "CURVE_UNSUPPORTED"

	// ErrSignatureMalformed reports a signature that is not strict DER, or
	// whose r or s is outside 1..n-1.
	ErrSignatureMalformed Kind = "SIGNATURE_MALFORMED"

	// ErrStampMalformed reports a stamp that breaks a rule of [ParseStamp].
	ErrStampMalformed Kind = "STAMP_MALFORMED"

	// ErrChallengeMalformed reports a challenge whose fields are missing, of
	// the wrong type, or break their grammar.
	ErrChallengeMalformed Kind = "CHALLENGE_MALFORMED"

	// ErrChallengeExpired reports a challenge at or past its expiresAt.
	ErrChallengeExpired Kind = "CHALLENGE_EXPIRED"

	// ErrPayloadMalformed reports a payload that is neither a strictly formed
	// activity or JWT nor canonical base64.
	ErrPayloadMalformed Kind = "PAYLOAD_MALFORMED"

	// ErrIntentMismatch reports a payload that does something else than the
	// caller asked for. Nothing was signed.
	ErrIntentMismatch Kind = "INTENT_MISMATCH"

	// ErrOrganizationMismatch reports a payload of another organization than
	// the one that the caller knows the key to belong to. Nothing was signed.
	ErrOrganizationMismatch Kind = "ORGANIZATION_MISMATCH"

	// ErrResponseMalformed reports an answer that Grid never gives: a success
	// at the wrong step, a body that is not what its status promises, or a 404
	// of a server that has nothing of Grid's.
	ErrResponseMalformed Kind = "RESPONSE_MALFORMED"

	// ErrUpstreamRefused reports a final 4xx.
	ErrUpstreamRefused Kind = "UPSTREAM_REFUSED"

	// ErrUpstreamUnavailable reports a 5xx, or a 429, 502, 503 or 504 whose
	// next try would come after the deadline.
	ErrUpstreamUnavailable Kind = "UPSTREAM_UNAVAILABLE"

	// ErrNetworkFailed reports requests that got no answer at all.
	ErrNetworkFailed Kind = "NETWORK_FAILED"

	// ErrOTPIncorrect reports a one-time code that Grid does not take. Another
	// one may be submitted, as often as Grid allows.
	ErrOTPIncorrect Kind = "OTP_INCORRECT"

	// ErrOTPExpired reports a code that ran out, was used, or was tried too
	// often: a new one has to be sent.
	ErrOTPExpired Kind = "OTP_EXPIRED"

	// ErrEnclaveUntrusted reports a bundle that no pinned enclave key has
	// signed, or whose contents are not what such a bundle holds. Nothing was
	// sealed to it, and nothing in it was opened.
	ErrEnclaveUntrusted Kind = "ENCLAVE_UNTRUSTED"

	// ErrUnsealFailed reports something sealed that does not open with the key
	// it was asked for with, or is not what it was to be.
	ErrUnsealFailed Kind = "UNSEAL_FAILED"

	// ErrSealedKeyUnsupported reports a browser that cannot take over the sealed
	// key of a session: it reads no compressed points, or does not find the public
	// half of a scalar.
	ErrSealedKeyUnsupported Kind = "SEALED_KEY_UNSUPPORTED"

	// ErrTimeout reports that the caller's deadline passed. Package signer has
	// no clock and never raises it; whoever drives a [Retry] does.
	ErrTimeout Kind = "TIMEOUT"
)

const (
	// ErrKeyNotFound reports a key that is not held here: destroyed, or of an
	// unknown id.
	ErrKeyNotFound Kind = "KEY_NOT_FOUND"

	// ErrAborted reports that the caller's AbortSignal fired.
	ErrAborted Kind = "ABORTED"

	// ErrInternal reports a defect of ours. Its message is fixed, because the
	// value of a panic may quote secrets.
	ErrInternal Kind = "INTERNAL"
)

const (
	// ErrClosed reports a call after close, or one that close cut short.
	ErrClosed Kind = "CLOSED"

	// ErrLoadFailed reports a worker or .wasm that could not be loaded, or a page
	// that is no secure context and so has no WebCrypto.
	ErrLoadFailed Kind = "LOAD_FAILED"

	// ErrWorkerFailed reports a worker that died while it held calls.
	ErrWorkerFailed Kind = "WORKER_FAILED"

	// ErrKeyLost reports a key that came to its end: destroyed here or in
	// another tab, at the end of its session, or lost by the browser.
	ErrKeyLost Kind = "KEY_LOST"

	// ErrClockSkew reports a time limit that cannot be judged, because this
	// device's clock contradicts the server and the server cannot be asked.
	ErrClockSkew Kind = "CLOCK_SKEW"

	// ErrCSPBlocked reports a content security policy that forbids something
	// the signer needs.
	ErrCSPBlocked Kind = "CSP_BLOCKED"

	// ErrHeadersFailed reports that the caller's headers function threw, or
	// gave what are no headers.
	ErrHeadersFailed Kind = "HEADERS_FAILED"

	// ErrPasskeyCancelled reports that the person, or the browser, did not go on
	// with a passkey.
	ErrPasskeyCancelled Kind = "PASSKEY_CANCELLED"

	// ErrPasskeyUnsupported reports a browser or a page that has no passkeys.
	ErrPasskeyUnsupported Kind = "PASSKEY_UNSUPPORTED"

	// ErrPasskeyExists reports an authenticator that has a passkey of the account
	// already.
	ErrPasskeyExists Kind = "PASSKEY_EXISTS"

	// ErrStorageFailed reports a browser whose storage refused or did not
	// answer. The key may still be there.
	ErrStorageFailed Kind = "STORAGE_FAILED"
)

// Error returns the code itself, so a bare Kind is a usable error.
func (k Kind) Error() string { return string(k) }

// Retryable reports whether the same call may succeed later, unchanged.
func (k Kind) Retryable() bool {
	switch k {
	case ErrUpstreamUnavailable, ErrNetworkFailed, ErrTimeout, ErrWorkerFailed, ErrHeadersFailed, ErrStorageFailed:
		return true
	}
	return false
}

// Error carries a Kind. Its message never contains key bytes or the payload.
type Error struct {
	Kind Kind   // why, for programs
	Msg  string // what was seen and what was wanted, for people
	Err  error  // underlying error, or nil

	Status       int           // HTTP status of the answer that ended the call, or 0
	UpstreamCode string        // code of its error envelope, or ""
	RetryAfter   time.Duration // its Retry-After header, or 0
	RequestID    string        // Request-Id of the challenge concerned, or ""
}

func (e *Error) Error() string {
	if e.Err == nil {
		return "signer: " + e.Msg
	}
	return "signer: " + e.Msg + ": " + e.Err.Error()
}

// Unwrap lets [errors.Is] match both the Kind and the underlying error.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

func fail(kind Kind, msg string) error { return &Error{Kind: kind, Msg: msg} }
