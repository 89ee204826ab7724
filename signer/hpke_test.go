//go:build !js

package signer

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"
)

func hostKey(t testing.TB, scalar string) (ECDH, *ecdh.PrivateKey) {
	t.Helper()
	private, err := ecdh.P256().NewPrivateKey(unhexText(t, scalar))
	if err != nil {
		t.Fatal(err)
	}
	key, err := HostECDH(private)
	if err != nil {
		t.Fatal(err)
	}
	return key, private
}

func TestHPKEVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Info, PrivateKey, PublicKey, EphemeralKey, Enc, SharedSecret, Context, Key, Nonce, AAD, Plaintext, Ciphertext string
	}](t, "hpke.json") {
		t.Run(v.Name, func(t *testing.T) {
			recipient, _ := hostKey(t, v.PrivateKey)
			sender, _ := hostKey(t, v.EphemeralKey)
			if hex.EncodeToString(sender.Public()) != v.Enc || hex.EncodeToString(recipient.Public()) != v.PublicKey {
				t.Error("the public keys are others")
			}
			if got := contextOf(t, string(unhexText(t, v.Info))); got != string(unhexText(t, v.Context)) {
				t.Errorf("context = %x", got)
			}
			h := newHPKE(HostPrimitives{}, sender.Public(), recipient.Public())
			h.context = unhexText(t, v.Context)
			for _, side := range []struct {
				key  ECDH
				peer []byte
			}{{sender, recipient.Public()}, {recipient, sender.Public()}} {
				secret, err := side.key.Agree(t.Context(), side.peer)
				if err != nil {
					t.Fatal(err)
				}
				shared, err := h.derive(t.Context(), secret, nil, hpkeKEM+"eae_prk", "\x00\x20"+hpkeKEM+"shared_secret", h.parties)
				if err != nil || hex.EncodeToString(shared) != v.SharedSecret {
					t.Errorf("shared secret = %x, %v", shared, err)
				}
				key, nonce, err := h.keys(t.Context(), side.key, side.peer)
				if err != nil || hex.EncodeToString(key) != v.Key || hex.EncodeToString(nonce) != v.Nonce {
					t.Errorf("key, nonce = %x, %x, %v", key, nonce, err)
				}
				ciphertext, err := h.Encrypt(t.Context(), key, nonce, unhexText(t, v.AAD), unhexText(t, v.Plaintext))
				if err != nil || hex.EncodeToString(ciphertext) != v.Ciphertext {
					t.Errorf("ciphertext = %x, %v", ciphertext, err)
				}
				text, err := h.Decrypt(t.Context(), key, nonce, unhexText(t, v.AAD), ciphertext)
				if err != nil || hex.EncodeToString(text) != v.Plaintext {
					t.Errorf("text = %x, %v", text, err)
				}
			}
		})
	}
}

// contextOf is the key_schedule_context of RFC 9180 for mode base and info.
func contextOf(t *testing.T, info string) string {
	t.Helper()
	context := "\x00"
	for _, labelled := range []string{"psk_id_hash", "info_hash" + info} {
		hash, err := hkdf.Extract(sha256.New, []byte(hpkeSuite+labelled), nil)
		if err != nil {
			t.Fatal(err)
		}
		context += string(hash)
	}
	return context
}

func TestHPKEContextIsTurnkeys(t *testing.T) {
	if got := contextOf(t, "turnkey_hpke"); got != hpkeContext {
		t.Errorf("context = %x\nwant      %x", hpkeContext, got)
	}
}

// The standard library opens what is sealed here, and what it seals is opened, at
// every length around AES's blocks and at some that are large.
func TestHPKEIsTheStandardLibrarys(t *testing.T) {
	kdf, aead, info := hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("turnkey_hpke")
	lengths := []int{100, 1000, 4096, 1 << 16, 1<<16 + 1}
	for n := range 66 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		text := make([]byte, n)
		rand.Read(text)
		private, err := ecdh.P256().GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key, _ := HostECDH(private)
		theirs, err := hpke.NewDHKEMPrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}

		enc, ciphertext, err := hpkeSeal(t.Context(), HostPrimitives{}, key.Public(), text)
		if err != nil {
			t.Fatal(err)
		}
		opener, err := hpke.NewRecipient(enc, theirs, kdf, aead, info)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := opener.Open(append(bytes.Clone(enc), key.Public()...), ciphertext); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes sealed here: the standard library says %v", n, err)
		}

		enc, sealer, err := hpke.NewSender(theirs.PublicKey(), kdf, aead, info)
		if err != nil {
			t.Fatal(err)
		}
		if ciphertext, err = sealer.Seal(append(bytes.Clone(enc), key.Public()...), text); err != nil {
			t.Fatal(err)
		}
		if got, err := hpkeOpen(t.Context(), HostPrimitives{}, key, enc, ciphertext); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes of the standard library: %v", n, err)
		}
		for _, i := range []int{0, n / 2, n, n + 15} {
			changed := bytes.Clone(ciphertext)
			changed[i] ^= 1
			_, err := hpkeOpen(t.Context(), HostPrimitives{}, key, enc, changed)
			wantKind(t, err, ErrUnsealFailed)
		}
	}
}

// A key that does not agree on 32 bytes is none of P-256.
func TestHPKEAgreementOfAnotherLength(t *testing.T) {
	key, _ := hostKey(t, secretHex)
	_, err := hpkeOpen(t.Context(), HostPrimitives{}, shortKey{key}, key.Public(), make([]byte, 16))
	wantKind(t, err, ErrInternal)
}

type shortKey struct{ ECDH }

func (shortKey) Agree(context.Context, []byte) ([]byte, error) { return make([]byte, 31), nil }

func TestHostECDH(t *testing.T) {
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = HostECDH(private)
	wantKind(t, err, ErrKeyMalformed)

	key, _ := hostKey(t, secretHex)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, key); got != "signer.ECDH(P-256)" {
			t.Errorf("%s shows it as %s", verb, got)
		}
	}
	_, err = key.Agree(t.Context(), make([]byte, 65))
	wantKind(t, err, ErrKeyMalformed)
}
