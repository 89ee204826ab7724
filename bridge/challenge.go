package bridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"gridsigner/bridge/internal/bounded"
	"gridsigner/signer"
)

// Grid judges by its own clock when a challenge has run out. The bridge keeps
// one for as long as it says, within these bounds: clocks differ.
const (
	minChallengeLife = 15 * time.Minute
	maxChallengeLife = time.Hour
)

// fingerprint tells calls apart: both legs of a signed retry have the same one.
func (c *call) fingerprint() string {
	return bounded.Key(c.route.Method, c.route.path(c.id), string(c.body))
}

// challengeKey is where the challenge is kept that c, a signed leg or a passkey's answer,
// is an answer to.
func (c *call) challengeKey(user User) Key {
	requestID := c.headers.Get(signer.HeaderRequestID)
	if c.isPasskeys() {
		return passkeyKey(user, c.id, requestID)
	}
	return challengeKey(user, requestID)
}

// challengeKey has the user as a part: nobody can answer somebody else's challenge.
func challengeKey(user User, requestID string) Key {
	return Key{PartChallenges, bounded.Key(user.ID, requestID)}
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
	if err != nil || b.Payloads.Admit(payload) != nil || !c.intent.Plausible(payload) {
		return errChallengeRefused.because(reasonChallengePayload)
	}
	b.Store.Save(ctx, Entry{challengeKey(user, challenge.RequestID), []byte(c.fingerprint() + challenge.Payload), b.life(challenge.ExpiresAt)})
	return nil
}

// life is for how long a challenge is kept.
func (b *bridge) life(expiresAt time.Time) time.Duration {
	return min(max(expiresAt.Sub(b.Now()), minChallengeLife), maxChallengeLife)
}

// signedLeg sends c, a signed leg or the answer of a passkey, to Grid once.
//
// From the line in the audit on it does not hang on its client any more: what Grid did is
// found out, written down and kept, also if nobody waits for it.
func (b *bridge) signedLeg(ctx context.Context, v *visit, user User, c *call, k kept) (*answer, error) {
	admit := b.admitSignature
	if c.isPasskeys() {
		admit = b.admitPasskey
	}
	spent, err := admit(v, c, k)
	if err != nil {
		return nil, err
	}
	if err := b.flood.grid(); err != nil {
		return nil, err
	}
	if !b.Store.Claim(ctx, spent, maxChallengeLife) {
		return nil, errSignatureReplayed
	}
	if b.isAnother(ctx, c, spent) {
		b.Store.Release(ctx, spent)
		return nil, errSignatureReplayed
	}
	if err := b.auditSent(ctx, v); err != nil {
		b.Store.Release(ctx, spent)
		return nil, errAudit
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	a, err := b.send(ctx, v, c)
	if b.goesOn(ctx, c, spent, a) {
		b.Store.Release(ctx, spent)
	}
	if err != nil {
		return nil, err
	}
	v.leg.processing = a.isProcessing()
	return a, b.judge(ctx, v, user, c, a)
}

// detached is ctx, which has a deadline, without the client that it hangs on.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	on, end := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			end(context.DeadlineExceeded)
		}
	})
	deadline, _ := ctx.Deadline() // still, once ctx has ended
	on, cancel := context.WithDeadline(on, deadline)
	return on, func() { stop(); cancel(); end(nil) }
}

// admitSignature checks the signed leg c before Grid sees it: the challenge was issued
// to this user for this very call, and the signature is over its payload. It returns
// where it is kept that the signature is spent.
//
// A header in the form of April 2026 does not name its key, so of it only the form
// can be checked here. Whether the key may sign for the account is for Grid to say,
// in both forms.
//
// While what replicas share does not answer, a challenge that this one does not know may be
// another's: then, too, only the form is checked, and the audit has no payload. Refusing
// would lose every second revocation, and Grid checks all of it again.
//
// That a signature is spent stays whatever becomes of the request, also if Grid never
// answers: then nobody knows whether it was used, and the way on is a new
// challenge. The one exception is [bridge.goesOn].
func (b *bridge) admitSignature(v *visit, c *call, k kept) (spent Key, err error) {
	payload, fits := bytes.CutPrefix(k.challenge, []byte(c.fingerprint()))
	switch {
	case k.challenge == nil && !k.whole:
		v.Checked = CheckedForm
	case k.challenge == nil:
		return Key{}, errChallengeUnknown
	case !fits:
		return Key{}, errChallengeUnknown.because(reasonOtherRequest)
	default:
		v.Checked = CheckedVerified
		sum := sha256.Sum256(payload)
		v.leg.payload = sum[:]
	}
	header := c.headers.Get(signer.HeaderSignature)
	format := signer.FormatStamp
	stamp, err := signer.ParseStamp(header)
	der := stamp.Signature
	switch {
	case err == nil && v.Checked == CheckedVerified && !stamp.PublicKey.Verify(payload, der):
		return Key{}, errSignatureInvalid
	case err != nil:
		format = signer.FormatDER
		if der, err = signer.ParseDERHeader(signer.P256, header); err != nil {
			if der, err = signer.ParseDERHeader(signer.Secp256k1, header); err != nil {
				return Key{}, errSignatureMalformed
			}
		}
	}
	// Of the signature only r, which nobody can have in two of one key without
	// giving the key away. A header has many spellings, and r and s of everybody's
	// signature have a twin that is as good, r and n-s. In strict DER r begins at
	// the fifth byte, after its length.
	v.leg.format = format
	r := der[4 : 4+der[3]]
	return Key{PartSpent, bounded.Key(c.headers.Get(signer.HeaderRequestID), string(r))}, nil
}

// processingKey is where it is kept what Grid is processing: the fingerprint of the
// leg whose signature is spent.
func processingKey(spent Key) Key { return Key{PartProcessing, spent.ID} }

// goesOn reports whether c is to pass once more though it is spent: Grid says
// that it is still processing it, which asks for the identical request, or has
// said so before and not ended it. a is nil where there was no answer.
func (b *bridge) goesOn(ctx context.Context, c *call, spent Key, a *answer) bool {
	key := processingKey(spent)
	if a != nil && a.isProcessing() {
		b.Store.Save(ctx, Entry{key, []byte(c.fingerprint()), maxChallengeLife})
		return true
	}
	if a != nil && a.status != http.StatusTooManyRequests && a.status < 500 {
		return false
	}
	return b.Store.Consult(ctx, nil, []Key{key}).Values[0] != nil
}
