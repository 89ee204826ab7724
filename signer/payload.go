package signer

import (
	"encoding/base64"
	"strings"
)

// PayloadKind says which of the three things a payload is.
type PayloadKind string

const (
	KindActivity PayloadKind = "activity" // a JSON object that names what it does
	KindJWT      PayloadKind = "jwt"      // the verification token of an OTP sign-in
	KindOpaque   PayloadKind = "opaque"   // base64 without a meaning of its own
)

// Payloads says which payloads may be signed at all, whatever the intent.
type Payloads string

const (
	PayloadsAll        Payloads = "all"        // what any Grid has sent; "" means the same
	PayloadsActivities Payloads = "activities" // what Grid sends today: nothing opaque
)

// Admit refuses, with [ErrIntentMismatch], what ps leaves out. For a value that
// is none of the above the error is [ErrArgumentInvalid], whatever p is.
func (ps Payloads) Admit(p Payload) error {
	switch ps {
	case "", PayloadsAll:
		return nil
	case PayloadsActivities:
		if p.Kind == KindOpaque {
			return fail(ErrIntentMismatch, "the payload is opaque, and only activities are signed")
		}
		return nil
	}
	return fail(ErrArgumentInvalid, "payloads must be all or activities")
}

// The bounds of opaque text, in characters. Grid's example has 36.
const (
	minOpaque = 4
	maxOpaque = 4 << 10
)

const hexDigits = "0123456789abcdefABCDEF"

// Payload is a payloadToSign that was read, never to be written again: what is
// signed is the text it came from.
type Payload struct {
	Kind PayloadKind

	// Of an activity; "" otherwise.
	ActivityType   string
	OrganizationID string

	parameters jsonValue // of an activity, an object
	claims     jsonValue // of a JWT, an object
}

// ParsePayload decides what payload is and reads it strictly: a JSON object is
// an activity, three runs of base64url with dots between them are a JWT, and
// opaque is what Grid sent in April 2026: canonical, padded, standard base64
// (RFC 4648 section 4) of 4 to 4096 characters.
//
// There is nothing else, because a signature over a text of the relay's choice
// would be good elsewhere too: the input of a JWT's signature is two runs of
// base64url, that of a Bitcoin transaction's is binary. A text of hex digits
// alone is refused although it may be base64 as well: whoever sent it meant
// hex, of a hash or of a transaction.
//
// The error is [ErrPayloadMalformed].
func ParsePayload(payload string) (Payload, error) {
	if len(payload) > MaxPayload {
		return Payload{}, fail(ErrPayloadMalformed, "payload is over 256 KiB")
	}
	if strings.HasPrefix(strings.TrimLeft(payload, jsonBlanks), "{") {
		return parseActivity(payload)
	}
	if parts := strings.SplitN(payload, ".", 4); len(parts) == 3 {
		return parseJWT(parts)
	}
	_, canonical := strictBase64(base64.StdEncoding, payload)
	if len(payload) < minOpaque || len(payload) > maxOpaque || !canonical || strings.Trim(payload, hexDigits) == "" {
		return Payload{}, fail(ErrPayloadMalformed, "payload is neither an activity, nor a JWT, nor base64")
	}
	return Payload{Kind: KindOpaque}, nil
}

// parseActivity reads {organizationId, parameters, timestampMs, type}, in any
// order, and generateAppProofs, which quotes add (Grid's PaymentEmbeddedWalletInfo).
//
// Any further name is refused: a reader that ignores case, as encoding/json
// does, or that also takes organization_id, as protobuf JSON does, could take
// it for one of ours.
func parseActivity(payload string) (Payload, error) {
	v, err := parseJSON(payload)
	if err != nil {
		return Payload{}, err
	}
	if !v.hasOnly("organizationId", "parameters", "timestampMs", "type", "generateAppProofs") {
		return Payload{}, fail(ErrPayloadMalformed, "activity has a member that is not known")
	}
	p := Payload{Kind: KindActivity}
	var ok bool
	if p.ActivityType, ok = v.text("type"); !ok || !isActivityType(p.ActivityType) {
		return Payload{}, fail(ErrPayloadMalformed, "activity has no type of the form ACTIVITY_TYPE_…")
	}
	if p.OrganizationID, ok = v.text("organizationId"); !ok || p.OrganizationID == "" {
		return Payload{}, fail(ErrPayloadMalformed, "activity has no organizationId")
	}
	if ms, ok := v.text("timestampMs"); !ok || !isDecimal(ms) {
		return Payload{}, fail(ErrPayloadMalformed, "activity has no decimal timestampMs")
	}
	if g := v.member("generateAppProofs"); g != nil && g.kind != jsonBool {
		return Payload{}, fail(ErrPayloadMalformed, "activity has a generateAppProofs that is not a boolean")
	}
	m := v.member("parameters")
	if m == nil || m.kind != jsonObject {
		return Payload{}, fail(ErrPayloadMalformed, "activity has no parameters object")
	}
	p.parameters = *m
	return p, nil
}

// parseJWT reads the header and claims of a JWT (RFC 7519). Its signature is
// Grid's own and is not verified here: what counts is what the token says.
func parseJWT(parts []string) (Payload, error) {
	if !isJWTPart(parts[2]) {
		return Payload{}, fail(ErrPayloadMalformed, "JWT signature is not base64url")
	}
	var objects [2]jsonValue
	for i := range objects {
		raw, ok := strictBase64(base64.RawURLEncoding, parts[i])
		if !ok {
			return Payload{}, fail(ErrPayloadMalformed, "JWT part is not strict base64url")
		}
		var err error
		if objects[i], err = parseJSON(string(raw)); err != nil {
			return Payload{}, err
		}
		if objects[i].kind != jsonObject {
			return Payload{}, fail(ErrPayloadMalformed, "JWT part is not a JSON object")
		}
	}
	return Payload{Kind: KindJWT, claims: objects[1]}, nil
}

func isJWTPart(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '-' || c == '_') {
			return false
		}
	}
	return s != ""
}

func isActivityType(s string) bool {
	rest, ok := strings.CutPrefix(s, "ACTIVITY_TYPE_")
	if !ok || rest == "" || len(s) > 128 {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; !('A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_') {
			return false
		}
	}
	return true
}

func isDecimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || '9' < s[i] {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 19
}
