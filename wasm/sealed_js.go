package main

import (
	"context"
	"syscall/js"

	"gridsigner/signer"
)

func checkOTPTarget(call *call) work {
	bundle, o := text(call.at(0), "bundle"), call.options(1)
	signers := o.texts("otpSigners")
	return func(ctx context.Context) any {
		refuse(signer.CheckOTPTarget(ctx, &webCrypto{}, bundle, signers...))
		return js.Undefined()
	}
}

func sealOTP(call *call) work {
	bundle, o := text(call.at(0), "bundle"), call.options(1)
	signers, code := o.texts("otpSigners"), o.text("otpCode")
	key := compressedKey(o) // it is sealed as it is written: of which curve it is makes no difference
	return func(ctx context.Context) any {
		return must(signer.SealOTP(ctx, &webCrypto{}, bundle, code, key, signers...))
	}
}

func openExport(call *call) work {
	envelope, o := text(call.at(0), "envelope"), call.options(1)
	key := ecdhOption(o)
	unsigned := o.property("allowUnsigned")
	if !absent(unsigned) && unsigned.Type() != js.TypeBoolean {
		panic(invalid("allowUnsigned must be a boolean"))
	}
	what := signer.Export{Organization: o.text("organizationId"), Signers: o.texts("exportSigners"), AllowUnsigned: unsigned.Truthy()}
	return func(ctx context.Context) any {
		mnemonic := must(signer.OpenExport(ctx, &webCrypto{}, envelope, key, what))
		defer clear(mnemonic)
		bytes := toUint8Array(mnemonic)
		defer zero(bytes)
		return js.Global().Get("TextDecoder").New().Call("decode", bytes) // a string of Go's would stay in memory
	}
}

// openSessionKey is for the worker's own storage, as lend is.
func openSessionKey(call *call) work {
	sealed, o := text(call.at(0), "sealed"), call.options(1)
	key := ecdhOption(o)
	return func(ctx context.Context) any {
		scalar := must(signer.OpenSessionKey(ctx, &webCrypto{}, sealed, key))
		defer clear(scalar)
		return toUint8Array(scalar)
	}
}

// texts returns a property that must be an array of strings, nil for an absent one.
func (o fields) texts(name string) (texts []string) {
	v := o.property(name)
	if absent(v) {
		return nil
	}
	v = js.Global().Get("Array").Call("from", v) // its length and elements are the page's own no longer
	texts = make([]string, v.Length())
	for i := range texts {
		texts[i] = text(v.Index(i), name)
	}
	return texts
}

// ecdhKey is a P-256 key of WebCrypto's.
type ecdhKey struct {
	public     []byte
	deriveBits func(ctx context.Context, peer []byte) js.Value
}

func (k *ecdhKey) Public() []byte { return k.public }

func (k *ecdhKey) Agree(ctx context.Context, peer []byte) ([]byte, error) {
	return take(k.deriveBits(ctx, peer)), nil
}

// ecdhOption reads {publicKey, deriveBits}.
func ecdhOption(o fields) *ecdhKey {
	public, _ := signer.DecodeHex(o.text("publicKey"))
	if len(public) != 65 || public[0] != 4 {
		panic(invalid("publicKey must be uncompressed: 04 and 128 more hex digits"))
	}
	f := o.function("deriveBits")
	if f.IsUndefined() {
		panic(invalid("deriveBits must be a function"))
	}
	return &ecdhKey{public, func(ctx context.Context, peer []byte) js.Value {
		failed := &signer.Error{Kind: signer.ErrInternal, Msg: "the function deriveBits of the key failed"}
		return must(callback(ctx, failed, f, toUint8Array(peer)))
	}}
}

// webCrypto is [signer.Primitives] of the browser's. What fails in it panics, as whatever refuses a call: that passes
// through package signer, which erases its secrets on the way.
type webCrypto struct{}

// subtle calls a function of crypto.subtle's, whose promises settle by themselves, and soon. Whatever they reject with
// becomes otherwise.
func subtle(ctx context.Context, otherwise error, name string, args ...any) js.Value {
	s := js.Global().Get("crypto").Get("subtle")
	if s.IsUndefined() {
		panic(&signer.Error{Kind: signer.ErrLoadFailed, Msg: "a secure context is needed: https, or a loopback address"})
	}
	return must(callback(ctx, otherwise, reflectApply, s.Get(name), s, args))
}

