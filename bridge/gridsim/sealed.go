package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"slices"

	"github.com/decred/base58"
)

// sealInfo is the info of HPKE in all that Grid seals.
const sealInfo = "turnkey_hpke"

// newSealedKey makes a P-256 key for a session and seals its private half, as 32
// bytes, to the client's key. The text is base58 of
//
//	<encapsulated key, compressed: 33> <ciphertext: 32> <tag: 16> <checksum: 4>
//
// with the checksum of Bitcoin: the first bytes of a double SHA-256.
func newSealedKey(to *ecdh.PublicKey) (public compressedKey, sealed string, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return public, "", err
	}
	scalar, err := key.Bytes()
	if err != nil {
		return public, "", err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return public, "", err
	}
	encapsulated, ciphertext, err := seal(to, scalar)
	if err != nil {
		return public, "", err
	}
	short := compress(encapsulated)
	body := slices.Concat(short[:], ciphertext)
	sum := sha256.Sum256(body)
	sum = sha256.Sum256(sum[:])
	return compress(point), base58.Encode(append(body, sum[:4]...)), nil
}

// openSealed decrypts what was sealed to a key of the simulator's.
func openSealed(key *ecdh.PrivateKey, encapsulated, ciphertext []byte) ([]byte, error) {
	private, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return nil, err
	}
	recipient, err := hpke.NewRecipient(encapsulated, private, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo))
	if err != nil {
		return nil, err
	}
	return recipient.Open(slices.Concat(encapsulated, key.PublicKey().Bytes()), ciphertext)
}

// seal encrypts for a P-256 key by HPKE (RFC 9180) in base mode, with
// DHKEM(P-256, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM. What is authenticated
// besides are both public keys, uncompressed: the encapsulated one, then the
// recipient's.
func seal(to *ecdh.PublicKey, plaintext []byte) (encapsulated, ciphertext []byte, err error) {
	recipient, err := hpke.NewDHKEMPublicKey(to)
	if err != nil {
		return nil, nil, err
	}
	encapsulated, sender, err := hpke.NewSender(recipient, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo))
	if err != nil {
		return nil, nil, err
	}
	ciphertext, err = sender.Seal(slices.Concat(encapsulated, to.Bytes()), plaintext)
	return encapsulated, ciphertext, err
}
