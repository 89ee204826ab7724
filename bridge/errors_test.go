package bridge

import (
	"testing"
	"time"
)

func TestRetryAfterIsRoundedUp(t *testing.T) {
	for wait, want := range map[time.Duration]int{
		0: 1, 1: 1, time.Second - 1: 1, time.Second: 1, time.Second + 1: 2, time.Minute: 60,
	} {
		if got := errRateLimited.after(wait).retryAfter; got != want {
			t.Errorf("Retry-After for %s = %d, want %d", wait, got, want)
		}
	}
}
