package signer

import (
	"context"
	"crypto/sha256"
	"io"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// GenerateSecp256k1 makes a secp256k1 key from random, which must be a
// cryptographic source: crypto/rand, or in a browser crypto.getRandomValues.
func GenerateSecp256k1(random io.Reader) (*Key, error) {
	private, err := secp256k1.GeneratePrivateKeyFromRand(random)
	if err != nil {
		return nil, &Error{Kind: ErrInternal, Msg: "no randomness for a secp256k1 key", Err: err}
	}
	return newSecp256k1(private), nil
}

// ParseSecp256k1 makes a secp256k1 key from a 32-byte big-endian scalar, which
// it copies: the caller should zero its own bytes. The error is
// [ErrKeyMalformed] unless the scalar is in 1..n-1.
func ParseSecp256k1(scalar []byte) (*Key, error) {
	// SetByteSlice reduces modulo n; a scalar that needed it is not a key.
	var d secp256k1.ModNScalar
	if len(scalar) != 32 || d.SetByteSlice(scalar) || d.IsZero() {
		d.Zero()
		return nil, fail(ErrKeyMalformed, "a secp256k1 private key is 32 bytes, in 1..n-1")
	}
	private := secp256k1.NewPrivateKey(&d)
	d.Zero()
	return newSecp256k1(private), nil
}

// newSecp256k1 signs deterministically (RFC 6979) and with the lower of the two
// values of s (BIP 146), so a weak source of randomness cannot leak the key and
// a signature has one form.
func newSecp256k1(private *secp256k1.PrivateKey) *Key {
	public := PublicKey{curve: Secp256k1, sec1: [33]byte(private.PubKey().SerializeCompressed())}
	sign := func(_ context.Context, message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		sig := ecdsa.Sign(private, digest[:])
		r, s := sig.R(), sig.S()
		rs := make([]byte, rsSize)
		r.PutBytesUnchecked(rs[:32])
		s.PutBytesUnchecked(rs[32:])
		return rs, nil
	}
	key := NewKey(public, sign, private.Zero)
	key.scalar = private.Key.PutBytes
	return key
}

func onSecp256k1(compressed []byte) bool {
	_, err := secp256k1.ParsePubKey(compressed)
	return len(compressed) == 33 && err == nil
}

func verifySecp256k1(public PublicKey, digest, der []byte) bool {
	key, err := secp256k1.ParsePubKey(public.sec1[:])
	if err != nil {
		return false
	}
	rs, err := decodeDER(Secp256k1, der)
	var r, s secp256k1.ModNScalar
	if err != nil || r.SetByteSlice(rs[:32]) || s.SetByteSlice(rs[32:]) {
		return false
	}
	return ecdsa.NewSignature(&r, &s).Verify(digest, key)
}
