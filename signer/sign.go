package signer

import (
	"context"
	"errors"
	"time"
)

// SignOptions says what a signature is for. The zero value revokes a session,
// in the format that the payload asks for.
type SignOptions struct {
	Intent Intent
	Format Format // "" means FormatAuto
}

// Signed is what goes back to Grid, beside the original request.
type Signed struct {
	Header    string // value of Grid-Wallet-Signature
	RequestID string // value of Request-Id, exactly the challenge's
	Format    Format // FormatStamp or FormatDER
	Intent    IntentName
}

// SignChallenge signs the exact UTF-8 bytes of c.Payload with key, after
// checking, in this order, that c has not expired at now, that the payload does
// what opt.Intent names and nothing else, and that it is for the organization
// this key is held to. If a check fails, nothing is signed.
//
// The errors are [ErrChallengeExpired], [ErrPayloadMalformed],
// [ErrIntentMismatch], [ErrOrganizationMismatch], [ErrArgumentInvalid], what
// the key's [SignFunc] returns, and [ErrSignatureMalformed] where that is no
// signature.
func SignChallenge(ctx context.Context, key *Key, c Challenge, opt SignOptions, now time.Time) (Signed, error) {
	signed, err := signChallenge(ctx, key, c, opt, now)
	if e, ok := errors.AsType[*Error](err); ok {
		e.RequestID = c.RequestID
	}
	return signed, err
}

func signChallenge(ctx context.Context, key *Key, c Challenge, opt SignOptions, now time.Time) (Signed, error) {
	if err := c.checkExpiry(now); err != nil {
		return Signed{}, err
	}
	intent, err := opt.Intent.normalize()
	if err != nil {
		return Signed{}, err
	}
	payload, err := ParsePayload(c.Payload)
	if err != nil {
		return Signed{}, err
	}
	if err := intent.Accept(payload, key.public); err != nil {
		return Signed{}, err
	}
	format, err := opt.Format.resolve(payload)
	if err != nil {
		return Signed{}, err
	}
	if payload.Kind == KindActivity {
		// Remembered before signing: while a SignFunc waits for the browser, a
		// second call must already be held to the first one's organization.
		if key.organization == "" {
			key.organization = payload.OrganizationID
		} else if key.organization != payload.OrganizationID {
			return Signed{}, fail(ErrOrganizationMismatch, "the payload is for another organization than the one this key signed for before")
		}
	}
	der, err := key.signDER(ctx, []byte(c.Payload))
	if err != nil {
		return Signed{}, err
	}
	signed := Signed{RequestID: c.RequestID, Format: format, Intent: intent.Name}
	if format == FormatStamp {
		signed.Header = Stamp{key.public, der}.encode()
	} else {
		signed.Header = encodeDERHeader(der)
	}
	return signed, nil
}

// resolve turns auto into stamp for an activity or a JWT, which Grid issues
// together with stamps, and into der for the opaque text of its first contract.
func (f Format) resolve(p Payload) (Format, error) {
	switch f {
	case "", FormatAuto:
		if p.Kind == KindOpaque {
			return FormatDER, nil
		}
		return FormatStamp, nil
	case FormatStamp, FormatDER:
		return f, nil
	}
	return "", fail(ErrArgumentInvalid, "format must be auto, stamp or der")
}
