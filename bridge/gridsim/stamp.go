package gridsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
)

// The two headers of a signed request, spelled as Grid documents them.
const (
	headerSignature = "Grid-Wallet-Signature"
	headerRequestID = "Request-Id"
)

// maxSignature is the longest signature header that is looked at. A stamp takes
// some 430 characters.
const maxSignature = 4 << 10

// magicSignature is the sandbox value that stands for a valid signature.
const magicSignature = "sandbox-valid-signature"

// walletSignature is a well-formed signature header.
type walletSignature struct {
	magic bool // nothing else is set: no key, no signature
	der   derSignature

	// Which key signed on which curve. A legacy signature does not tell: curve
	// is nil.
	curve *curve
	key   compressedKey
}

// parseSignature reads a signature header of the generation that the profile
// takes.
func (s *Sim) parseSignature(value string) (walletSignature, error) {
	switch {
	case len(value) > maxSignature:
		return walletSignature{}, signatureTooLong
	case value == magicSignature && s.cfg.AllowMagic:
		return walletSignature{magic: true}, nil
	case s.cfg.Profile == Legacy202604:
		return s.parseLegacy(value)
	}
	sig, err := s.parseStamp(value)
	if err != nil && s.cfg.AcceptLegacyDER {
		if legacy, legacyErr := s.parseLegacy(value); legacyErr == nil {
			return legacy, nil
		}
	}
	return sig, err
}

// parseStamp reads the current format: unpadded base64url of the JSON object
//
//	{"publicKey":"<66 hex>","scheme":"SIGNATURE_SCHEME_...","signature":"<DER in hex>"}
//
// with exactly these fields, in any order, and lower-case hex. White space
// between the tokens is taken, since a client that Turnkey publishes writes it.
// Escapes, which none writes, are not.
func (s *Sim) parseStamp(value string) (sig walletSignature, err error) {
	lenient := s.cfg.LenientStamp
	if lenient {
		value = strings.TrimRight(value, "=")
	}
	text, err := decodeBase64(base64.RawURLEncoding, value)
	if err != nil {
		return sig, stampNotBase64
	}
	fields, err := parseObject(text, stampNotObject, stampFieldDuplicate)
	if err != nil {
		return sig, err
	}
	if !lenient && bytes.ContainsRune(text, '\\') {
		return sig, stampEscaped
	}
	publicKey, keyOK := stringField(fields, "publicKey")
	scheme, schemeOK := stringField(fields, "scheme")
	signature, signatureOK := stringField(fields, "signature")
	if !keyOK || !schemeOK || !signatureOK {
		return sig, stampFieldMissing
	}
	if len(fields) != 3 && !lenient {
		return sig, stampFieldExtra
	}
	if lenient {
		publicKey, signature = strings.ToLower(publicKey), strings.ToLower(signature)
	}
	for _, c := range s.curves {
		if c.scheme == scheme {
			sig.curve = c
		}
	}
	if sig.curve == nil {
		return sig, stampSchemeUnknown
	}
	key, ok := decodeLowerHex(publicKey)
	if !ok || len(key) != len(sig.key) || key[0] != 2 && key[0] != 3 {
		return sig, stampKeyMalformed
	}
	sig.key = compressedKey(key)
	if !sig.curve.contains(sig.key) {
		return sig, stampKeyOffCurve
	}
	der, ok := decodeLowerHex(signature)
	if !ok {
		return sig, stampSignatureNotHex
	}
	if sig.der, err = parseDER(der); err != nil {
		return sig, err
	}
	if !sig.der.inRange(sig.curve.order) {
		return sig, derOutOfRange
	}
	return sig, nil
}

// parseLegacy reads the format of April 2026: standard base64, padded, of the
// DER signature.
func (s *Sim) parseLegacy(value string) (sig walletSignature, err error) {
	der, err := decodeBase64(base64.StdEncoding, value)
	if err != nil {
		return sig, derNotBase64
	}
	if sig.der, err = parseDER(der); err != nil {
		return sig, err
	}
	for _, c := range s.curves {
		if sig.der.inRange(c.order) {
			return sig, nil
		}
	}
	return sig, derOutOfRange
}

// checkSigner tells whether one of the signers signed the payload: its exact
// bytes, hashed once with SHA-256.
func (s *Sim) checkSigner(sig walletSignature, payload string, signers []*session) error {
	if sig.magic {
		return nil
	}
	digest := sha256.Sum256([]byte(payload))
	refused := signerNotEligible
	if sig.curve == nil {
		for _, signer := range signers {
			for _, c := range s.curves {
				if !signer.unmatched && sig.der.inRange(c.order) && c.contains(signer.key) && c.verify(signer.key, digest[:], sig.der) {
					return nil
				}
			}
		}
		return signatureMatchesNoKey
	}
	for _, signer := range signers {
		if signer.key != sig.key {
			continue
		}
		if signer.unmatched {
			refused = signerUnmatched
			continue
		}
		if !sig.curve.verify(sig.key, digest[:], sig.der) {
			return signatureInvalid
		}
		return nil
	}
	return refused
}

// signatureHeaders is the pair of headers of a request, as they came. An empty
// value counts as absent.
type signatureHeaders struct {
	signature, requestID string
	signatureRepeated    bool // it cannot be told which one was meant
}

// absent tells whether the request is leg 1.
func (h signatureHeaders) absent() bool {
	return h.signature == "" && h.requestID == "" && !h.signatureRepeated
}

// readSignatureHeaders fails only on a repeated Request-Id. That is a malformed
// request, found before anything is looked up; a repeated signature is a
// malformed signature, whose turn comes later.
func readSignatureHeaders(h http.Header) (signatureHeaders, error) {
	if len(h.Values(headerRequestID)) > 1 {
		return signatureHeaders{}, requestIDRepeated
	}
	return signatureHeaders{
		signature:         h.Get(headerSignature),
		requestID:         h.Get(headerRequestID),
		signatureRepeated: len(h.Values(headerSignature)) > 1,
	}, nil
}
