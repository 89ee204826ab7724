package signer

import (
	"errors"
	"testing"
)

func TestRetryable(t *testing.T) {
	for _, kind := range []Kind{ErrUpstreamUnavailable, ErrNetworkFailed, ErrTimeout, ErrWorkerFailed, ErrHeadersFailed, ErrStorageFailed} {
		if !kind.Retryable() {
			t.Errorf("%s is not retryable", kind)
		}
	}
	for _, kind := range []Kind{
		ErrArgumentInvalid, ErrKeyMalformed, ErrCurveUnsupported, ErrSignatureMalformed, ErrStampMalformed, ErrChallengeMalformed,
		ErrChallengeExpired, ErrPayloadMalformed, ErrIntentMismatch, ErrOrganizationMismatch, ErrResponseMalformed, ErrUpstreamRefused,
		ErrKeyNotFound, ErrAborted, ErrInternal, ErrClosed, ErrLoadFailed, ErrKeyLost, ErrClockSkew, ErrCSPBlocked, "", "UNKNOWN",
	} {
		if kind.Retryable() {
			t.Errorf("%s is retryable", kind)
		}
	}
}

func TestErrorIsItsKindAndItsCause(t *testing.T) {
	cause := errors.New("the cause")
	for _, test := range []struct {
		err  *Error
		text string
	}{
		{&Error{Kind: ErrNetworkFailed, Msg: "no answer"}, "signer: no answer"},
		{&Error{Kind: ErrNetworkFailed, Msg: "no answer", Err: cause}, "signer: no answer: the cause"},
	} {
		if got := test.err.Error(); got != test.text {
			t.Errorf("text = %q, want %q", got, test.text)
		}
		if !errors.Is(test.err, ErrNetworkFailed) || errors.Is(test.err, ErrTimeout) {
			t.Errorf("%v is not its kind alone", test.err)
		}
		if errors.Is(test.err, cause) != (test.err.Err != nil) {
			t.Errorf("%v: its cause is lost", test.err)
		}
	}
	if got := ErrTimeout.Error(); got != "TIMEOUT" {
		t.Errorf("text of a bare kind = %q", got)
	}
}
