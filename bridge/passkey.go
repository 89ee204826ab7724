package bridge

import (
	"context"
	"time"

	"gridsigner/signer"
)

// passkeyKey is where it is kept that a challenge for a passkey was issued: to
// this user, and for this credential.
func passkeyKey(user User, credential, requestID string) string {
	return "passkey:" + digest(user.ID, credential, requestID)
}

// rememberPasskey keeps for its answer the challenge in a, Grid's answer to c, if
// it is for a passkey. One for a code has no request id.
func (b *bridge) rememberPasskey(ctx context.Context, user User, c *call, a *answer) error {
	got, _ := a.read()
	if got.Type != signer.Passkey || a.isProcessing() {
		return nil
	}
	expiresAt, err := time.Parse(time.RFC3339, got.ExpiresAt)
	if err != nil || !signer.ValidRequestID(got.RequestID) {
		return errUpstreamInvalid
	}
	b.store.save(ctx, passkeyKey(user, c.id, got.RequestID), []byte{1}, b.life(expiresAt))
	return nil
}

// admitPasskey is [bridge.admit] for the answer of a passkey, which has no
// signature header: the challenge was issued to this user for this credential, and
// no other answer to it has passed. Whether the assertion is good is for Grid to
// say.
func (b *bridge) admitPasskey(ctx context.Context, user User, c *call, v *event) (mark string, err error) {
	key := passkeyKey(user, c.id, c.headers.Get(signer.HeaderRequestID))
	if _, ok := b.store.load(ctx, key); !ok && b.store.complete() {
		return "", errChallengeUnknown
	}
	v.format, mark = formatPasskey, "leg:"+key
	if !b.store.claim(ctx, mark, maxChallengeLife) {
		return "", errSignatureReplayed
	}
	// The mark is of the challenge, so while Grid is processing one answer it does
	// not tell another from it.
	if first, ok := b.store.load(ctx, processingKey(mark)); ok && string(first) != c.fingerprint() {
		b.store.release(ctx, mark)
		return "", errSignatureReplayed
	}
	return mark, nil
}
