package gridsim

import (
	"bytes"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain fails the package if a test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestProcessing tests that an accepted request converges when it is resent as
// it was, whatever becomes of its signer and of the challenge's time, and that
// any further resend gets the same answer.
func TestProcessing(t *testing.T) {
	for _, op := range signedOps {
		t.Run(op.name, func(t *testing.T) {
			s := newState(t, Config{ProcessingReplies: 2, ProcessingTime: time.Hour, ConsumeOnFailure: true}, op)
			stamp := s.k1.stamp(s.payload)
			wantProcessing(t, s.leg2(stamp, s.id))
			s.leg2(s.k1.stamp(s.payload), s.id).want(t, 401, "WALLET_SIGNATURE_INVALID")
			s.leg2(stamp, "Request:x").want(t, 401, "UNAUTHORIZED")
			for range maxChallenges + 1 {
				_, id := s.leg1()
				s.leg2(stamp, id).want(t, 401, "WALLET_SIGNATURE_INVALID")
			}
			s.clock.advance(6 * time.Minute)
			wantProcessing(t, s.leg2(stamp, s.id))
			last := s.leg2(stamp, s.id)
			last.want(t, op.done, "")
			again := s.leg2(stamp, s.id)
			if op.done == http.StatusNoContent || op.once() {
				again.want(t, refusals[op.replayed].status, refusals[op.replayed].code)
			} else if again.status != op.done || !bytes.Equal(again.raw, last.raw) {
				t.Errorf("resent again: %d %s, want %s", again.status, again.raw, last.raw)
			}
		})
	}
}

// TestProcessingWithoutItsSigner tests that the end of the signer's session does
// not undo what was accepted.
func TestProcessingWithoutItsSigner(t *testing.T) {
	s := newState(t, Config{ProcessingReplies: 1}, signedOps[0])
	stamp := s.k2.stamp(s.payload)
	wantProcessing(t, s.leg2(stamp, s.id))
	s.sim.mu.Lock()
	s.sim.endSession(s.sim.sessions[s.s2])
	s.sim.mu.Unlock()
	s.leg2(stamp, s.id).want(t, 204, "")
}

// TestSettlement tests that Grid settles by itself what nobody asks about, and
// that whoever asks later gets the answer that was due.
func TestSettlement(t *testing.T) {
	for _, op := range signedOps {
		t.Run(op.name, func(t *testing.T) {
			s := newState(t, Config{ProcessingReplies: 5}, op)
			stamp := s.k1.stamp(s.payload)
			wantProcessing(t, s.leg2(stamp, s.id))
			s.clock.advance(10*time.Second - 1)
			wantProcessing(t, s.leg2(stamp, s.id)) // and the time starts again
			s.clock.advance(10*time.Second - 1)
			before := s.everything()
			s.clock.advance(1)
			if after := s.everything(); after == before && !op.once() {
				t.Errorf("after its time it has no effect: %s", after)
			}
			other := s.leg2(s.k1.stamp(s.payload), s.id)
			resent := s.leg2(stamp, s.id)
			if op.done == http.StatusNoContent {
				other.want(t, 404, "REFERENCE_NOT_FOUND")
				resent.want(t, 404, "REFERENCE_NOT_FOUND")
				return
			}
			other.want(t, 401, "UNAUTHORIZED")
			resent.want(t, op.done, "")
			if op.once() {
				s.leg2(stamp, s.id).want(t, 401, "UNAUTHORIZED")
				return
			}
			if resent.text("createdAt") == "" || resent.text("updatedAt") != "2026-08-22T10:00:19Z" {
				t.Errorf("it took effect at another time than its own: %s", resent.raw)
			}
		})
	}
}

// TestSettlementInTheWay tests operations that something comes in the way of
// while they are in process.
func TestSettlementInTheWay(t *testing.T) {
	cfg := Config{ProcessingReplies: 1}
	accepted := func(s state, method, path, body string) func() answer {
		payload, id := s.world.leg1(method, path, body)
		stamp := s.k1.stamp(payload)
		resend := func() answer {
			return s.send(method, path, body, headerSignature, stamp, headerRequestID, id)
		}
		wantProcessing(t, resend())
		return resend
	}
	t.Run("the-same-credential-twice", func(t *testing.T) {
		s := newState(t, cfg, signedOps[2])
		first, second := accepted(s, s.method, s.path, s.body), accepted(s, s.method, s.path, s.body)
		s.clock.advance(10 * time.Second)
		first().want(t, 201, "")
		second().want(t, 400, "EMAIL_OTP_CREDENTIAL_ALREADY_EXISTS")
	})
	t.Run("the-session-is-revoked", func(t *testing.T) {
		s := newState(t, cfg, signedOps[1])
		refresh := accepted(s, s.method, s.path, s.body)
		accepted(s, "DELETE", sessionPath(s.s1), "")().want(t, 204, "")
		if a := refresh(); a.reason() != sessionEnded {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
	t.Run("the-session-expires", func(t *testing.T) {
		s := newState(t, Config{ProcessingReplies: 1, SessionTTL: 5 * time.Second}, signedOps[0])
		revoke := accepted(s, s.method, s.path, s.body)
		s.clock.advance(10 * time.Second)
		revoke().want(t, 404, "REFERENCE_NOT_FOUND")
	})
	t.Run("both-credentials-are-removed", func(t *testing.T) {
		s := newState(t, cfg, signedOps[3])
		second := accepted(s, s.method, s.path, s.body)
		s.k1 = s.k2
		first := accepted(s, "DELETE", "/auth/credentials/"+credential1, "")
		s.clock.advance(10 * time.Second)
		second().want(t, 404, "REFERENCE_NOT_FOUND")
		if a := first(); a.reason() != lastCredential {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	})
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
	if got := [2]int{len(w.sim.challenges.byRequestID), len(w.sim.challenges.underway)}; got != [2]int{maxChallenges, maxChallenges} {
		t.Errorf("%d challenges are kept and in process, want %d", got, maxChallenges)
	}
	payload, id := w.challenge(session)
	stamp := k.stamp(payload)
	wantProcessing(t, w.revoke(session, stamp, id))
	w.revoke(session, stamp, id).want(t, 204, "")
	if left := len(w.sim.challenges.underway); left != 0 {
		t.Errorf("%d challenges are in process for a session that is gone", left)
	}
}

func wantProcessing(t *testing.T, a answer) {
	t.Helper()
	if a.status != http.StatusOK || string(a.raw) != `{"status":"PROCESSING"}` {
		t.Fatalf("got %d %s", a.status, a.raw)
	}
}

// TestConcurrentSignedRetry tests that of equal signed requests one succeeds.
func TestConcurrentSignedRetry(t *testing.T) {
	for _, p := range profiles {
		ops := signedOps
		if p.cfg.Profile == Legacy202604 {
			ops = legacyOps()
		}
		for _, op := range ops {
			s := newStateWith(t, p.cfg, op, p.newKey)
			signature := p.sign(s.k1, s.payload)
			statuses := make(chan int, 12)
			var group sync.WaitGroup
			for range cap(statuses) {
				group.Go(func() { statuses <- s.leg2(signature, s.id).status })
				group.Go(func() { s.listed(seedAccountID); s.sim.Now() })
			}
			group.Wait()
			close(statuses)
			seen := make(map[int]int)
			for status := range statuses {
				seen[status]++
			}
			if seen[op.done] != 1 || seen[refusals[op.replayed].status] != cap(statuses)-1 {
				t.Errorf("%s %s: statuses %v", p.name, op.name, seen)
			}
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

// TestEndedSessionsAreBounded tests that only the last sessions that ended are
// remembered, with what was asked of them.
func TestEndedSessionsAreBounded(t *testing.T) {
	w, k := newWorld(t, Config{}), newP256(t)
	refresh := func(id string) (string, string, string) {
		return "POST", refreshOf(id), refreshBody(k.public)
	}
	first := w.signIn(credential1, k)
	w.leg1(refresh(first))
	end := func(id string) {
		w.sim.mu.Lock()
		defer w.sim.mu.Unlock()
		w.sim.endSession(w.sim.sessions[id])
	}
	end(first)
	for range maxEnded - 1 {
		end(w.signIn(credential1, k))
	}
	if a := w.send(refresh(first)); a.reason() != sessionEnded {
		t.Errorf("the first: %d %s", a.status, a.raw)
	}
	end(w.signIn(credential1, k))
	if a := w.send(refresh(first)); a.reason() != sessionUnknown {
		t.Errorf("the first, after one more: %d %s", a.status, a.raw)
	}
	if left := len(w.sim.challenges.byResource); len(w.sim.ended) != maxEnded || left != 0 {
		t.Errorf("%d ended sessions and challenges for %d are kept", len(w.sim.ended), left)
	}
}
