package main

import (
	"context"
	"syscall/js"

	"gridsigner/signer"
)

// keyring holds secp256k1 keys, which browsers cannot, each for as long as it is in use. P-256 keys are
// WebCrypto's: no half of one is ever in here. JavaScript runs one thing at a time, and so do the goroutines of
// js/wasm, so it needs no lock.
type keyring map[string]*signer.Key

// maxKeys bounds what a page that never removes a key can take.
const maxKeys = 1024

var errCurve = &signer.Error{Kind: signer.ErrCurveUnsupported, Msg: "the module holds secp256k1 keys alone: a P-256 key is {curve, publicKey, sign}"}

// hold takes a key under a random id, which is all that ever names it.
func (k keyring) hold(key *signer.Key) any {
	if len(k) >= maxKeys {
		key.Destroy()
		panic(invalid("too many keys: remove some first"))
	}
	var random [16]byte
	randomBytes{}.Read(random[:])
	id := signer.EncodeHex(random[:])
	k[id] = key
	return map[string]any{"id": id, "curve": string(signer.Secp256k1), "publicKey": key.Public().String()}
}

// held finds a key by its id.
func (k keyring) held(id js.Value) *signer.Key {
	if key := k[text(id, "key")]; key != nil {
		return key
	}
	panic(&signer.Error{Kind: signer.ErrKeyNotFound, Msg: "no key of this id: it was removed, or never made here"})
}

// key reads the key of a call that signs: one that is held here, by its id or as createKey returned it, or a P-256 key with a function that signs and
// returns r||s, as WebCrypto's does.
func (k keyring) key(v js.Value) *signer.Key {
	if v.Type() != js.TypeObject {
		return k.held(v)
	}
	o := fieldsOf(v, "key")
	sign := o.function("sign")
	if sign.IsUndefined() {
		return k.held(o.property("id"))
	}
	if signer.Curve(o.text("curve")) != signer.P256 {
		panic(errCurve)
	}
	return signer.NewKey(compressedKey(o), func(ctx context.Context, message []byte) ([]byte, error) {
		failed := &signer.Error{Kind: signer.ErrInternal, Msg: "the function sign of the key failed"}
		rs, err := callback(ctx, failed, sign, toUint8Array(message))
		if err != nil {
			return nil, err
		}
		return bytesOf(rs), nil
	}, nil)
}

// compressedKey reads publicKey, of which only the form is checked.
func compressedKey(o fields) signer.PublicKey {
	compressed, _ := signer.DecodeHex(o.text("publicKey"))
	return must(signer.P256PublicKey(compressed))
}

func (k keyring) create(call *call) work {
	ofSecp256k1(call.options(0))
	return func(context.Context) any { return k.hold(must(signer.GenerateSecp256k1(randomBytes{}))) }
}

// importKey zeroes the caller's bytes, also where it refuses them.
func (k keyring) importKey(call *call) work {
	bytes := object{call.at(0)}.own("privateKey")
	if !isUint8Array(bytes) {
		panic(invalid("privateKey must be a Uint8Array"))
	}
	defer zero(bytes)
	ofSecp256k1(call.options(0))
	own := uint8Array.New(bytes) // bytes may have a length and a subarray of the page's making
	defer zero(own)
	scalar := make([]byte, own.Length())
	js.CopyBytesToGo(scalar, own)
	defer clear(scalar)
	key := must(signer.ParseSecp256k1(scalar))
	return func(context.Context) any { return k.hold(key) }
}

func ofSecp256k1(o fields) {
	if signer.Curve(o.text("curve")) != signer.Secp256k1 {
		panic(errCurve)
	}
}

func (k keyring) remove(call *call) work {
	id := text(call.at(0), "id")
	return func(context.Context) any {
		key := k[id]
		if key != nil {
			key.Destroy()
			delete(k, id)
		}
		return key != nil
	}
}

// lend calls encrypt with the private half of a key as a Uint8Array, which is zeroed when encrypt returns, and
// resolves to what that returned. It is for the worker's own storage, and the worker answers no page that asks for
// it: whoever may call it can read the key.
func (k keyring) lend(call *call) work {
	key, encrypt := k.held(call.at(0)), call.at(1)
	return func(context.Context) (v any) {
		refuse(key.Seal(func(scalar []byte) error {
			bytes := toUint8Array(scalar)
			defer zero(bytes)
			v = encrypt.Invoke(bytes)
			return nil
		}))
		return v
	}
}

var (
	uint8Array      = js.Global().Get("Uint8Array")
	uint8ArrayProto = uint8Array.Get("prototype")
	fill            = uint8ArrayProto.Get("fill")
)

// isUint8Array asks isView first, which no proxy passes. Copy what it says yes to: its properties may be the page's.
func isUint8Array(v js.Value) bool {
	return js.Global().Get("ArrayBuffer").Call("isView", v).Bool() && uint8ArrayProto.Call("isPrototypeOf", v).Bool()
}

// zero overwrites an array that may be the page's.
func zero(v js.Value) { reflectApply.Invoke(fill, v, []any{0}) }

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

// randomBytes is crypto.getRandomValues as an io.Reader. crypto/rand ends there too, by way of 20 kB of generator.
type randomBytes struct{}

func (randomBytes) Read(b []byte) (int, error) {
	v := uint8Array.New(len(b))
	js.Global().Get("crypto").Call("getRandomValues", v)
	js.CopyBytesToGo(b, v)
	zero(v)
	return len(b), nil
}
