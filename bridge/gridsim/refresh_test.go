package gridsim

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"
)

func refreshBody(clientPublicKey string) string {
	return `{"clientPublicKey":"` + clientPublicKey + `"}`
}

func refreshOf(session string) string { return sessionPath(session) + "/refresh" }

// TestRefresh tests what a refresh makes, and what it leaves alone.
func TestRefresh(t *testing.T) {
	for _, newKey := range []func(testing.TB) key{newP256, newK256} {
		w, k1, k2 := newWorld(t, Config{}), newP256(t), newKey(t)
		old := w.signIn(credential1, k1)
		w.clock.advance(10 * time.Minute)
		a := w.signed(k1, "POST", refreshOf(old), refreshBody(k2.public))
		fresh := a.text("id")
		want := `{"id":"` + fresh + `","accountId":"` + seedAccountID + `","type":"OAUTH","nickname":"ada@example.com",` +
			`"createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:10:00Z","expiresAt":"2026-08-22T10:25:00Z"}`
		if a.status != 201 || string(a.raw) != want || fresh == old {
			t.Errorf("got  %d %s\nwant 201 %s", a.status, a.raw, want)
		}
		if got := string(w.send("GET", "/auth/sessions?accountId="+seedAccountID, "").raw); !strings.Contains(got, want) {
			t.Errorf("listed are %s", got)
		}

		// Both keys sign, each for its own session too.
		third := w.signed(k1, "POST", refreshOf(old), refreshBody(k1.public)) // with the key that it has
		third.want(t, 201, "")
		w.signed(k2, "POST", refreshOf(fresh), refreshBody(newP256(t).public)).want(t, 201, "")
		w.signed(k2, "DELETE", sessionPath(third.text("id")), "").want(t, 204, "")
		w.clock.advance(5 * time.Minute)
		if ids := w.listed(seedAccountID); slices.Contains(ids, old) || !slices.Contains(ids, fresh) {
			t.Errorf("at the expiry of the first session %v are active", ids)
		}
	}
}

func TestRefreshRefusals(t *testing.T) {
	known := newP256(t)
	tests := []struct {
		name   string
		status int
		reason reason
		send   func(s state) answer
	}{
		{"no-body", 400, contentTypeWrong, func(s state) answer { return s.send("POST", s.path, "") }},
		{"key-missing", 400, clientKeyMissing, func(s state) answer { return s.send("POST", s.path, `{"clientPublicKey":null}`) }},
		{"key-short", 400, clientKeyMalformed, func(s state) answer { return s.send("POST", s.path, refreshBody(known.public[:64])) }},
		{"key-off-curve", 400, clientKeyOffCurve, func(s state) answer { return s.send("POST", s.path, refreshBody("02"+strings.Repeat("ff", 32))) }},
		{"uncompressed-key-off-curve", 400, clientKeyOffCurve, func(s state) answer { return s.send("POST", s.path, refreshBody("04"+strings.Repeat("11", 64))) }},
		{"id-malformed", 400, sessionIDMalformed, func(s state) answer { return s.send("POST", refreshOf("Session:1"), s.body) }},
		{"never-issued", 404, sessionUnknown, func(s state) answer {
			return s.send("POST", refreshOf("Session:00000000-0000-0000-0000-000000000000"), s.body)
		}},
		{"another-key-on-leg-2", 401, boundBodyDiffers, func(s state) answer {
			s.body = refreshBody(known.public)
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
		{"another-encoding-on-leg-2", 401, boundBodyDiffers, func(s state) answer {
			point, err := parseP256(compressedKey(unhex(s.t, s.body[20:86]))).Bytes()
			if err != nil {
				s.t.Fatal(err)
			}
			s.body = refreshBody(hex.EncodeToString(point))
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
		{"upper-case-on-leg-2", 401, boundBodyDiffers, func(s state) answer {
			s.body = refreshBody(strings.ToUpper(s.body[20:86]))
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
		{"signed-by-another-session", 401, signerNotEligible, func(s state) answer { return s.leg2(s.k2.stamp(s.payload), s.id) }},
		{"signed-by-the-new-key", 401, signerNotEligible, func(s state) answer {
			payload, id := s.world.leg1("POST", s.path, refreshBody(known.public))
			return s.send("POST", s.path, refreshBody(known.public), headerSignature, known.stamp(payload), headerRequestID, id)
		}},
		{"expired-before-leg-1", 401, sessionEnded, func(s state) answer {
			s.clock.advance(15 * time.Minute)
			return s.send("POST", s.path, s.body)
		}},
		{"expires-between-legs", 401, sessionEnded, func(s state) answer {
			s.clock.advance(14 * time.Minute)
			payload, id := s.leg1()
			s.clock.advance(time.Minute)
			return s.leg2(s.k1.stamp(payload), id)
		}},
		{"revoked-between-legs", 401, sessionEnded, func(s state) answer {
			s.signed(s.k2, "DELETE", sessionPath(s.s1), "").want(s.t, 204, "")
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
		{"no-room", 429, sessionsExhausted, func(s state) answer {
			for range maxSessions - 2 {
				s.signIn(credential1, s.k1)
			}
			return s.leg2(s.k1.stamp(s.payload), s.id)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := test.send(newState(t, Config{}, signedOps[1]))
			if a.status != test.status || a.reason() != test.reason {
				t.Errorf("got %d %s, want %d %q", a.status, a.raw, test.status, test.reason)
			}
		})
	}
}
