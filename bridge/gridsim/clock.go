package gridsim

import (
	"encoding/json"
	"net/http"
	"time"
)

// maxAdvance bounds the sum of all advances: far more than any lifetime, far
// less than what overflows a time.Duration.
const maxAdvance = 10 * 365 * 24 * time.Hour

// Now returns the time at the simulator, with all advances. Whoever issues OIDC
// tokens for it beside it should take their iat from here: after an advance of
// more than a minute, a token of the real time is stale.
func (s *Sim) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now()
}

// now is Now for callers that hold the lock.
func (s *Sim) now() time.Time { return s.cfg.Now().Add(s.offset) }

// advanceClock serves POST /_sim/clock. The clock only moves forward: nothing
// that expired comes back.
func (s *Sim) advanceClock(req request) (reply, error) {
	body, err := req.jsonBody()
	if err != nil {
		return reply{}, err
	}
	var seconds int64
	if json.Unmarshal(body["advanceSeconds"], &seconds) != nil || seconds <= 0 ||
		seconds > int64((maxAdvance-s.offset)/time.Second) {
		return reply{}, advanceInvalid
	}
	s.offset += time.Duration(seconds) * time.Second
	return reply{status: http.StatusNoContent}, nil
}

// expiry returns the moment ttl after now, rounded up to the second. The wire
// has second precision: this way what is announced is what is enforced.
func expiry(now time.Time, ttl time.Duration) time.Time {
	t := now.Add(ttl)
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

// timestamp is how a time looks on the wire.
func timestamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
