package main

import (
	"context"
	"encoding/hex"
	"syscall/js"

	"gridsigner/signer"
)

// keyring holds the keys of this module, in memory. JavaScript runs one thing
// at a time, and so do the goroutines of js/wasm, so it needs no lock.
type keyring struct {
	held map[string]*heldKey
	ids  []string // in the order they came
}

type heldKey struct {
	*signer.Key
	protection string // see SessionKey in web/src/types.ts

	// Of a P-256 key: the private CryptoKey, and the public key's 65 bytes.
	handle, point js.Value
}

// maxKeys bounds what a page that never removes a key can take.
const maxKeys = 1024

// hold holds a key under the id it had before, or a random one.
func (k *keyring) hold(id string, key *heldKey) (any, error) {
	if id == "" {
		var random [16]byte
		randomBytes{}.Read(random[:])
		id = hex.EncodeToString(random[:])
	}
	if old := k.held[id]; old != nil {
		old.Destroy() // given back once more
	} else if len(k.ids) >= maxKeys {
		key.Destroy()
		return nil, invalid("too many keys: remove some first")
	} else {
		k.ids = append(k.ids, id)
	}
	k.held[id] = key
	return k.describe(id), nil
}

// describe makes a SessionKey: plain data, nothing that can sign.
func (k *keyring) describe(id string) map[string]any {
	key := k.held[id]
	return map[string]any{
		"id":          id,
		"curve":       string(key.Public().Curve()),
		"publicKey":   key.Public().String(),
		"protection":  key.protection,
		"persistence": "memory",
	}
}

// get finds a key by its id, or by a SessionKey.
func (k *keyring) get(v js.Value) (*heldKey, error) {
	if v.Type() == js.TypeObject {
		v = object{v}.property("id")
	}
	id, err := text(v, "key")
	if err != nil {
		return nil, err
	}
	if key := k.held[id]; key != nil {
		return key, nil
	}
	return nil, &signer.Error{Kind: signer.ErrKeyNotFound, Msg: "no key of this id: it was removed, or made by another page"}
}

func (k *keyring) create(args arguments) (work, error) {
	o, err := args.options(0)
	if err != nil {
		return nil, err
	}
	curve, err := o.optionalText("curve")
	if err != nil {
		return nil, err
	}
	switch signer.Curve(curve) {
	case "", signer.P256:
		return func(ctx context.Context) (any, error) {
			key, err := generateWebCrypto(ctx)
			if err != nil {
				return nil, err
			}
			return k.hold("", key)
		}, nil
	case signer.Secp256k1:
		return func(context.Context) (any, error) {
			key, err := signer.GenerateSecp256k1(randomBytes{})
			if err != nil {
				return nil, err
			}
			return k.hold("", inMemory(key))
		}, nil
	}
	return nil, errCurve
}

func inMemory(key *signer.Key) *heldKey { return &heldKey{Key: key, protection: protectionWASMMemory} }

const (
	protectionNonExtractable = "non-extractable"
	protectionWASMMemory     = "wasm-memory"
)

var errCurve = &signer.Error{Kind: signer.ErrCurveUnsupported, Msg: "curve must be P-256 or secp256k1"}

// importKey zeroes the caller's bytes, also where it refuses them.
func (k *keyring) importKey(args arguments) (work, error) {
	o, err := args.options(0)
	bytes := o.property("privateKey")
	given := isUint8Array(bytes)
	if given {
		defer zero(bytes)
	}
	if err != nil {
		return nil, err
	}
	if handle := o.property("handle"); !absent(handle) {
		return k.adopt(o, handle)
	}
	if !given {
		return nil, invalid("privateKey must be a Uint8Array")
	}
	own := uint8Array.New(bytes) // bytes may have a length and a subarray of the page's making
	defer zero(own)
	scalar := make([]byte, own.Length())
	js.CopyBytesToGo(scalar, own)
	defer clear(scalar)
	if len(scalar) != 32 {
		return nil, &signer.Error{Kind: signer.ErrKeyMalformed, Msg: "privateKey must be 32 bytes"}
	}
	curve, err := o.text("curve")
	if err != nil {
		return nil, err
	}
	id, err := o.optionalText("id")
	if err != nil {
		return nil, err
	}
	switch signer.Curve(curve) {
	case signer.P256:
		imported, err := importWebCrypto(scalar)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (any, error) {
			key, err := imported(ctx)
			if err != nil {
				return nil, err
			}
			return k.hold(id, key)
		}, nil
	case signer.Secp256k1:
		key, err := signer.ParseSecp256k1(scalar)
		if err != nil {
			return nil, err
		}
		return func(context.Context) (any, error) { return k.hold(id, inMemory(key)) }, nil
	}
	return nil, errCurve
}

func (k *keyring) list(arguments) (work, error) {
	return func(context.Context) (any, error) {
		all := make([]any, len(k.ids))
		for i, id := range k.ids {
			all[i] = k.describe(id)
		}
		return all, nil
	}, nil
}

func (k *keyring) remove(args arguments) (work, error) {
	id, err := args.text(0, "id")
	if err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		key := k.held[id]
		if key == nil {
			return false, nil
		}
		key.Destroy()
		delete(k.held, id)
		for i := range k.ids {
			if k.ids[i] == id {
				k.ids = append(k.ids[:i], k.ids[i+1:]...)
				break
			}
		}
		return true, nil
	}, nil
}

func (k *keyring) signChallenge(args arguments) (work, error) {
	c, err := challenge(args.at(0))
	if err != nil {
		return nil, err
	}
	o, err := args.options(1)
	if err != nil {
		return nil, err
	}
	key, err := k.get(o.property("key"))
	if err != nil {
		return nil, err
	}
	in, err := intent(o.property("intent"))
	if err != nil {
		return nil, err
	}
	format, err := o.optionalText("format")
	if err != nil {
		return nil, err
	}
	clock, err := clockOption(o)
	if err != nil {
		return nil, err
	}
	if err := key.bind(o); err != nil {
		return nil, err
	}
	opt := signer.SignOptions{Intent: in, Format: signer.Format(format)}
	return func(ctx context.Context) (any, error) {
		s, err := signer.SignChallenge(ctx, key.Key, c, opt, clock.now())
		if err != nil {
			return nil, err
		}
		return map[string]any{
			"headers":   map[string]any{signer.HeaderSignature: s.Header, signer.HeaderRequestID: s.RequestID},
			"signature": s.Header,
			"requestId": s.RequestID,
			"format":    string(s.Format),
			"intent":    string(s.Intent),
		}, nil
	}, nil
}
