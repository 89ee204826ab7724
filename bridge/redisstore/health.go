package redisstore

import (
	"log/slog"
	"sync"
	"time"

	"gridsigner/bridge"
)

const (
	restTime  = time.Second // how long Redis is left alone after a failure
	graceTime = time.Minute // how long after one what is not there may be another replica's
)

// health decides whether Redis is asked. After a failure it is left alone (a circuit
// breaker), and asked again by one probe at a time, for which nobody waits. Before the
// first failure is certain, few wait: once Redis has answered nobody for a while,
// nobody else joins those who wait. It is not written on a library: those have a clock
// of their own, and let a user's request be the probe.
type health struct {
	now     func() time.Time
	stall   time.Duration        // after which a Redis that answers nobody gets no more questions
	probe   func() bridge.Reason // why Redis cannot be used, "" if it can
	log     *slog.Logger
	observe func(bridge.Event)
	probes  sync.WaitGroup

	mu      sync.Mutex
	asking  int       // operations under way
	heard   time.Time // when Redis last answered or, if that is later, the first of them began
	open    bool      // whether Redis is left alone
	rest    time.Time // until when
	probing bool
	closed  bool
	failed  time.Time // when Redis was last known not to answer, zero for never
	down    bool      // what the log was told last
	well    bool      // what the observer was
	forgery time.Time // when the log was told of one
}

// begin reports whether an operation may ask Redis. It must then end.
func (h *health) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	switch {
	case h.closed:
		return false
	case h.open:
		if !h.probing && !now.Before(h.rest) {
			h.probing = true
			h.probes.Go(h.try)
		}
		return false
	case h.asking > 0 && now.Sub(h.heard) >= h.stall:
		h.tell(bridge.ReasonBusy)
		return false
	case h.asking == 0:
		h.heard = now
	}
	h.asking++
	return true
}

// end counts an operation out that failed for reason, "" if it did not. What found
// no free connection says nothing about Redis.
//
// That Redis is back the log says after graceTime without a failure: one that fails
// now and then must not fill it.
func (h *health) end(reason bridge.Reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.asking--
	switch {
	case h.closed:
	case reason == bridge.ReasonBusy:
		h.tell(reason)
	case reason != "":
		h.fail(reason)
	case !h.open:
		h.heard = h.now()
		h.tell("")
		if h.down && h.whole() {
			h.down = false
			h.log.Info("Redis answers again: limits are shared")
		}
	}
}

// try finds out whether Redis is back.
func (h *health) try() {
	reason := h.probe()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.probing = false
	switch {
	case h.closed:
	case reason != "":
		h.fail(reason)
	default:
		h.open = false
		h.heard = h.now()
		h.failed = h.heard // for the other replicas it may have been away until now
		h.tell("")
	}
}

func (h *health) fail(reason bridge.Reason) {
	h.failed = h.now()
	h.open, h.rest = true, h.failed.Add(restTime)
	h.tell(reason)
	if !h.down {
		h.down = true
		h.log.Warn("Redis does not answer: limits are this replica's own", slog.String("reason", string(reason)))
	}
}

// forged reports a value that no replica wrote. Whoever wrote it can write many, and
// must not fill the log with them.
func (h *health) forged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tell(bridge.ReasonForged)
	if now := h.now(); h.forgery.IsZero() || now.Sub(h.forgery) > graceTime {
		h.forgery = now
		h.log.Error("Redis holds what no replica wrote: somebody else writes to it, or a replica has another key")
	}
}

// isWhole reports whether Redis has all that replicas have saved of late.
func (h *health) isWhole() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.whole()
}

func (h *health) whole() bool {
	return h.failed.IsZero() || h.now().Sub(h.failed) > graceTime
}

func (h *health) tell(reason bridge.Reason) {
	if reason == "" && h.well {
		return
	}
	h.well = reason == ""
	h.observe(bridge.Event{Kind: bridge.EventShared, Reason: reason})
}

// close has Redis not asked from now on.
func (h *health) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}
