package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"time"

	"gridsigner/signer"
)

// Grid judges by its own clock when a challenge has run out. The bridge keeps
// one for as long as it says, within these bounds: clocks differ.
const (
	minChallengeLife = 15 * time.Minute
	maxChallengeLife = time.Hour
)

// digest is SHA-256 over parts, each after its length: no two lists of parts
// have the same one.
func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fingerprint tells calls apart: both legs of a signed retry have the same one.
func (c *call) fingerprint() string {
	return digest(c.route.Method, c.route.path(c.id), string(c.body))
}

// challengeKey is where the challenge is kept. The user is part of it: nobody
// can answer somebody else's challenge.
func challengeKey(user User, requestID string) string {
	return "challenge:" + digest(user.ID, requestID)
}

// remember checks the challenge in a, Grid's answer to c, and keeps it for the
// signed leg. What does not do what the route is for, with what the body
// submitted, is not relayed: the signer would refuse it too, but not every client
// is that signer.
func (b *bridge) remember(ctx context.Context, user User, c *call, a *answer) error {
	challenge, err := signer.ParseChallenge(a.body)
	if err != nil {
		return errChallengeRefused
	}
	payload, err := signer.ParsePayload(challenge.Payload)
	if err != nil || b.payloads.Admit(payload) != nil || !c.intent.Plausible(payload) {
		return errChallengeRefused
	}
	b.store.save(ctx, challengeKey(user, challenge.RequestID), []byte(c.fingerprint()+challenge.Payload), b.life(challenge.ExpiresAt))
	return nil
}

// life is for how long a challenge is kept.
func (b *bridge) life(expiresAt time.Time) time.Duration {
	return min(max(expiresAt.Sub(b.now()), minChallengeLife), maxChallengeLife)
}

// admit checks the signed leg c before Grid sees it: the challenge was issued
// to this user for this very call, the signature is over its payload, and the
// pair has not passed before. What it learns goes into v. It returns the key of
// the mark against replay.
//
// A header in the form of April 2026 does not name its key (contract 3.1), so
// of it only the form can be checked here. Whether the key may sign for the
// account is for Grid to say, in both forms.
//
// While a Redis that replicas share does not answer, a challenge that this one
// does not know may be another's: then, too, only the form is checked, and the
// audit line has no payload. Refusing would lose every second revocation, and
// Grid checks all of it again.
//
// The mark stays whatever becomes of the request, also if Grid never answers:
// then nobody knows whether the signature was used, and the way on is a new
// challenge. The one exception is [bridge.goesOn].
func (b *bridge) admit(ctx context.Context, user User, c *call, v *event) (mark string, err error) {
	requestID, header := c.headers.Get(signer.HeaderRequestID), c.headers.Get(signer.HeaderSignature)
	if header == "" { // see call.fitHeaders
		return b.admitPasskey(ctx, user, c, v)
	}
	kept, ok := b.store.load(ctx, challengeKey(user, requestID))
	payload, fits := bytes.CutPrefix(kept, []byte(c.fingerprint()))
	checkable := ok || b.store.complete()
	if checkable && !(ok && fits) {
		return "", errChallengeUnknown
	}
	if checkable {
		sum := sha256.Sum256(payload)
		v.payload = sum[:]
	}
	format := signer.FormatStamp
	stamp, err := signer.ParseStamp(header)
	der := stamp.Signature
	switch {
	case err == nil && checkable && !stamp.PublicKey.Verify(payload, der):
		return "", errSignatureInvalid
	case err != nil:
		format = signer.FormatDER
		if der, err = signer.ParseDERHeader(signer.P256, header); err != nil {
			if der, err = signer.ParseDERHeader(signer.Secp256k1, header); err != nil {
				return "", errSignatureMalformed
			}
		}
	}
	// Of the signature only r, which nobody can have in two of one key without
	// giving the key away. A header has many spellings, and r and s of everybody's
	// signature have a twin that is as good, r and n-s. In strict DER r begins at
	// the fifth byte, after its length.
	v.format = format
	r := der[4 : 4+der[3]]
	mark = "leg:" + digest(requestID, string(r))
	if !b.store.claim(ctx, mark, maxChallengeLife) {
		return "", errSignatureReplayed
	}
	return mark, nil
}

// processingKey is where it is kept what Grid is processing: the fingerprint of the
// leg of mark.
func processingKey(mark string) string { return "processing:" + mark }

// goesOn reports whether c, the leg of mark, is to pass once more: Grid says
// that it is still processing it, which asks for the identical request, or has
// said so before and not ended it. a is nil where there was no answer.
func (b *bridge) goesOn(ctx context.Context, c *call, mark string, a *answer) bool {
	key := processingKey(mark)
	if a != nil && a.isProcessing() {
		b.store.save(ctx, key, []byte(c.fingerprint()), maxChallengeLife)
		return true
	}
	if a != nil && a.status != http.StatusTooManyRequests && a.status < 500 {
		return false
	}
	_, before := b.store.load(ctx, key)
	return before
}
