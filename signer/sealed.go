package signer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"strings"
	"unicode/utf8"
)

// The public keys of Turnkey's enclaves that sign the bundles below, as its own
// SDK pins them (packages/crypto/src/constants.ts): P-256, uncompressed.
const (
	// OTPSigner signs what a one-time code is sealed to. There it is
	// PRODUCTION_TLS_FETCHER_SIGN_PUBLIC_KEY.
	OTPSigner = "046b4f88421f76b6ba418afc2ea1d8ced671337d7db6b80478a60d8531bf8f17fa9a512f0fef96fc0c9b4cd9dff70b34992e520ce04c79d931f6ff6296b547d201"

	// ExportSigner signs the export of a wallet. There it is
	// PRODUCTION_SIGNER_SIGN_PUBLIC_KEY.
	ExportSigner = "04cf288fe433cc4e1aa0ce1632feac4ea26bf2f5a09dcfe5a42c398e06898710330f0572882f4dbdf0f5304b8fc8703acd69adca9a4bbf7f5d00d20a5e364b2569"
)

// CheckOTPTarget checks otpEncryptionTargetBundle, the answer to the challenge of
// an OTP credential (Grid's guide Client keys). Whoever relays it could put another
// key in, and read the code that is sealed to that; so it must be signed by one of
// signers, public keys in uncompressed hex. Without any it is [OTPSigner].
//
// The error is [ErrEnclaveUntrusted]; or, for signers that are no such keys,
// [ErrArgumentInvalid], or [ErrKeyMalformed] where only the curve tells.
func CheckOTPTarget(ctx context.Context, p Primitives, bundle string, signers ...string) error {
	_, err := otpTarget(ctx, p, bundle, signers)
	return err
}

// otpTarget returns the point that a bundle is for.
func otpTarget(ctx context.Context, p Primitives, bundle string, signers []string) ([]byte, error) {
	data, err := signedData(ctx, p, bundle, signers, OTPSigner, false)
	if err != nil {
		return nil, err
	}
	return enclavePoint(ctx, p, data, "targetPublic")
}

// SealOTP checks bundle as [CheckOTPTarget] does, and returns encryptedOtpBundle:
// the code, and the public key that the session is to have, sealed to its target.
//
// The errors are those of CheckOTPTarget, and [ErrArgumentInvalid] unless code is
// 4 to 12 letters and digits.
func SealOTP(ctx context.Context, p Primitives, bundle, code string, key PublicKey, signers ...string) (string, error) {
	if !isOTP(code) {
		return "", fail(ErrArgumentInvalid, "a one-time code is 4 to 12 letters and digits")
	}
	if key.curve == "" {
		return "", fail(ErrArgumentInvalid, "no public key to seal")
	}
	target, err := otpTarget(ctx, p, bundle, signers)
	if err != nil {
		return "", err
	}
	// Neither text needs escapes.
	text := []byte(`{"otp_code":"` + code + `","public_key":"` + key.String() + `"}`)
	defer clear(text)
	enc, ciphertext, err := hpkeSeal(ctx, p, target, text)
	if err != nil {
		return "", err
	}
	return `{"encappedPublic":"` + EncodeHex(enc) + `","ciphertext":"` + EncodeHex(ciphertext) + `"}`, nil
}

