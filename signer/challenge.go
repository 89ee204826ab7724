package signer

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Header names of the signed retry, as Grid's API reference spells them.
const (
	HeaderSignature = "Grid-Wallet-Signature"
	HeaderRequestID = "Request-Id"
)

// MaxPayload bounds payloadToSign, in bytes. Grid's are a few hundred; an
// unsigned transaction may be larger. Beyond it the payload is not Grid's.
const MaxPayload = 256 << 10

// Challenge is what Grid answers with 202: the text to sign and how to return
// the signature (its schema SignedRequestChallenge). Make one with [NewChallenge]
// or [ParseChallenge]; both check every field but the expiry, which
// [SignChallenge] holds against its caller's clock.
type Challenge struct {
	Payload   string    // payloadToSign: its UTF-8 bytes are what is signed
	RequestID string    // echoed to Grid exactly, never normalised
	ExpiresAt time.Time // from this instant on the challenge is dead
	Type      string    // credential type, "" if Grid sent none; informative
}

// NewChallenge checks the four fields of a challenge. expiresAt is RFC 3339.
// Types that this version does not know are kept: Grid may add some.
func NewChallenge(payload, requestID, expiresAt, typ string) (Challenge, error) {
	c := Challenge{Payload: payload, RequestID: requestID, Type: typ}
	switch {
	case payload == "":
		return Challenge{}, fail(ErrChallengeMalformed, "payloadToSign is empty")
	case len(payload) > MaxPayload:
		return Challenge{}, fail(ErrChallengeMalformed, "payloadToSign is over 256 KiB")
	case !utf8.ValidString(payload):
		return Challenge{}, fail(ErrChallengeMalformed, "payloadToSign is not valid UTF-8")
	case !ValidRequestID(requestID):
		return Challenge{}, fail(ErrChallengeMalformed, "requestId is neither a UUID nor Request:<uuid>")
	case len(typ) > 64 || !utf8.ValidString(typ):
		return Challenge{}, fail(ErrChallengeMalformed, "type is not a short text")
	}
	var ok bool
	if c.ExpiresAt, ok = parseTime(expiresAt); !ok {
		return Challenge{}, fail(ErrChallengeMalformed, "expiresAt is not an RFC 3339 time")
	}
	return c, nil
}

// ParseChallenge reads the body of a 202. Fields it does not know are ignored, as
// Grid's guide Environments asks of clients; the JSON itself must be strict.
func ParseChallenge(body []byte) (Challenge, error) {
	v, err := parseJSON(string(body))
	if err != nil || v.kind != jsonObject {
		return Challenge{}, fail(ErrChallengeMalformed, "the challenge is not one strict JSON object")
	}
	payload, ok1 := v.text("payloadToSign")
	requestID, ok2 := v.text("requestId")
	expiresAt, ok3 := v.text("expiresAt")
	if !ok1 || !ok2 || !ok3 {
		return Challenge{}, fail(ErrChallengeMalformed, "payloadToSign, requestId and expiresAt must be texts")
	}
	typ := ""
	if t := v.member("type"); t != nil {
		if t.kind != jsonString {
			return Challenge{}, fail(ErrChallengeMalformed, "type must be a text")
		}
		typ = t.scalar
	}
	return NewChallenge(payload, requestID, expiresAt, typ)
}

// checkExpiry refuses c from the instant ExpiresAt on.
func (c Challenge) checkExpiry(now time.Time) error {
	if now.Before(c.ExpiresAt) {
		return nil
	}
	ago := strconv.FormatInt(int64(now.Sub(c.ExpiresAt)/time.Second), 10)
	return fail(ErrChallengeExpired, "by this clock the challenge expired "+ago+" s ago")
}

// ValidRequestID reports whether id is a bare UUID or Request:<uuid>, the two
// forms Grid has used, before May 2026 and since. Hex of either case is accepted,
// because the id is echoed exactly and never compared.
func ValidRequestID(id string) bool {
	return validUUID(strings.TrimPrefix(id, "Request:"))
}

// ValidID reports whether id is kind, a colon and a UUID: the grammar of
// Grid's ids, such as Session:<uuid>. The examples in its API reference are
// not RFC 9562 variants, so any 8-4-4-4-12 hex is a UUID here.
func ValidID(kind, id string) bool {
	uuid, ok := strings.CutPrefix(id, kind+":")
	return ok && validUUID(uuid)
}

func validUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch i {
		case 8, 13, 18, 23:
			if s[i] != '-' {
				return false
			}
		default:
			if !isHex(s[i]) {
				return false
			}
		}
	}
	return true
}
