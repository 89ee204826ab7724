//go:build !js

package signer

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secp256k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// What is here judges the signatures of others, for Go programs: a bridge, or
// whoever stands in for Grid. The WASM module makes signatures and judges none but
// those of enclaves, with WebCrypto; the arithmetic of P-256 would add 100 kB to it.

// maxHeader bounds the header's value. A stamp takes about 360 bytes.
const maxHeader = 4 << 10

// ParsePublicKey reads a compressed public key of 33 bytes (SEC 1 section
// 2.3.4). The error is [ErrKeyMalformed] unless it is a point of the curve.
//
// In WebAssembly there is [P256PublicKey] alone.
func ParsePublicKey(curve Curve, compressed []byte) (PublicKey, error) {
	onCurve := curve == P256 && uncompressP256(compressed) != nil || curve == Secp256k1 && onSecp256k1(compressed)
	if !onCurve {
		return PublicKey{}, fail(ErrKeyMalformed, "not a compressed public key of the curve")
	}
	return PublicKey{curve, [33]byte(compressed)}, nil
}

// uncompressP256 returns the 65-byte form, or nil for what is not a point.
func uncompressP256(compressed []byte) []byte {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), compressed)
	if x == nil {
		return nil
	}
	uncompressed := make([]byte, 65)
	uncompressed[0] = 4
	x.FillBytes(uncompressed[1:33])
	y.FillBytes(uncompressed[33:])
	return uncompressed
}

func onSecp256k1(compressed []byte) bool {
	_, err := secp256k1.ParsePubKey(compressed)
	return len(compressed) == 33 && err == nil
}

// Verify reports whether der is a strict DER signature by k, ECDSA over
// SHA-256, of message. s may be in either half of the order.
//
// It is not there in WebAssembly.
func (k PublicKey) Verify(message, der []byte) bool {
	rs, err := decodeDER(k.curve, der)
	if err != nil {
		return false
	}
	digest := sha256.Sum256(message)
	switch k.curve {
	case P256:
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), uncompressP256(k.sec1[:]))
		return err == nil && ecdsa.VerifyASN1(key, digest[:], der)
	case Secp256k1:
		key, err := secp256k1.ParsePubKey(k.sec1[:])
		var r, s secp256k1.ModNScalar
		return err == nil && !r.SetByteSlice(rs[:32]) && !s.SetByteSlice(rs[32:]) &&
			secp256k1ecdsa.NewSignature(&r, &s).Verify(digest[:], key)
	}
	return false
}

// ParseStamp reads the value of a header. It accepts what a [Stamp] is written as,
// with the three members in any order and blanks between the tokens, which a
// stamper of the upstream's in Python writes, and nothing else. The error is
// [ErrStampMalformed].
//
// It is not there in WebAssembly.
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

// ParseDERHeader reads the value of a header in its first form, which does not
// name the key; curve is the session's. The error is [ErrSignatureMalformed].
//
// It is not there in WebAssembly.
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

// lowerHex decodes hex that must be lower-case, so that a text has one form.
func lowerHex(s string) ([]byte, bool) {
	b, ok := DecodeHex(s)
	return b, ok && lower(s) == s
}
