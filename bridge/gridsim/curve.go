package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/hex"
	"math/big"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	secpecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// compressedKey is a public key as SEC 1 compresses it: 02 or 03 for the parity
// of y, then x. It does not say which curve it is on; see the package comment.
type compressedKey [33]byte

// curve is what the simulator must know of a curve.
type curve struct {
	scheme string // in a stamp
	order  *big.Int

	// contains tells whether the key is a point of the curve.
	contains func(compressedKey) bool

	// verify tells whether sig, which is in range, is one of the digest by the
	// key, which the curve contains. High s is as good as low s.
	verify func(key compressedKey, digest []byte, sig derSignature) bool
}

var p256 = &curve{
	scheme: "SIGNATURE_SCHEME_TK_API_P256",
	order:  elliptic.P256().Params().N,
	contains: func(key compressedKey) bool {
		return parseP256(key) != nil
	},
	verify: func(key compressedKey, digest []byte, sig derSignature) bool {
		return ecdsa.VerifyASN1(parseP256(key), digest, sig.raw)
	},
}

var k256 = &curve{
	scheme: "SIGNATURE_SCHEME_TK_API_SECP256K1",
	order:  secp256k1.Params().N,
	contains: func(key compressedKey) bool {
		_, err := secp256k1.ParsePubKey(key[:])
		return err == nil
	},
	verify: func(key compressedKey, digest []byte, sig derSignature) bool {
		public, _ := secp256k1.ParsePubKey(key[:]) // on the curve
		// Made from scalars, because dcrd's DER parser is not ours; its Verify
		// does not mind a high s.
		var r, s secp256k1.ModNScalar
		r.SetByteSlice(sig.r.Bytes())
		s.SetByteSlice(sig.s.Bytes())
		return secpecdsa.NewSignature(&r, &s).Verify(digest, public)
	},
}

// parseP256 returns nil if the key is not on P-256.
func parseP256(key compressedKey) *ecdsa.PublicKey {
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), key[:])
	if x == nil {
		return nil
	}
	point := make([]byte, 65)
	point[0] = 4
	x.FillBytes(point[1:33])
	y.FillBytes(point[33:])
	public, _ := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point) // on the curve
	return public
}

// compress returns a point of 65 bytes as a compressed key.
func compress(point []byte) (key compressedKey) {
	key[0] = 2 + point[64]&1
	copy(key[1:], point[1:33])
	return key
}

// clientKey is a clientPublicKey. A compressed one is held by the client and
// becomes the session's key. An uncompressed one, which is P-256 alone, is what
// the key that Grid makes for the session is sealed to.
type clientKey struct {
	held   compressedKey
	sealTo *ecdh.PublicKey // nil if compressed

	unmatched bool // of a session's key: see Config.ProdStrict
}

// submittedKey reads the body {clientPublicKey}: the key, and its text as it came,
// which is what payloads repeat.
func (s *Sim) submittedKey(req request) (text string, key clientKey, err error) {
	body, err := req.jsonBody()
	if err != nil {
		return "", clientKey{}, err
	}
	text, ok := stringField(body, "clientPublicKey")
	if !ok {
		return "", clientKey{}, clientKeyMissing
	}
	key, err = s.parseClientKey(text)
	return text, key, err
}

// parseClientKey reads a clientPublicKey. Grid allows upper-case hex in it.
func (s *Sim) parseClientKey(text string) (key clientKey, err error) {
	raw, err := hex.DecodeString(text)
	switch {
	case err == nil && len(raw) == 65 && raw[0] == 4:
		if key.sealTo, err = ecdh.P256().NewPublicKey(raw); err != nil {
			return key, clientKeyOffCurve
		}
		return key, nil
	case err != nil || len(raw) != len(key.held) || raw[0] != 2 && raw[0] != 3:
		return key, clientKeyMalformed
	}
	key.held = compressedKey(raw)
	for _, c := range s.curves {
		if c.contains(key.held) {
			return key, nil
		}
	}
	return key, clientKeyOffCurve
}
