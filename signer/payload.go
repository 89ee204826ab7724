package signer

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// PayloadKind says which of the three things a payload is.
type PayloadKind string

const (
	KindActivity PayloadKind = "activity" // a JSON object that names what it does
	KindJWT      PayloadKind = "jwt"      // the verification token of an OTP sign-in
	KindOpaque   PayloadKind = "opaque"   // text without a meaning of its own
)

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

// ParsePayload decides what payload is and reads it strictly.
//
// A payload whose first visible character is '{' must be an activity: a reader
// more lenient about blanks or form than this one must not see an activity
// where we saw opaque text. Three dot-separated runs of base64url are a
// JWT and must read as one. The rest is opaque.
//
// The error is [ErrPayloadMalformed].
func ParsePayload(payload string) (Payload, error) {
	if len(payload) > MaxPayload {
		return Payload{}, fail(ErrPayloadMalformed, "payload is over 256 KiB")
	}
	if !utf8.ValidString(payload) {
		return Payload{}, fail(ErrPayloadMalformed, "payload is not valid UTF-8")
	}
	// Whatever is not visible ASCII counts as blank here, a byte order mark
	// and Unicode's spaces included: some reader may skip it.
	visible := strings.IndexFunc(payload, func(r rune) bool { return 0x20 < r && r < 0x7f })
	if visible < 0 {
		return Payload{}, fail(ErrPayloadMalformed, "payload has no visible text")
	}
	if payload[visible] == '{' {
		return parseActivity(payload)
	}
	if parts := strings.Split(payload, "."); len(parts) == 3 && isJWTPart(parts[0]) && isJWTPart(parts[1]) && isJWTPart(parts[2]) {
		return parseJWT(parts)
	}
	return Payload{Kind: KindOpaque}, nil
}

// parseActivity reads {organizationId, parameters, timestampMs, type}, in any
// order, and generateAppProofs, which quotes add (contract 3.3).
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
	var objects [2]jsonValue
	for i := range objects {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return Payload{}, fail(ErrPayloadMalformed, "JWT part is not strict base64url")
		}
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
