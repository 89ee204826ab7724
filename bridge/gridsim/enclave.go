package gridsim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
)

// enclave is a key that vouches for data as Grid's enclaves do. There is one for
// the targets of codes and another for exports.
type enclave struct {
	key    *ecdsa.PrivateKey
	public string // uncompressed, in hex: what clients pin
}

func newEnclave() (*enclave, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	return &enclave{key, hex.EncodeToString(point)}, err
}

// vouch makes a bundle of data as it leaves an enclave: a text of JSON, with the
// data in hex and the signature over its bytes. A nil enclave signs nothing, as
// the sandbox's.
func (e *enclave) vouch(content any) (bundle string, err error) {
	data, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	var signature []byte
	var public string
	if e != nil {
		digest := sha256.Sum256(data)
		if signature, err = ecdsa.SignASN1(rand.Reader, e.key, digest[:]); err != nil {
			return "", err
		}
		public = e.public
	}
	text, err := json.Marshal(struct {
		Version             string `json:"version"`
		Data                string `json:"data"`
		DataSignature       string `json:"dataSignature"`
		EnclaveQuorumPublic string `json:"enclaveQuorumPublic"`
	}{"v1.0.0", hex.EncodeToString(data), hex.EncodeToString(signature), public})
	return string(text), err
}

// token makes a JWT of claims, signed by the enclave with ES256 (RFC 7518, 3.4).
func (e *enclave) token(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	const header = `{"alg":"ES256","typ":"JWT","kid":"turnkey"}`
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, e.key, digest[:])
	if err != nil {
		return "", err
	}
	var signature [64]byte // r || s, each of 32 bytes
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature[:]), nil
}
