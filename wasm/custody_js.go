package main

import (
	"context"
	"syscall/js"

	"gridsigner/signer"
)

// The functions of this file are for the worker's own storage, and the worker
// answers no page that asks for them: whoever may call lendKey can read the
// private half.

// bind holds the key to the organization that it was held to before it was
// stored, which the worker remembers.
func (k *heldKey) bind(o object) error {
	organization, err := o.optionalText("organizationId")
	k.BindOrganization(organization)
	return err
}

// stateOf returns what has to be stored of a key besides its description: the
// organization and, of a P-256 key, the CryptoKey and the public point.
func (k *keyring) stateOf(args arguments) (work, error) {
	key, err := k.get(args.at(0))
	if err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) {
		return map[string]any{"handle": key.handle, "point": key.point, "organizationId": key.Organization()}, nil
	}, nil
}

// lendKey(id, encrypt) calls encrypt with the private half of a secp256k1 key as
// a Uint8Array, which is zeroed when encrypt returns. It resolves to what
// encrypt returned.
func (k *keyring) lend(args arguments) (work, error) {
	key, err := k.get(args.at(0))
	if err != nil {
		return nil, err
	}
	encrypt := args.at(1)
	return func(context.Context) (v any, err error) {
		err = key.Seal(func(scalar []byte) error {
			bytes := toUint8Array(scalar)
			defer bytes.Call("fill", 0)
			v = encrypt.Invoke(bytes)
			return nil
		})
		return v, err
	}, nil
}

// adopt takes a stored P-256 key. That handle and point belong together is not
// checked: if they do not, the key's signatures verify nowhere.
func (k *keyring) adopt(o object, handle js.Value) (work, error) {
	id, err := o.text("id")
	if err != nil {
		return nil, err
	}
	point := o.property("point")
	if !isUint8Array(point) {
		return nil, invalid("point must be a Uint8Array")
	}
	public, err := signer.ParseUncompressedP256(bytesOf(point))
	if err != nil {
		return nil, err
	}
	return func(context.Context) (any, error) { return k.hold(id, webCryptoKey(public, handle, point)) }, nil
}
