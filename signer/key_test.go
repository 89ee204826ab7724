package signer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"
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
	p256, err := GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*Key{
		"destroyed":      destroyed,
		"held elsewhere": NewKey(secp256k1Key(t).Public(), nil, nil),
		"P-256":          p256,
	} {
		err := key.Seal(func([]byte) error {
			t.Errorf("%s: something was lent", name)
			return nil
		})
		if !errors.Is(err, ErrKeyNotFound) {
			t.Errorf("%s: error = %v, want KEY_NOT_FOUND", name, err)
		}
	}
}

// A key that was stored is held to the organization of its earlier life.
func TestOrganizationSurvivesStorage(t *testing.T) {
	now := time.Date(2026, 4, 8, 15, 30, 0, 0, time.UTC)
	const payload = `{"organizationId":"org_a","parameters":{"apiKeyIds":["key"],"userId":"user"},"timestampMs":"1","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`
	sign := func(key *Key, organization string) error {
		c := Challenge{Payload: strings.Replace(payload, "org_a", organization, 1), ExpiresAt: now.Add(time.Minute)}
		_, err := SignChallenge(t.Context(), key, c, SignOptions{}, now)
		return err
	}
	first := secp256k1Key(t)
	if got := first.Organization(); got != "" {
		t.Errorf("organization of a new key = %q", got)
	}
	if err := sign(first, "org_a"); err != nil {
		t.Fatal(err)
	}
	restored := secp256k1Key(t)
	restored.BindOrganization("") // stored before it signed
	restored.BindOrganization(first.Organization())
	restored.BindOrganization("org_b") // comes too late
	if got := restored.Organization(); got != "org_a" {
		t.Errorf("organization = %q, want org_a", got)
	}
	if err := sign(restored, "org_b"); !errors.Is(err, ErrOrganizationMismatch) {
		t.Errorf("signing for another organization: %v", err)
	}
	if err := sign(restored, "org_a"); err != nil {
		t.Errorf("signing for its own organization: %v", err)
	}
}

// The raw form of WebCrypto, and what is not quite it.
func TestParseUncompressedP256(t *testing.T) {
	const x, y = "f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316", "c24970ad7811ccd9da7f1b88f202bebac770663ef58ba68346186dd778200dd4"
	key, err := ParseUncompressedP256(unhexText(t, "04"+x+y))
	if err != nil || key.Curve() != P256 || key.String() != "02"+x {
		t.Errorf("key = %s %s, %v", key.Curve(), key, err)
	}
	for _, bad := range []string{
		"", "00", "02" + x, "04" + x, "04" + x + y[2:], "04" + x + y + "00", "06" + x + y, "04" + y + x, "04" + strings.Repeat("00", 64),
	} {
		_, err := ParseUncompressedP256(unhexText(t, bad))
		wantKind(t, err, ErrKeyMalformed)
	}
}

// A curve that is not ours has no keys, no scheme and no signatures.
func TestUnknownCurve(t *testing.T) {
	for _, curve := range []Curve{"", "P-384", "p-256"} {
		if got := curve.Scheme(); got != "" {
			t.Errorf("scheme of %q = %q", curve, got)
		}
		_, err := ParsePublicKey(curve, secp256k1Key(t).public.sec1[:])
		wantKind(t, err, ErrKeyMalformed)
		_, err = encodeDER(curve, bytes.Repeat([]byte{1}, 64))
		wantKind(t, err, ErrSignatureMalformed)
	}
	if (PublicKey{}).Verify(nil, unhexText(t, "3006020101020101")) {
		t.Error("the zero key verifies")
	}
}
