package signer

import (
	"bytes"
	"context"
)

// Curve is an elliptic curve, named as WebCrypto and the SEC standards do.
type Curve string

const (
	P256      Curve = "P-256"     // what Grid's guides ask for
	Secp256k1 Curve = "secp256k1" // for wallets that hold such keys already
)

// Scheme is the scheme field of a stamp made by a key of this curve, "" for a
// curve that is not ours.
func (c Curve) Scheme() string {
	switch c {
	case P256:
		return "SIGNATURE_SCHEME_TK_API_P256"
	case Secp256k1:
		return "SIGNATURE_SCHEME_TK_API_SECP256K1"
	}
	return ""
}

// The orders n of the base points: FIPS 186-5 (SP 800-186 section 3.2.1.3) and
// SEC 2 section 2.4.1. They are public, so comparing with them may take
// variable time; a secret scalar is range-checked by its library instead.
const (
	orderP256      = "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2\xfc\x63\x25\x51"
	orderSecp256k1 = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xba\xae\xdc\xe6\xaf\x48\xa0\x3b\xbf\xd2\x5e\x8c\xd0\x36\x41\x41"
)

// inRange reports whether v, 32 bytes big-endian and public, is in 1..n-1.
func (c Curve) inRange(v []byte) bool {
	order := ""
	switch c {
	case P256:
		order = orderP256
	case Secp256k1:
		order = orderSecp256k1
	}
	return len(v) == 32 && len(bytes.TrimLeft(v, "\x00")) > 0 && string(v) < order
}

// PublicKey is a point of a curve. It is comparable; the zero value is no key.
type PublicKey struct {
	curve Curve
	sec1  [33]byte // compressed, SEC 1 section 2.3.3
}

// Curve returns the curve of k.
func (k PublicKey) Curve() Curve { return k.curve }

// String returns k in compressed form as 66 lower-case hex digits: the form of
// clientPublicKey and of a stamp.
func (k PublicKey) String() string { return EncodeHex(k.sec1[:]) }

// isHex reports whether s is k, compressed or uncompressed, in hex of either
// case. Only x and the parity of y are compared: a point of the curve has no
// other y of that parity.
func (k PublicKey) isHex(s string) bool {
	b, ok := DecodeHex(s)
	if ok && len(b) == 65 && b[0] == 4 {
		return compress(b) == k.sec1
	}
	return bytes.Equal(b, k.sec1[:])
}

// P256PublicKey is [ParsePublicKey] for P-256 without the arithmetic of the
// curve, which a program that signs elsewhere, as with WebCrypto, need not
// carry. It checks the form alone: 33 bytes that begin with 2 or 3. Of what is
// no point of the curve, no signature will verify anywhere. The error is
// [ErrKeyMalformed].
func P256PublicKey(compressed []byte) (PublicKey, error) {
	if len(compressed) != 33 || compressed[0]|1 != 3 {
		return PublicKey{}, fail(ErrKeyMalformed, "a compressed P-256 public key is 33 bytes that begin with 2 or 3")
	}
	return PublicKey{P256, [33]byte(compressed)}, nil
}

// compress turns 04 x y into 02|03 x.
func compress(uncompressed []byte) (compressed [33]byte) {
	compressed[0] = 2 | uncompressed[64]&1
	copy(compressed[1:], uncompressed[1:33])
	return compressed
}

// SignFunc signs message with ECDSA over its SHA-256 and returns r||s, each 32
// bytes big-endian: what WebCrypto's sign returns. s may be in either half of
// the order.
type SignFunc func(ctx context.Context, message []byte) (rs []byte, err error)

// Key signs with one session private key. The private half stays where it is:
// in this process, or behind a [SignFunc]. It remembers nothing of what it
// signed: one poisoned challenge could otherwise spoil it for good.
//
// A Key is not safe for concurrent use.
type Key struct {
	public  PublicKey
	sign    SignFunc
	destroy func()

	// scalar copies the private half, 32 bytes big-endian, for Seal. It is nil
	// where there is none to be had: of secp256k1 alone.
	scalar func(*[32]byte)
}

// NewKey returns a Key whose private half is held elsewhere. destroy may be
// nil; it is called once, by [Key.Destroy].
func NewKey(public PublicKey, sign SignFunc, destroy func()) *Key {
	return &Key{public: public, sign: sign, destroy: destroy}
}

// Public returns the public half.
func (k *Key) Public() PublicKey { return k.public }

// String names k by its public half. So do GoString and JSON: formatting a Key
// never shows the private half.
func (k *Key) String() string {
	return "signer.Key(" + string(k.public.curve) + " " + k.public.String() + ")"
}

// GoString is [Key.String].
func (k *Key) GoString() string { return k.String() }

// MarshalJSON is [Key.String], quoted.
func (k *Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// Seal lends the private half to encrypt, so that the key can be stored as
// ciphertext. It is the only way out of a Key. encrypt must keep nothing of the
// 32 bytes but their ciphertext; they are zeroed when it returns.
//
// The error is [ErrKeyNotFound] for a destroyed key and for a P-256 key, which
// rests as a CryptoKey: there is nothing to lend.
func (k *Key) Seal(encrypt func(scalar []byte) error) error {
	if k.scalar == nil {
		return fail(ErrKeyNotFound, "no private half to lend")
	}
	var scalar [32]byte
	defer clear(scalar[:])
	k.scalar(&scalar)
	return encrypt(scalar[:])
}

// Destroy wipes what of the private half this process holds and ends its use.
// In WebAssembly that is a best effort: see the package documentation.
func (k *Key) Destroy() {
	if k.destroy != nil {
		k.destroy()
	}
	k.destroy, k.scalar = nil, nil
	k.sign = func(context.Context, []byte) ([]byte, error) {
		return nil, fail(ErrKeyNotFound, "the key was destroyed")
	}
}

// signDER signs message and checks the form of what came back, since a
// [SignFunc] may be anything.
func (k *Key) signDER(ctx context.Context, message []byte) ([]byte, error) {
	rs, err := k.sign(ctx, message)
	if err != nil {
		return nil, err
	}
	return encodeDER(k.public.curve, rs)
}
