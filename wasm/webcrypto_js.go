package main

import (
	"context"
	"crypto/ecdh"
	"errors"
	"syscall/js"

	"gridsigner/signer"
)

// P-256 keys are WebCrypto's, and not extractable: nobody, this module
// included, can read the private half. It can only be used. Of one that was
// imported, traces of the bytes that came in are left in this module's memory.

var (
	uint8Array      = js.Global().Get("Uint8Array")
	uint8ArrayProto = uint8Array.Get("prototype")
	fill            = uint8ArrayProto.Get("fill")
)

// isUint8Array asks isView first, which no proxy passes. What it says yes to may
// still have properties and a prototype of the page's making: copy it first.
func isUint8Array(v js.Value) bool {
	return js.Global().Get("ArrayBuffer").Call("isView", v).Bool() && uint8ArrayProto.Call("isPrototypeOf", v).Bool()
}

// zero overwrites an array that may be the page's.
func zero(v js.Value) { fill.Call("call", v, 0) }

func toUint8Array(b []byte) js.Value {
	v := uint8Array.New(len(b))
	js.CopyBytesToJS(v, b)
	return v
}

// bytesOf copies an ArrayBuffer or a Uint8Array.
func bytesOf(v js.Value) []byte {
	v = uint8Array.New(v)
	b := make([]byte, v.Length())
	js.CopyBytesToGo(b, v)
	return b
}

// subtle returns crypto.subtle, which exists in secure contexts only: https,
// or a loopback address.
func subtle() (js.Value, error) {
	s := js.Global().Get("crypto").Get("subtle")
	if s.IsUndefined() {
		return s, &signer.Error{Kind: signer.ErrCurveUnsupported, Msg: "P-256 needs WebCrypto, which browsers offer on https pages only"}
	}
	return s, nil
}

// randomBytes is crypto.getRandomValues as an io.Reader. crypto/rand ends there
// too, by way of 20 kB of generator that a browser does not need.
type randomBytes struct{}

func (randomBytes) Read(b []byte) (int, error) {
	v := uint8Array.New(len(b))
	js.Global().Get("crypto").Call("getRandomValues", v)
	js.CopyBytesToGo(b, v)
	v.Call("fill", 0)
	return len(b), nil
}

var (
	keyAlgorithm  = js.ValueOf(map[string]any{"name": "ECDSA", "namedCurve": "P-256"})
	signAlgorithm = js.ValueOf(map[string]any{"name": "ECDSA", "hash": "SHA-256"})
)

func generateWebCrypto(ctx context.Context) (*heldKey, error) {
	s, err := subtle()
	if err != nil {
		return nil, err
	}
	const extractable = false
	pair, err := await(ctx, s.Call("generateKey", keyAlgorithm, extractable, []any{"sign"}))
	if err != nil {
		return nil, webCryptoError(err)
	}
	raw, err := await(ctx, s.Call("exportKey", "raw", pair.Get("publicKey")))
	if err != nil {
		return nil, webCryptoError(err)
	}
	public, err := signer.ParseUncompressedP256(bytesOf(raw))
	if err != nil {
		return nil, err
	}
	return webCryptoKey(public, pair.Get("privateKey"), uint8Array.New(raw)), nil
}

// importWebCrypto hands a scalar to WebCrypto as PKCS #8 (RFC 5958, RFC 5915).
// The public key is part of it because Firefox wants it there.
//
//	30 81 87  02 01 00                                     version
//	  30 13  06 07 2a8648ce3d0201  06 08 2a8648ce3d030107  EC key, P-256
//	  04 6d  30 6b  02 01 01  04 20 (scalar)               private key
//	    a1 44  03 42 00  04 (x) (y)                        public key
//
// It keeps nothing of scalar; what it returns waits for WebCrypto.
func importWebCrypto(scalar []byte) (func(context.Context) (*heldKey, error), error) {
	s, err := subtle()
	if err != nil {
		return nil, err
	}
	private, err := ecdh.P256().NewPrivateKey(scalar)
	if err != nil {
		return nil, &signer.Error{Kind: signer.ErrKeyMalformed, Msg: "a P-256 private key is 32 bytes, in 1..n-1"}
	}
	uncompressed := private.PublicKey().Bytes()
	public, err := signer.ParseUncompressedP256(uncompressed)
	if err != nil {
		return nil, err
	}
	der := make([]byte, 0, 138)
	der = append(der, "\x30\x81\x87\x02\x01\x00"+
		"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"+
		"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"...)
	der = append(der, scalar...)
	der = append(der, "\xa1\x44\x03\x42\x00"...)
	der = append(der, uncompressed...)
	pkcs8 := toUint8Array(der)
	clear(der)
	const extractable = false
	promise := s.Call("importKey", "pkcs8", pkcs8, keyAlgorithm, extractable, []any{"sign"})
	pkcs8.Call("fill", 0) // importKey has taken its copy: Web Cryptography API section 14.3.9 step 2
	return func(ctx context.Context) (*heldKey, error) {
		handle, err := await(ctx, promise)
		if err != nil {
			return nil, webCryptoError(err)
		}
		return webCryptoKey(public, handle, toUint8Array(uncompressed)), nil
	}, nil
}

func webCryptoKey(public signer.PublicKey, private, point js.Value) *heldKey {
	sign := func(ctx context.Context, message []byte) ([]byte, error) {
		s, err := subtle()
		if err != nil {
			return nil, err
		}
		rs, err := await(ctx, s.Call("sign", signAlgorithm, private, toUint8Array(message)))
		if err != nil {
			return nil, webCryptoError(err)
		}
		return bytesOf(rs), nil
	}
	return &heldKey{signer.NewKey(public, sign, nil), protectionNonExtractable, private, point}
}

// webCryptoError keeps what ended the call, and drops what the browser says.
func webCryptoError(err error) error {
	if _, ok := errors.AsType[*signer.Error](err); ok {
		return err
	}
	return &signer.Error{Kind: signer.ErrInternal, Msg: "WebCrypto refused the operation"}
}
