package signer

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
)

// GenerateSecp256k1 makes a secp256k1 key from random, which must be a
// cryptographic source: crypto/rand, or in a browser crypto.getRandomValues.
func GenerateSecp256k1(random io.Reader) (*Key, error) {
	var scalar [32]byte
	defer clear(scalar[:])
	for {
		if _, err := io.ReadFull(random, scalar[:]); err != nil {
			return nil, &Error{Kind: ErrInternal, Msg: "no randomness for a secp256k1 key", Err: err}
		}
		// All but one in 2^127 are keys. To reduce the others would favour some.
		if key, err := ParseSecp256k1(scalar[:]); err == nil {
			return key, nil
		}
	}
}

// ParseSecp256k1 makes a secp256k1 key from a 32-byte big-endian scalar, which
// it copies: the caller should zero its own bytes. The error is
// [ErrKeyMalformed] unless the scalar is in 1..n-1.
func ParseSecp256k1(scalar []byte) (*Key, error) {
	// SetByteSlice reduces modulo n; a scalar that needed it is not a key.
	d := new(secp256k1.ModNScalar)
	if len(scalar) != 32 || d.SetByteSlice(scalar) || d.IsZero() {
		d.Zero()
		return nil, fail(ErrKeyMalformed, "a secp256k1 private key is 32 bytes, in 1..n-1")
	}
	var point secp256k1.JacobianPoint
	secp256k1.ScalarBaseMultNonConst(d, &point)
	point.ToAffine()
	public := PublicKey{curve: Secp256k1}
	public.sec1[0] = 2 | byte(point.Y.IsOddBit())
	point.X.PutBytesUnchecked(public.sec1[1:])

	key := NewKey(public, func(_ context.Context, message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		return signSecp256k1(d, digest), nil
	}, d.Zero)
	key.scalar = d.PutBytes
	return key, nil
}

// signSecp256k1 returns r||s. It is deterministic (RFC 6979) and has the lower of
// the two values of s (BIP 146), so a weak source of randomness cannot leak the
// key and a signature has one form.
//
// It is what dcrd's ecdsa.Sign computes, to the byte, of the same scalars and the
// same nonce: a test holds it to that. dcrd inverts the nonce with math/big, in a
// time that depends on it, and a few bits of each of some hundred nonces are enough
// to find the key. Here that step takes the same time for all. Without math/big and
// fmt the WASM module is also smaller.
func signSecp256k1(d *secp256k1.ModNScalar, digest [32]byte) []byte {
	var scalar, x [32]byte
	defer clear(scalar[:])
	d.PutBytes(&scalar)
	var e secp256k1.ModNScalar
	e.SetBytes(&digest) // modulo n
	// A nonce that makes r or s zero is none that RFC 6979 allows: the next is
	// taken. Nobody has ever seen one.
	for i := uint32(0); ; i++ {
		k := secp256k1.NonceRFC6979(scalar[:], digest[:], nil, nil, i)
		var point secp256k1.JacobianPoint
		secp256k1.ScalarBaseMultNonConst(k, &point)
		point.ToAffine()
		point.X.PutBytes(&x)
		var r, s secp256k1.ModNScalar
		r.SetBytes(&x) // modulo n
		invert(k)
		s.Mul2(d, &r).Add(&e).Mul(k)
		k.Zero() // who knows it, and the signature, knows the key
		if r.IsZero() || s.IsZero() {
			continue
		}
		if s.IsOverHalfOrder() {
			s.Negate()
		}
		rs := make([]byte, rsSize)
		r.PutBytesUnchecked(rs[:32])
		s.PutBytesUnchecked(rs[32:])
		return rs
	}
}

// invert sets k to its inverse modulo n, k to the power of n-2 (Fermat), four bits
// of that at a time. Mul and Square are constant-time, and which of them come in
// which order depends on n alone.
func invert(k *secp256k1.ModNScalar) {
	var powers [16]secp256k1.ModNScalar // of k
	defer clear(powers[:])
	powers[0].SetInt(1)
	for i := range powers[1:] {
		powers[i+1].Mul2(&powers[i], k)
	}
	exponent := []byte(orderSecp256k1)
	exponent[31] -= 2
	k.SetInt(1)
	for _, b := range exponent {
		k.Square().Square().Square().Square().Mul(&powers[b>>4])
		k.Square().Square().Square().Square().Mul(&powers[b&15])
	}
}
