package bridge

import (
	"context"
	"time"

	"gridsigner/bridge/internal/bounded"
	"gridsigner/signer"
)

// isPasskeys reports whether c is the answer of a passkey, which has no signature
// header: see call.fitHeaders.
func (c *call) isPasskeys() bool { return c.headers.Get(signer.HeaderSignature) == "" }

// passkeyKey is where it is kept that a challenge for a passkey was issued: to
// this user, and for this credential.
func passkeyKey(user User, credential, requestID string) Key {
	return Key{PartPasskeys, bounded.Key(user.ID, credential, requestID)}
}

// rememberPasskey keeps for its answer the challenge in a, Grid's answer to c, if
// it is for a passkey. One for a code has no request id.
func (b *bridge) rememberPasskey(ctx context.Context, user User, c *call, a *answer) error {
	got := &a.said
	if got.Type != signer.Passkey || a.isProcessing() {
		return nil
	}
	expiresAt, err := time.Parse(time.RFC3339, got.ExpiresAt)
	if err != nil || !signer.ValidRequestID(got.RequestID) {
		return errUpstreamInvalid.because(reasonUnexpected)
	}
	b.Store.Save(ctx, Entry{passkeyKey(user, c.id, got.RequestID), []byte{1}, b.life(expiresAt)})
	return nil
}

// admitPasskey is [bridge.admitSignature] for the answer of a passkey: the challenge was
// issued to this user for this credential. Whether the assertion is good is for Grid to
// say.
func (b *bridge) admitPasskey(v *visit, c *call, k kept) (spent Key, err error) {
	switch {
	case k.challenge != nil:
		v.Checked = CheckedVerified
	case k.whole:
		return Key{}, errChallengeUnknown
	default:
		v.Checked = CheckedForm
	}
	v.leg.format = formatPasskey
	return Key{PartSpent, bounded.Key(k.at.String())}, nil
}

// isAnother reports whether c is not the answer to its challenge that Grid is processing.
// That a challenge is spent does not tell one answer from another.
func (b *bridge) isAnother(ctx context.Context, c *call, spent Key) bool {
	if !c.isPasskeys() {
		return false
	}
	first := b.Store.Consult(ctx, nil, []Key{processingKey(spent)}).Values[0]
	return first != nil && string(first) != c.fingerprint()
}
