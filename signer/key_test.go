package signer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

const someScalar = "487f361ddfd73440e707f4daa6775b376859e8a3c9f29b3bb694a12927c0213c"

func secp256k1Key(t *testing.T) *Key {
	t.Helper()
	scalar, err := hex.DecodeString(someScalar)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseSecp256k1(scalar)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSealLendsTheScalarAndTakesItBack(t *testing.T) {
	key := secp256k1Key(t)
	refusal := errors.New("no")
	var lent []byte
	err := key.Seal(func(scalar []byte) error {
		if got := hex.EncodeToString(scalar); got != someScalar {
			t.Errorf("lent %s", got)
		}
		lent = scalar
		return refusal
	})
	if err != refusal {
		t.Errorf("error = %v, want encrypt's own", err)
	}
	if !bytes.Equal(lent, make([]byte, 32)) {
		t.Error("the lent bytes are not zeroed")
	}
}

func TestSealZeroesWhenEncryptPanics(t *testing.T) {
	key := secp256k1Key(t)
	var lent []byte
	func() {
		defer func() { _ = recover() }()
		_ = key.Seal(func(scalar []byte) error { lent = scalar; panic("in encrypt") })
	}()
	if !bytes.Equal(lent, make([]byte, 32)) {
		t.Error("the lent bytes are not zeroed")
	}
}

func TestSealHasNothingToLend(t *testing.T) {
	destroyed := secp256k1Key(t)
	destroyed.Destroy()
	keys := map[string]*Key{"destroyed": destroyed, "held elsewhere": NewKey(secp256k1Key(t).Public(), nil, nil)}
	if parsers[P256] != nil {
		keys["P-256"] = parseKey(t, P256, someScalar)
	}
	for name, key := range keys {
		err := key.Seal(func([]byte) error {
			t.Errorf("%s: something was lent", name)
			return nil
		})
		if !errors.Is(err, ErrKeyNotFound) {
			t.Errorf("%s: error = %v, want KEY_NOT_FOUND", name, err)
		}
	}
}

// The form of a key that WebCrypto holds, and what is not quite it. Whether it is
// a point is for whoever verifies to find out.
func TestP256PublicKey(t *testing.T) {
	const x = "f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316"
	for _, prefix := range []string{"02", "03"} {
		compressed := unhexText(t, prefix+x)
		key, err := P256PublicKey(compressed)
		if err != nil || key.Curve() != P256 || key.String() != prefix+x {
			t.Errorf("key = %s %s, %v", key.Curve(), key, err)
		}
	}
	for _, bad := range []string{"", "02", x, "00" + x, "01" + x, "04" + x, "06" + x, "82" + x, "02" + x[2:], "02" + x + "00", "04" + x + x} {
		_, err := P256PublicKey(unhexText(t, bad))
		wantKind(t, err, ErrKeyMalformed)
	}
}

// A curve that is not ours has no keys, no scheme and no signatures.
func TestUnknownCurve(t *testing.T) {
	for _, curve := range []Curve{"", "P-384", "p-256"} {
		if got := curve.Scheme(); got != "" {
			t.Errorf("scheme of %q = %q", curve, got)
		}
		_, err := encodeDER(curve, bytes.Repeat([]byte{1}, 64))
		wantKind(t, err, ErrSignatureMalformed)
	}
}
