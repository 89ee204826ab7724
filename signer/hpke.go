package signer

import "context"

// This file is HPKE (RFC 9180) in the one way that the sealed formats of Grid
// use it: mode base, one message, DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and
// AES-256-GCM. It only puts the platform's primitives together; crypto/hpke
// would add 800 kB to the WASM module.

// Primitives are what HPKE and the signatures of enclaves need of P-256,
// HKDF-SHA256 and AES-256-GCM, as the platform has them: WebCrypto in the WASM
// module, the standard library in [HostPrimitives].
//
// What a method keeps of a secret it is given or returns is for it to erase; the
// slices themselves are erased by whoever calls it.
type Primitives interface {
	// GenerateECDH makes a key for one message.
	GenerateECDH(ctx context.Context) (ECDH, error)

	// Point returns a point of the curve as 04 x y. It is given as that, or
	// compressed as 02|03 x. What is no point of the curve, or of a form that the
	// platform does not read, is nil.
	Point(ctx context.Context, sec1 []byte) (uncompressed []byte, err error)

	// HKDF extracts from secret and salt and expands with info (RFC 5869).
	HKDF(ctx context.Context, secret, salt, info []byte, size int) ([]byte, error)

	// Encrypt returns the AES-256-GCM ciphertext of text, its tag of 16 bytes last.
	Encrypt(ctx context.Context, key, nonce, additional, text []byte) ([]byte, error)

	// Decrypt is the inverse of Encrypt. The error is [ErrUnsealFailed] if the tag
	// is not right.
	Decrypt(ctx context.Context, key, nonce, additional, ciphertext []byte) ([]byte, error)

	// Verify reports whether rs, r and s of 32 bytes each, is an ECDSA signature
	// over SHA-256 of message by the key that point, 04 x y, is the public half of.
	// The error is [ErrKeyMalformed] for what is no point of the curve.
	Verify(ctx context.Context, point, message, rs []byte) (bool, error)
}

// ECDH is a P-256 key that agrees on secrets. Its private half stays where it is.
type ECDH interface {
	// Public returns the public half, 04 x y.
	Public() []byte

	// Agree returns the x coordinate, 32 bytes, of the point that is shared with
	// peer, which [Primitives.Point] has returned.
	Agree(ctx context.Context, peer []byte) ([]byte, error)
}

// What the labels of the KEM and those of the suite begin with, RFC 9180 sections
// 4, 4.1 and 5.1.
const (
	hpkeKEM   = "HPKE-v1" + "KEM\x00\x10"
	hpkeSuite = "HPKE-v1" + "HPKE\x00\x10\x00\x01\x00\x02"
)

// hpkeContext is the key_schedule_context of RFC 9180 section 5.1 for the info
// "turnkey_hpke" (Grid's guide Client keys), which no message changes: mode base,
// the hash of no psk_id, the hash of that info.
const hpkeContext = "\x00" +
	"\x8f\xc3\xae\xb8\x32\x49\x0a\x4b\x5a\xb3\xe4\x20\x23\x28\x7d\xb2\x9a\x1f\x4b\xc7\xc2\x22\xc0\xdf\x22\x87\x27\xb7\x0a\x40\x21\x12" +
	"\x2f\x3f\x04\xe9\x20\x6c\xd1\x24\x13\x50\x35\x29\xb4\x7a\xc6\xa6\x30\xb9\x2e\xc4\xcf\x7d\x23\x45\x08\xd0\xaf\x97\x71\xc9\x9e\x50"

// hpkeMessage is one message, on its way.
type hpkeMessage struct {
	Primitives
	context []byte
	parties []byte // the public keys of sender and recipient: the KEM's context, and Turnkey's additional data
}

func newHPKE(p Primitives, enc, recipient []byte) *hpkeMessage {
	return &hpkeMessage{p, []byte(hpkeContext), append(append([]byte(nil), enc...), recipient...)}
}

// keys returns the key and the nonce of the message. key is one party's, peer the
// other's public key.
func (h *hpkeMessage) keys(ctx context.Context, key ECDH, peer []byte) (aes, nonce []byte, err error) {
	secret, err := key.Agree(ctx, peer)
	defer clear(secret)
	if err == nil && len(secret) != 32 {
		err = fail(ErrInternal, "an agreement on P-256 is 32 bytes")
	}
	if err != nil {
		return nil, nil, err
	}
	shared, err := h.derive(ctx, secret, nil, hpkeKEM+"eae_prk", "\x00\x20"+hpkeKEM+"shared_secret", h.parties)
	defer clear(shared)
	if err != nil {
		return nil, nil, err
	}
	if nonce, err = h.derive(ctx, nil, shared, hpkeSuite+"secret", "\x00\x0c"+hpkeSuite+"base_nonce", h.context); err != nil {
		return nil, nil, err
	}
	aes, err = h.derive(ctx, nil, shared, hpkeSuite+"secret", "\x00\x20"+hpkeSuite+"key", h.context)
	return aes, nonce, err
}

// derive is LabeledExtract and LabeledExpand in one (RFC 9180 section 4): each
// time one follows the other here. The label of the second begins with the length.
func (h *hpkeMessage) derive(ctx context.Context, secret, salt []byte, extract, expand string, info []byte) ([]byte, error) {
	secret = append([]byte(extract), secret...)
	defer clear(secret)
	return h.HKDF(ctx, secret, salt, append([]byte(expand), info...), int(expand[1]))
}

// hpkeSeal seals text for recipient, a point. It returns the public key of the
// message, 04 x y, and the ciphertext.
func hpkeSeal(ctx context.Context, p Primitives, recipient, text []byte) (enc, ciphertext []byte, err error) {
	sender, err := p.GenerateECDH(ctx)
	if err != nil {
		return nil, nil, err
	}
	enc = sender.Public()
	h := newHPKE(p, enc, recipient)
	key, nonce, err := h.keys(ctx, sender, recipient)
	if err != nil {
		return nil, nil, err
	}
	defer clear(key)
	ciphertext, err = p.Encrypt(ctx, key, nonce, h.parties, text)
	return enc, ciphertext, err
}

// hpkeOpen is the inverse of hpkeSeal; enc is a point. The error is
// [ErrUnsealFailed] for what was not sealed to this key.
func hpkeOpen(ctx context.Context, p Primitives, recipient ECDH, enc, ciphertext []byte) ([]byte, error) {
	h := newHPKE(p, enc, recipient.Public())
	key, nonce, err := h.keys(ctx, recipient, enc)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	return p.Decrypt(ctx, key, nonce, h.parties, ciphertext)
}
