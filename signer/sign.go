package signer

import (
	"context"
	"errors"
	"time"
)

// SignOptions says what a signature is for. The zero value revokes a session,
// in the format that the payload asks for.
type SignOptions struct {
	Intent   Intent
	Format   Format   // "" means FormatAuto
	Payloads Payloads // "" means PayloadsAll

	// Organization is what the organizationId of an activity must be, "" for
	// any. A session key belongs to one organization: a payload for another
	// was not made for its owner. It is known once Grid has accepted a
	// signature of the key, and not before: see [Signed].
	Organization string

	// Allow, if not nil, is asked last, when nothing but the signature is
	// missing. If it fails, nothing is signed, and its error is returned as it
	// is.
	Allow func(context.Context) error
}

// Signed is what goes back to Grid, beside the original request.
type Signed struct {
	Header    string // value of Grid-Wallet-Signature
	RequestID string // value of Request-Id, exactly the challenge's
	Format    Format // FormatStamp or FormatDER
	Intent    IntentName

	// Organization is the organizationId of an activity, otherwise "". When
	// Grid has accepted the signature, it is that of the key.
	Organization string
}

// SignChallenge signs the exact UTF-8 bytes of c.Payload with key, after
// checking, in this order, that c has not expired at now, that its payload is of
// those that opt admits, does what opt.Intent names and nothing else, and is for
// opt.Organization, and that opt.Allow allows it. If a check fails, nothing is
// signed.
//
// The errors are [ErrChallengeExpired], [ErrPayloadMalformed],
// [ErrIntentMismatch], [ErrOrganizationMismatch], [ErrArgumentInvalid], what
// opt.Allow and the key's [SignFunc] return, and [ErrSignatureMalformed] where
// that is no signature.
func SignChallenge(ctx context.Context, key *Key, c Challenge, opt SignOptions, now time.Time) (Signed, error) {
	signed, err := judge(key.public, c, opt, now)
	if err != nil {
		return Signed{}, about(c, err)
	}
	if opt.Allow != nil {
		if err := opt.Allow(ctx); err != nil {
			return Signed{}, err
		}
	}
	der, err := key.signDER(ctx, []byte(c.Payload))
	if err != nil {
		return Signed{}, about(c, err)
	}
	if signed.Format == FormatStamp {
		signed.Header = Stamp{key.public, der}.encode()
	} else {
		signed.Header = encodeDERHeader(der)
	}
	return signed, nil
}

// about says in an error of ours which challenge it is about.
func about(c Challenge, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.RequestID = c.RequestID
	}
	return err
}

// judge returns what is to be sent, all but the signature.
func judge(key PublicKey, c Challenge, opt SignOptions, now time.Time) (Signed, error) {
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
	if err := opt.Payloads.Admit(payload); err != nil {
		return Signed{}, err
	}
	if err := intent.Accept(payload, key); err != nil {
		return Signed{}, err
	}
	format, err := opt.Format.resolve(payload)
	if err != nil {
		return Signed{}, err
	}
	if payload.Kind == KindActivity && opt.Organization != "" && payload.OrganizationID != opt.Organization {
		return Signed{}, fail(ErrOrganizationMismatch, "the payload is for another organization than the key's")
	}
	return Signed{RequestID: c.RequestID, Format: format, Intent: intent.Name, Organization: payload.OrganizationID}, nil
}

// resolve turns auto into stamp for an activity or a JWT, which Grid issues
// together with stamps, and into der for the opaque text of its first contract.
// A stamp over that was never asked for by any Grid.
func (f Format) resolve(p Payload) (Format, error) {
	opaque := p.Kind == KindOpaque
	switch f {
	case "", FormatAuto:
		if opaque {
			return FormatDER, nil
		}
		return FormatStamp, nil
	case FormatStamp:
		if opaque {
			return "", fail(ErrIntentMismatch, "an opaque payload is signed as der only")
		}
		return f, nil
	case FormatDER:
		return f, nil
	}
	return "", fail(ErrArgumentInvalid, "format must be auto, stamp or der")
}
