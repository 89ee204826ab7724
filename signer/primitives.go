//go:build !js

package signer

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
)

// HostPrimitives are the standard library's. The WASM module has WebCrypto's
// instead, which keeps these out of it.
type HostPrimitives struct{}

// GenerateECDH makes a key from crypto/rand.
func (HostPrimitives) GenerateECDH(context.Context) (ECDH, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, &Error{Kind: ErrInternal, Msg: "no randomness for a P-256 key", Err: err}
	}
	return hostECDH{private}, nil
}

// HostECDH is a key that this process holds. The error is [ErrKeyMalformed] unless
// it is of P-256.
func HostECDH(private *ecdh.PrivateKey) (ECDH, error) {
	if private.Curve() != ecdh.P256() {
		return nil, fail(ErrKeyMalformed, "not a P-256 key")
	}
	return hostECDH{private}, nil
}

type hostECDH struct{ private *ecdh.PrivateKey }

func (k hostECDH) Public() []byte { return k.private.PublicKey().Bytes() }

// String and GoString never show the private half.
func (k hostECDH) String() string   { return "signer.ECDH(P-256)" }
func (k hostECDH) GoString() string { return k.String() }

func (k hostECDH) Agree(_ context.Context, peer []byte) ([]byte, error) {
	public, err := ecdh.P256().NewPublicKey(peer)
	if err != nil {
		return nil, fail(ErrKeyMalformed, "not a point of P-256")
	}
	return k.private.ECDH(public)
}

// Point reads both forms.
func (HostPrimitives) Point(_ context.Context, sec1 []byte) ([]byte, error) {
	if len(sec1) == 33 {
		sec1 = uncompressP256(sec1)
	}
	public, err := ecdh.P256().NewPublicKey(sec1)
	if err != nil {
		return nil, nil
	}
	return public.Bytes(), nil
}

// HKDF is crypto/hkdf's.
func (HostPrimitives) HKDF(_ context.Context, secret, salt, info []byte, size int) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, salt, string(info), size)
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Encrypt is crypto/cipher's.
func (HostPrimitives) Encrypt(_ context.Context, key, nonce, additional, text []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nonce, text, additional), nil
}

// Decrypt is crypto/cipher's.
func (HostPrimitives) Decrypt(_ context.Context, key, nonce, additional, ciphertext []byte) ([]byte, error) {
	aead, err := gcm(key)
	if err != nil {
		return nil, err
	}
	text, err := aead.Open(nil, nonce, ciphertext, additional)
	if err != nil {
		return nil, fail(ErrUnsealFailed, "not sealed to this key, or changed since")
	}
	return text, nil
}

// Verify is crypto/ecdsa's.
func (HostPrimitives) Verify(_ context.Context, point, message, rs []byte) (bool, error) {
	der, err := encodeDER(P256, rs)
	if err != nil {
		return false, nil
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return false, fail(ErrKeyMalformed, "not a point of P-256")
	}
	digest := sha256.Sum256(message)
	return ecdsa.VerifyASN1(key, digest[:], der), nil
}
