package signer

import "encoding/base64"

// Format is a form of the Grid-Wallet-Signature header.
type Format string

const (
	FormatAuto  Format = "auto"  // by the payload: stamp for an activity or a JWT, else der
	FormatStamp Format = "stamp" // Grid since 2026-04-27
	FormatDER   Format = "der"   // Grid's contract of April 2026
)

// Stamp is the content of a Grid-Wallet-Signature header since 2026-04-27.
type Stamp struct {
	PublicKey PublicKey
	Signature []byte // DER
}

// encode returns the value of the header: unpadded base64url of a JSON object
// with publicKey, scheme and signature, in that order and without blanks
// (Grid's guide Client keys). Hex needs no escapes, so the JSON is built as text.
func (s Stamp) encode() string {
	json := `{"publicKey":"` + s.PublicKey.String() +
		`","scheme":"` + s.PublicKey.curve.Scheme() +
		`","signature":"` + EncodeHex(s.Signature) + `"}`
	return base64.RawURLEncoding.EncodeToString([]byte(json))
}

// encodeDERHeader returns the value of the header in its first form: padded
// standard base64 of the DER signature.
func encodeDERHeader(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

// strictBase64 decodes s only if it is the one text that encodes its bytes:
// DecodeString skips CR and LF even in strict mode.
func strictBase64(enc *base64.Encoding, s string) ([]byte, bool) {
	raw, err := enc.Strict().DecodeString(s)
	return raw, err == nil && enc.EncodeToString(raw) == s
}