// algorithm makes the parameters of a call, which inherit nothing: from a page that shares this realm, the length of a
// tag might be inherited. Node's look further all the same, so none is left out.
func algorithm(name string, pairs ...any) js.Value {
	v := objectOf.Call("create", nil)
	v.Set("name", name)
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i].(string), pairs[i+1])
	}
	return v
}

// take copies an ArrayBuffer and erases it.
func take(v js.Value) []byte {
	view := uint8Array.New(v)
	defer zero(view)
	return bytesOf(view)
}

func (*webCrypto) GenerateECDH(ctx context.Context) (signer.ECDH, error) {
	pair := subtle(ctx, internal(), "generateKey", algorithm("ECDH", "namedCurve", "P-256"), false, []any{"deriveBits"})
	return &ecdhKey{exportPoint(ctx, pair.Get("publicKey")), func(ctx context.Context, peer []byte) js.Value {
		public := importPoint(ctx, "ECDH", peer)
		return subtle(ctx, internal(), "deriveBits", algorithm("ECDH", "public", public), pair.Get("privateKey"), 256)
	}}, nil
}

// exportPoint returns 04 x y.
func exportPoint(ctx context.Context, key js.Value) []byte {
	return take(subtle(ctx, internal(), "exportKey", "raw", key))
}

var errNoPoint = &signer.Error{Kind: signer.ErrKeyMalformed, Msg: "not a point of P-256"}

// importPoint takes a point by way of SPKI (RFC 5480):
//
//	30 (59|39)  30 13  06 07 2a8648ce3d0201  06 08 2a8648ce3d030107   EC key, P-256
//	  03 (42|22) 00 (point)
//
// As "raw", WebKitGTK takes what is not on the curve, and derives bits with it: an attacker who sees what comes of
// that learns of the private half. This way every engine looks. It refuses with errNoPoint.
func importPoint(ctx context.Context, name string, point []byte, usages ...any) js.Value {
	n := byte(len(point))
	spki := append([]byte{0x30, 24 + n}, "\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03"...)
	spki = append(append(spki, 1+n, 0), point...)
	return subtle(ctx, errNoPoint, "importKey", "spki", toUint8Array(spki), algorithm(name, "namedCurve", "P-256"), true, usages)
}

func (*webCrypto) Point(ctx context.Context, sec1 []byte) (point []byte, err error) {
	err = caught(func() { point = exportPoint(ctx, importPoint(ctx, "ECDH", sec1)) })
	if err == errNoPoint {
		err = nil
	}
	return point, err
}

func (*webCrypto) Verify(ctx context.Context, point, message, rs []byte) (bool, error) {
	key := importPoint(ctx, "ECDSA", point, "verify")
	ok := subtle(ctx, internal(), "verify", algorithm("ECDSA", "hash", "SHA-256"), key, toUint8Array(rs), toUint8Array(message))
	return ok.Bool(), nil
}

// withSecret imports a secret for one use, and erases the copy.
func withSecret(ctx context.Context, otherwise error, secret []byte, use string, parameters js.Value, on any) []byte {
	bytes := toUint8Array(secret)
	defer zero(bytes)
	key := subtle(ctx, internal(), "importKey", "raw", bytes, parameters, false, []any{use})
	return take(subtle(ctx, otherwise, use, parameters, key, on))
}

func (*webCrypto) HKDF(ctx context.Context, secret, salt, info []byte, size int) ([]byte, error) {
	bytes := toUint8Array(salt)
	defer zero(bytes)
	parameters := algorithm("HKDF", "hash", "SHA-256", "salt", bytes, "info", toUint8Array(info))
	return withSecret(ctx, internal(), secret, "deriveBits", parameters, size*8), nil
}

func (*webCrypto) Encrypt(ctx context.Context, key, nonce, additional, text []byte) ([]byte, error) {
	return aesGCM(ctx, internal(), "encrypt", key, nonce, additional, text), nil
}

func (*webCrypto) Decrypt(ctx context.Context, key, nonce, additional, ciphertext []byte) ([]byte, error) {
	changed := &signer.Error{Kind: signer.ErrUnsealFailed, Msg: "not sealed to this key, or changed since"}
	return aesGCM(ctx, changed, "decrypt", key, nonce, additional, ciphertext), nil
}

func aesGCM(ctx context.Context, otherwise error, use string, key, nonce, additional, text []byte) []byte {
	bytes := toUint8Array(text)
	defer zero(bytes)
	parameters := algorithm("AES-GCM", "iv", toUint8Array(nonce), "additionalData", toUint8Array(additional), "tagLength", 128)
	return withSecret(ctx, otherwise, key, use, parameters, bytes)
}
