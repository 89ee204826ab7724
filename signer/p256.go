//go:build !js

package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
)

// What is here is for Go programs on a host. In the WASM module WebCrypto makes P-256
// keys and keeps them from everybody; crypto/ecdsa would add 100 kB. It names them by
// [P256PublicKey].

// GenerateP256 makes a P-256 key from crypto/rand.
func GenerateP256() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, &Error{Kind: ErrInternal, Msg: "no randomness for a P-256 key", Err: err}
	}
	return newP256(private)
}

// ParseP256 makes a P-256 key from a 32-byte big-endian scalar, which it
// copies: the caller should zero its own bytes. The error is [ErrKeyMalformed]
// unless the scalar is in 1..n-1.
func ParseP256(scalar []byte) (*Key, error) {
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil { // its text says no more than this one
		return nil, fail(ErrKeyMalformed, "a P-256 private key is 32 bytes, in 1..n-1")
	}
	return newP256(private)
}

// newP256 signs deterministically (RFC 6979), as secp256k1 keys do. s may be in
// either half: RFC 6979 A.2.5 has one in the upper.
func newP256(private *ecdsa.PrivateKey) (*Key, error) {
	uncompressed, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, &Error{Kind: ErrInternal, Msg: "P-256 key without a public half", Err: err}
	}
	sign := func(_ context.Context, message []byte) ([]byte, error) {
		digest := sha256.Sum256(message)
		der, err := private.Sign(nil, digest[:], crypto.SHA256) // nil: RFC 6979
		if err != nil {
			return nil, &Error{Kind: ErrInternal, Msg: "P-256 signing failed", Err: err}
		}
		rs, err := decodeDER(P256, der)
		return rs[:], err
	}
	return NewKey(PublicKey{P256, compress(uncompressed)}, sign, nil), nil
}
