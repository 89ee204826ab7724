package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/decred/base58"
)

// unseal opens a sealed session key as a client does.
func unseal(t testing.TB, bundle string, to *ecdh.PrivateKey) []byte {
	t.Helper()
	body := base58.Decode(bundle)
	if len(body) != 33+32+16+4 {
		t.Fatalf("the bundle holds %d bytes", len(body))
	}
	body, checksum := body[:len(body)-4], body[len(body)-4:]
	sum := sha256.Sum256(body)
	sum = sha256.Sum256(sum[:])
	if !slices.Equal(checksum, sum[:4]) {
		t.Fatalf("checksum %x, want %x", checksum, sum[:4])
	}
	x, y := elliptic.UnmarshalCompressed(elliptic.P256(), body[:33])
	if x == nil {
		t.Fatal("the encapsulated key is not on P-256")
	}
	encapsulated := make([]byte, 65)
	encapsulated[0] = 4
	x.FillBytes(encapsulated[1:33])
	y.FillBytes(encapsulated[33:])
	private, err := hpke.NewDHKEMPrivateKey(to)
	if err != nil {
		t.Fatal(err)
	}
	recipient, err := hpke.NewRecipient(encapsulated, private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("turnkey_hpke"))
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := recipient.Open(slices.Concat(encapsulated, to.PublicKey().Bytes()), body[33:])
	if err != nil {
		t.Fatal(err)
	}
	return plaintext
}

// TestUnseal holds unseal, which the other tests trust, against the vector that
// Grid's schema and Turnkey's own tests share.
func TestUnseal(t *testing.T) {
	const bundle = "w99a5xV6A75TfoAUkZn869fVyDYvgVsKrawMALZXmrauZd8hEv66EkPU1Z42CUaHESQjcA5bqd8dynTGBMLWB9ewtXWPEVbZvocB4Tw2K1vQVp7uwjf"
	to, err := ecdh.P256().NewPrivateKey(unhex(t, "20fa65df11f24833790ae283fc9a0c215eecbbc589549767977994dc69d05a56"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "67ee05fc3bdf4161bc70701c221d8d77180294cefcfcea64ba83c4d4c732fcb9"
	if got := hex.EncodeToString(unseal(t, bundle, to)); got != want {
		t.Errorf("the key is %s, want %s", got, want)
	}
}

// TestSealedKey tests that whoever sends an uncompressed key gets one that signs
// for the new session, by signing in and by a refresh.
func TestSealedKey(t *testing.T) {
	w := newWorld(t, Config{})
	to, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := hex.EncodeToString(to.PublicKey().Bytes())
	started := w.send("POST", verifyPath(credential1), verifyBody(jwt(t, w.claims(credential1, public)), public))
	started.want(t, 200, "")
	for range 2 {
		session, bundle := started.text("id"), started.text("encryptedSessionSigningKey")
		scalar, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), unseal(t, bundle, to))
		if err != nil {
			t.Fatal(err)
		}
		started = w.signed(p256Key(t, scalar), "POST", refreshOf(session), refreshBody(public))
		started.want(t, 201, "")
		if started.text("encryptedSessionSigningKey") == bundle {
			t.Error("two sessions have the same key")
		}
	}
}
