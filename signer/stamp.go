package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
)

// Format is a form of the Grid-Wallet-Signature header (contract 3.1).
type Format string

const (
	FormatAuto  Format = "auto"  // by the payload: stamp for an activity or a JWT, else der
	FormatStamp Format = "stamp" // Grid since 2026-04-27
	FormatDER   Format = "der"   // Grid's contract of April 2026
)

// maxHeader bounds the header's value, as contract 3.2 recommends.
const maxHeader = 4 << 10

// Stamp is the content of a Grid-Wallet-Signature header since 2026-04-27.
type Stamp struct {
	PublicKey PublicKey
	Signature []byte // DER
}

// encode returns the value of the header: unpadded base64url of a JSON object
// with publicKey, scheme and signature, in that order and without blanks
// (contract 3.2). Hex needs no escapes, so the JSON is built as text.
func (s Stamp) encode() string {
	json := `{"publicKey":"` + s.PublicKey.String() +
		`","scheme":"` + s.PublicKey.curve.Scheme() +
		`","signature":"` + hex.EncodeToString(s.Signature) + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(json))
}

// ParseStamp reads the value of a header. It accepts what encode writes, with
// the three members in any order and blanks between the tokens, which a stamper
// of the upstream's in Python writes, and nothing else. The error is
// [ErrStampMalformed].
func ParseStamp(header string) (Stamp, error) {
	malformed := func(msg string) (Stamp, error) {
		return Stamp{}, fail(ErrStampMalformed, "stamp: "+msg)
	}
	if len(header) > maxHeader {
		return malformed("over 4 KiB")
	}
	raw, ok := strictBase64(base64.RawURLEncoding, header)
	if !ok {
		return malformed("not unpadded base64url")
	}
	if bytes.IndexByte(raw, '\\') >= 0 {
		return malformed("escapes, which no stamper writes")
	}
	v, err := parseJSON(string(raw))
	if err != nil || v.kind != jsonObject {
		return malformed("not a JSON object")
	}
	publicKey, ok1 := v.text("publicKey")
	scheme, ok2 := v.text("scheme")
	signature, ok3 := v.text("signature")
	if !ok1 || !ok2 || !ok3 || len(v.members) != 3 {
		return malformed("members must be the texts publicKey, scheme and signature")
	}
	var curve Curve
	switch scheme {
	case P256.Scheme():
		curve = P256
	case Secp256k1.Scheme():
		curve = Secp256k1
	default:
		return malformed("unknown scheme")
	}
	sec1, ok := lowerHex(publicKey)
	if !ok {
		return malformed("publicKey is not lower-case hex")
	}
	key, err := ParsePublicKey(curve, sec1)
	if err != nil {
		return malformed("publicKey is not a compressed point of the scheme's curve")
	}
	der, ok := lowerHex(signature)
	if !ok {
		return malformed("signature is not lower-case hex")
	}
	if _, err := decodeDER(curve, der); err != nil {
		return malformed("signature is not strict DER")
	}
	return Stamp{key, der}, nil
}

// encodeDERHeader returns the value of the header in its first form: padded
// standard base64 of the DER signature.
func encodeDERHeader(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// ParseDERHeader reads the value of a header in its first form, which does not
// name the key; curve is the session's. The error is [ErrSignatureMalformed].
func ParseDERHeader(curve Curve, header string) (der []byte, err error) {
	der, ok := strictBase64(base64.StdEncoding, header)
	if !ok {
		return nil, fail(ErrSignatureMalformed, "header is not padded standard base64")
	}
	if _, err := decodeDER(curve, der); err != nil {
		return nil, err
	}
	return der, nil
}

// strictBase64 decodes s only if it is the one text that encodes its bytes:
// DecodeString skips CR and LF even in strict mode.
func strictBase64(enc *base64.Encoding, s string) ([]byte, bool) {
	raw, err := enc.Strict().DecodeString(s)
	return raw, err == nil && enc.EncodeToString(raw) == s
}
