package gridsim

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestProcessing tests that an accepted request converges when it is resent as
// it was, whatever becomes of its signer and of the challenge's time.
func TestProcessing(t *testing.T) {
	w := newWorld(t, Config{ProcessingReplies: 2, ConsumeOnFailure: true})
	k1, k2 := newP256(t), newP256(t)
	s1, s2 := w.signIn(credential1, k1), w.signIn(credential2, k2)
	payload, id := w.challenge(s1)
	stamp := k2.stamp(payload)
	wantProcessing(t, w.revoke(s1, stamp, id))
	w.revoke(s1, k2.stamp(payload), id).want(t, 401, "WALLET_SIGNATURE_INVALID")
	w.revoke(s1, stamp, "Request:x").want(t, 401, "UNAUTHORIZED")
	for range maxChallenges + 1 {
		_, id := w.challenge(s1)
		w.revoke(s1, stamp, id).want(t, 401, "WALLET_SIGNATURE_INVALID")
	}
	wantProcessing(t, w.revoke(s1, stamp, id))
	w.sim.mu.Lock()
	w.sim.dropSession(w.sim.sessions[s2])
	w.sim.mu.Unlock()
	w.clock.advance(6 * time.Minute)
	w.revoke(s1, stamp, id).want(t, 204, "")
	w.revoke(s1, stamp, id).want(t, 404, "REFERENCE_NOT_FOUND")
}

// TestProcessingAbandoned tests that clients that lose the answer and start
// again from leg 1 are not held up, however many do.
func TestProcessingAbandoned(t *testing.T) {
	w, k := newWorld(t, Config{ProcessingReplies: 1}), newP256(t)
	session := w.signIn(credential1, k)
	for range maxChallenges + 1 {
		payload, id := w.challenge(session)
		wantProcessing(t, w.revoke(session, k.stamp(payload), id))
	}
	if got := len(w.sim.challenges.byRequestID); got != maxChallenges {
		t.Errorf("%d challenges are kept, want %d", got, maxChallenges)
	}
	payload, id := w.challenge(session)
	stamp := k.stamp(payload)
	wantProcessing(t, w.revoke(session, stamp, id))
	w.revoke(session, stamp, id).want(t, 204, "")
}

func wantProcessing(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || string(a.raw) != `{"status":"PROCESSING"}` {
		t.Fatalf("got %d %s", a.status, a.raw)
	}
}

func TestConcurrentRevocation(t *testing.T) {
	for _, p := range profiles {
		w, k := newWorld(t, p.cfg), p.newKey(t)
		session := w.signIn(credential1, k)
		payload, id := w.challenge(session)
		signature := p.sign(k, payload)
		statuses := make(chan int, 12)
		var group sync.WaitGroup
		for range cap(statuses) {
			group.Go(func() { statuses <- w.revoke(session, signature, id).status })
			group.Go(func() { w.listed(seedAccountID); w.sim.Now() })
		}
		group.Wait()
		close(statuses)
		seen := make(map[int]int)
		for status := range statuses {
			seen[status]++
		}
		if seen[http.StatusNoContent] != 1 || seen[http.StatusNotFound] != cap(statuses)-1 {
			t.Errorf("%s: statuses %v", p.name, seen)
		}
	}
}

// TestBounds tests that challenges do not pile up.
func TestBounds(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	session := w.signIn(credential1, k)
	oldPayload, oldID := w.challenge(session)
	payload, id := w.challenge(session)
	for range maxChallenges - 1 {
		w.challenge(session)
	}
	if got := len(w.sim.challenges.byRequestID); got != maxChallenges {
		t.Errorf("%d challenges are kept, want %d", got, maxChallenges)
	}
	a := w.revoke(session, k.stamp(oldPayload), oldID)
	if a.reason() != challengeUnknown {
		t.Errorf("the oldest challenge: %s", a.raw)
	}
	w.revoke(session, k.stamp(payload), id).want(t, 204, "")
	if left := len(w.sim.challenges.byRequestID) + len(w.sim.challenges.byResource); left != 0 {
		t.Errorf("%d challenges outlive their session", left)
	}
}
