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

// bundle is data as it leaves an enclave: a text of JSON, with the data in hex
// and the signature over its bytes.
type bundle struct {
	Version             string `json:"version"`
	Data                string `json:"data"`
	DataSignature       string `json:"dataSignature"`
	EnclaveQuorumPublic string `json:"enclaveQuorumPublic"`
}

func (b bundle) text() (string, error) {
	text, err := json.Marshal(b)
	return string(text), err
}

// newBundle makes a bundle that nobody has vouched for, as those of the sandbox.
func newBundle(content any) (b bundle, data []byte, err error) {
	data, err = json.Marshal(content)
	return bundle{Version: "v1.0.0", Data: hex.EncodeToString(data)}, data, err
}

// vouch makes a bundle with the enclave's signature.
func (e *enclave) vouch(content any) (bundle, error) {
	b, data, err := newBundle(content)
	if err != nil {
		return bundle{}, err
	}
	digest := sha256.Sum256(data)
	signature, err := ecdsa.SignASN1(rand.Reader, e.key, digest[:])
	b.DataSignature, b.EnclaveQuorumPublic = hex.EncodeToString(signature), e.public
	return b, err
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
