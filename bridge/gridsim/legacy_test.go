package gridsim

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"
)

// legacyOps are the signed operations of April 2026.
func legacyOps() []signedOp {
	later := []string{"refresh-session", "sign-in-by-code"}
	return slices.DeleteFunc(slices.Clone(signedOps), func(op signedOp) bool { return slices.Contains(later, op.name) })
}

// TestLegacySuccess tests that the operations of April 2026 work, that their
// payloads are opaque, and that what came later is not there.
func TestLegacySuccess(t *testing.T) {
	for _, op := range legacyOps() {
		s := newState(t, Config{Profile: Legacy202604}, op)
		if raw, err := base64.StdEncoding.DecodeString(s.payload); err != nil || len(raw) != 32 {
			t.Errorf("%s: payload = %q", op.name, s.payload)
		}
		s.leg2(s.k1.legacy(s.payload), s.id).want(t, op.done, "")
	}
	w, k := newWorld(t, Config{Profile: Legacy202604}), newP256(t)
	a := w.send("POST", refreshOf(w.signIn(credential1, k)), refreshBody(k.public))
	a.want(t, 501, "NOT_IMPLEMENTED")

	id, _ := w.addSMSOTP()
	w.send("POST", challengePath(id), "").want(t, 501, "NOT_IMPLEMENTED")
	w.send("POST", challengePath(credential1), "").want(t, 400, "INVALID_INPUT")
}

// TestLegacySignedRetry goes through what leg 2 may look like in April 2026,
// when every 401 had the same code.
func TestLegacySignedRetry(t *testing.T) {
	type leg struct{ signature, requestID, body string }
	for _, test := range []struct {
		name   string
		reason reason
		change func(w *world, k key, payload string, l *leg)
	}{
		{"stamp", derNotBase64, func(_ *world, k key, payload string, l *leg) { l.signature = k.ragged(payload) }},
		// In both alphabets, since a stamp has none of the characters that differ.
		{"stamp-with-padding", derMalformed, func(_ *world, k key, payload string, l *leg) { l.signature = k.padded(payload) }},
		{"unpadded", derNotBase64, func(_ *world, k key, payload string, l *leg) {
			for !strings.HasSuffix(l.signature, "=") {
				l.signature = k.legacy(payload)
			}
			l.signature = strings.TrimRight(l.signature, "=")
		}},
		{"trailing-der", derMalformed, func(_ *world, k key, payload string, l *leg) {
			l.signature = base64.StdEncoding.EncodeToString(append(k.der(payload), 0))
		}},
		{"payload-decoded", signatureMatchesNoKey, func(w *world, k key, payload string, l *leg) {
			raw, err := base64.StdEncoding.DecodeString(payload)
			if err != nil {
				w.t.Fatal(err)
			}
			l.signature = k.legacy(string(raw))
		}},
		{"payload-trimmed", signatureMatchesNoKey, func(_ *world, k key, payload string, l *leg) {
			l.signature = k.legacy(strings.TrimRight(payload, "="))
		}},
		{"payload-with-newline", signatureMatchesNoKey, func(_ *world, k key, payload string, l *leg) { l.signature = k.legacy(payload + "\n") }},
		{"foreign-key", signatureMatchesNoKey, func(w *world, _ key, payload string, l *leg) {
			foreign := newP256(w.t)
			w.signIn(credentialX, foreign)
			l.signature = foreign.legacy(payload)
		}},
		{"request-id-prefixed", challengeUnknown, func(_ *world, _ key, _ string, l *leg) { l.requestID = "Request:" + l.requestID }},
		{"signature-alone", requestIDMissing, func(_ *world, _ key, _ string, l *leg) { l.requestID = "" }},
		{"request-id-alone", signatureMissing, func(_ *world, _ key, _ string, l *leg) { l.signature = "" }},
		{"body-changed", boundBodyDiffers, func(_ *world, _ key, _ string, l *leg) { l.body += " " }},
		{"expired", challengeExpired, func(w *world, _ key, _ string, _ *leg) { w.clock.advance(5 * time.Minute) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, op := range legacyOps() {
				s := newState(t, Config{Profile: Legacy202604}, op)
				l := leg{s.k1.legacy(s.payload), s.id, s.body}
				test.change(s.world, s.k1, s.payload, &l)
				a := s.send(s.method, s.path, l.body, headerSignature, l.signature, headerRequestID, l.requestID)
				a.want(t, 401, "UNAUTHORIZED")
				if a.reason() != test.reason {
					t.Errorf("%s: reason = %q, want %q", op.name, a.reason(), test.reason)
				}
			}
		})
	}
}
