package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// The customer of every account.
const (
	customerEmail = "ada@example.com"
	customerPhone = "+12025550123"
)

// contacts are where codes would be sent, by the type of the credential: how
// payloads set them, and why an account cannot have a second one.
var contacts = map[string]struct {
	address, activity, parameter string
	exists                       reason
}{
	typeEmailOTP: {customerEmail, "ACTIVITY_TYPE_UPDATE_USER_EMAIL", "userEmail", emailOTPExists},
	typeSMSOTP:   {customerPhone, "ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER", "userPhoneNumber", smsOTPExists},
}

// sendsCodes tells whether whoever signs in with the credential gets a code.
func (c *credential) sendsCodes() bool { return contacts[c.kind].address != "" }

// contactAddition adds a way to sign in by codes.
func contactAddition(kind string) addition {
	contact := contacts[kind]
	return addition{
		credential: &credential{kind: kind, nickname: contact.address},
		activity:   contact.activity,
		parameters: map[string]any{contact.parameter: contact.address},
	}
}

// newOTPTarget makes the bundle with the key that a code is to be sealed to: a
// fresh one each time, signed by the simulator's quorum key, as Grid's enclave
// signs it.
func (s *Sim) newOTPTarget() (bundle string, err error) {
	target, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(map[string]string{"targetPublic": hex.EncodeToString(target.PublicKey().Bytes())})
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(data)
	signature, err := ecdsa.SignASN1(rand.Reader, s.quorum, digest[:])
	if err != nil {
		return "", err
	}
	quorumPublic, err := s.quorum.PublicKey.Bytes()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(struct {
		Version             string `json:"version"`
		Data                string `json:"data"`
		DataSignature       string `json:"dataSignature"`
		EnclaveQuorumPublic string `json:"enclaveQuorumPublic"`
	}{"v1.0.0", hex.EncodeToString(data), hex.EncodeToString(signature), hex.EncodeToString(quorumPublic)})
	return string(text), err
}