func isOTP(s string) bool {
	for _, c := range []byte(s) {
		if letter := c | 0x20; (letter < 'a' || letter > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return 4 <= len(s) && len(s) <= 12
}

// Export says what [OpenExport] takes.
type Export struct {
	// Organization is what the envelope must be for, and never "".
	Organization string

	// Signers are the enclave keys that may have signed it, in uncompressed hex:
	// none means [ExportSigner].
	Signers []string

	// AllowUnsigned admits an envelope whose dataSignature and enclaveQuorumPublic
	// are both empty, as those of Grid's sandbox are.
	AllowUnsigned bool
}

// OpenExport opens encryptedWalletCredentials, which was sealed to key, and returns
// the mnemonic in it. The caller should erase it after use.
//
// The errors are [ErrEnclaveUntrusted] for an envelope that no pinned key has
// signed, of another form, or of another organization, and [ErrUnsealFailed] for
// what was not sealed to key, or is no text.
func OpenExport(ctx context.Context, p Primitives, envelope string, key ECDH, e Export) (mnemonic []byte, err error) {
	if e.Organization == "" {
		return nil, fail(ErrArgumentInvalid, "an export is opened for an organization")
	}
	data, err := signedData(ctx, p, envelope, e.Signers, ExportSigner, e.AllowUnsigned)
	if err != nil {
		return nil, err
	}
	if organization, _ := data.text("organizationId"); organization != e.Organization {
		return nil, fail(ErrEnclaveUntrusted, "the export is of another organization")
	}
	text, _ := data.text("ciphertext")
	ciphertext, ok := DecodeHex(text)
	if !ok {
		return nil, fail(ErrEnclaveUntrusted, "ciphertext is not hex")
	}
	enc, err := enclavePoint(ctx, p, data, "encappedPublic")
	if err != nil {
		return nil, err
	}
	mnemonic, err = hpkeOpen(ctx, p, key, enc, ciphertext)
	if err != nil {
		return nil, err
	}
	if len(mnemonic) == 0 || !utf8.Valid(mnemonic) {
		clear(mnemonic)
		return nil, fail(ErrUnsealFailed, "what was sealed is no text")
	}
	return mnemonic, nil
}

// signedData reads {version, data, dataSignature, enclaveQuorumPublic}, checks the
// signature, and returns what data is in hex: an object, or what has no members.
func signedData(ctx context.Context, p Primitives, bundle string, signers []string, usual string, allowUnsigned bool) (*jsonValue, error) {
	var v jsonValue
	if len(bundle) <= MaxPayload {
		v, _ = parseJSON(bundle) // what does not parse has no members
	}
	version, _ := v.text("version")
	text, ok1 := v.text("data")
	signature, ok2 := v.text("dataSignature")
	quorum, ok3 := v.text("enclaveQuorumPublic")
	data, ok4 := DecodeHex(text)
	if version != "v1.0.0" || !ok1 || !ok2 || !ok3 || !ok4 || len(v.members) != 4 {
		return nil, fail(ErrEnclaveUntrusted, "the bundle is not strict JSON of version v1.0.0, data in hex, dataSignature and enclaveQuorumPublic")
	}
	if !allowUnsigned || signature != "" || quorum != "" {
		if len(signers) == 0 {
			signers = []string{usual}
		}
		if err := verifyData(ctx, p, data, signature, quorum, signers); err != nil {
			return nil, err
		}
	}
	v, _ = parseJSON(string(data)) // as above
	return &v, nil
}

// verifyData checks that signature is of data, by quorum, which is one of signers.
func verifyData(ctx context.Context, p Primitives, data []byte, signature, quorum string, signers []string) error {
	var key []byte
	for _, s := range signers {
		pinned := uncompressedHex(s)
		if pinned == nil {
			return fail(ErrArgumentInvalid, "a pinned key is uncompressed hex: 04 and 128 more digits")
		}
		if equalFold(s, quorum) {
			key = pinned
		}
	}
	if key == nil {
		return fail(ErrEnclaveUntrusted, "the bundle is signed by a key that is not pinned")
	}
	ok := false
	der, _ := DecodeHex(signature) // of what is no hex, nothing: that is no DER
	// s may be in either half: Turnkey's own example has it in the upper.
	if rs, err := decodeDER(P256, der); err == nil {
		if ok, err = p.Verify(ctx, key, data, rs[:]); err != nil {
			return err
		}
	}
	if !ok {
		return fail(ErrEnclaveUntrusted, "the bundle is not signed by the key that it names")
	}
	return nil
}

// enclavePoint returns the point that is a member of data.
func enclavePoint(ctx context.Context, p Primitives, data *jsonValue, name string) ([]byte, error) {
	text, _ := data.text(name)
	point := uncompressedHex(text)
	if point == nil {
		return nil, fail(ErrEnclaveUntrusted, name+" is not an uncompressed key")
	}
	point, err := p.Point(ctx, point)
	if err == nil && point == nil {
		err = fail(ErrEnclaveUntrusted, name+" is not a point of the curve")
	}
	return point, err
}

// uncompressedHex returns the 65 bytes of 04 x y, or nil.
func uncompressedHex(s string) []byte {
	b, _ := DecodeHex(s)
	if len(b) != 65 || b[0] != 4 {
		return nil
	}
	return b
}

// OpenSessionKey opens encryptedSessionSigningKey, the session key that Grid makes
// for whoever signs in with an uncompressed key (its guide Client keys), and
// returns its private half, 32 bytes. The caller should erase it after use, and
// holds it to be in 1..n-1 where it becomes a key.
//
// The error is [ErrUnsealFailed] for what was not sealed to key, and
// [ErrSealedKeyUnsupported] on a platform that reads no compressed points.
func OpenSessionKey(ctx context.Context, p Primitives, sealed string, key ECDH) (scalar []byte, err error) {
	// 33 bytes are enc, compressed; 32 and the tag's 16 are the ciphertext.
	body, ok := decodeBase58Check(sealed)
	if !ok {
		return nil, fail(ErrUnsealFailed, "the sealed key is not base58check of 81 bytes")
	}
	enc, err := p.Point(ctx, body[:33])
	if err == nil && enc == nil {
		// No point, or a platform that would not know: it is shown one.
		own := compress(key.Public())
		if enc, err = p.Point(ctx, own[:]); enc != nil {
			err = fail(ErrUnsealFailed, "the sealed key does not begin with a point of the curve")
		} else if err == nil {
			err = fail(ErrSealedKeyUnsupported, "this platform reads no compressed points")
		}
	}
	if err != nil {
		return nil, err
	}
	return hpkeOpen(ctx, p, key, enc, body[33:])
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// decodeBase58Check decodes what must be 81 bytes, followed by the first four of
// the SHA-256 of their SHA-256. The first byte is none of zero: the text of such
// would begin with 1, and its number would not tell how many.
func decodeBase58Check(s string) (body []byte, ok bool) {
	var b [85]byte
	for _, c := range []byte(s) {
		carry := strings.IndexByte(base58, c)
		if carry < 0 {
			return nil, false
		}
		for i := len(b) - 1; i >= 0; i-- {
			carry += 58 * int(b[i])
			b[i] = byte(carry)
			carry >>= 8
		}
		if carry != 0 { // ends what is too long, however long
			return nil, false
		}
	}
	sum := sha256.Sum256(b[:81])
	sum = sha256.Sum256(sum[:])
	return b[:81], s != "" && s[0] != '1' && b[0] != 0 && bytes.Equal(sum[:4], b[81:])
}
