package gridsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
)

// nicknameForm is what Grid takes for a nickname, after trimming.
var nicknameForm = regexp.MustCompile(`^[\p{L}\p{N} ._\-'()]{1,100}$`)

// transports are the ways to reach an authenticator that Grid documents.
var transports = []string{"usb", "nfc", "ble", "internal", "hybrid"}

// passkey is a new passkey as a client submits it.
type passkey struct {
	nickname                                         string
	challenge, credentialID, clientData, attestation encoded
	transports                                       []string
}

// encoded is base64url without padding, as browsers write it, and what it says.
type encoded struct {
	text string
	raw  []byte
}

// encodedField returns a field that is base64url of something.
func encodedField(fields map[string]json.RawMessage, name string) (value encoded, ok bool) {
	value.text, _ = stringField(fields, name)
	raw, err := decodeBase64(base64.RawURLEncoding, value.text)
	value.raw = raw
	return value, err == nil && len(raw) > 0
}

// readPasskey reads the fields of a PASSKEY addition, without judging what is in
// them.
func readPasskey(body map[string]json.RawMessage) (p passkey, err error) {
	p.nickname, _ = stringField(body, "nickname")
	p.nickname = strings.TrimSpace(p.nickname)
	if !nicknameForm.MatchString(p.nickname) {
		return p, nicknameInvalid
	}
	var ok bool
	if p.challenge, ok = encodedField(body, "challenge"); !ok {
		return p, registrationMalformed
	}
	fields, err := parseObject(body["attestation"], attestationMissing, attestationMissing)
	if err != nil {
		return p, err
	}
	var idOK, clientDataOK, attestationOK bool
	p.credentialID, idOK = encodedField(fields, "credentialId")
	p.clientData, clientDataOK = encodedField(fields, "clientDataJson")
	p.attestation, attestationOK = encodedField(fields, "attestationObject")
	if !idOK || !clientDataOK || !attestationOK {
		return p, attestationMissing
	}
	p.transports = []string{} // never null
	if raw, ok := fields["transports"]; ok {
		unknown := func(name string) bool { return !slices.Contains(transports, name) }
		if json.Unmarshal(raw, &p.transports) != nil || p.transports == nil || slices.ContainsFunc(p.transports, unknown) {
			return p, transportsInvalid
		}
	}
	return p, nil
}

// registered is what is kept of a passkey, to sign in with.
type registered struct {
	key      any // as webauthncose reads it
	rpIDHash [sha256.Size]byte
	counter  uint32 // of its signatures; zero if it does not count them
}

// addition checks the registration, as the relying party of the pages.
func (p passkey) addition(pages pages) (addition, error) {
	host, err := p.checkClientData(pages)
	if err != nil {
		return addition{}, err
	}
	kept, err := p.checkAttestation(pages, host)
	if err != nil {
		return addition{}, err
	}
	return addition{
		credential: &credential{kind: typePasskey, nickname: p.nickname, passkeyID: p.credentialID.text, passkey: kept},
		activity:   "ACTIVITY_TYPE_CREATE_AUTHENTICATORS_V2",
		parameters: map[string]any{"authenticators": []map[string]any{{
			"attestation": map[string]any{
				"attestationObject": p.attestation.text,
				"clientDataJson":    p.clientData.text,
				"credentialId":      p.credentialID.text,
				"transports":        p.transports,
			},
			"authenticatorName": p.nickname,
			"challenge":         p.challenge.text,
		}}},
		registration: sha256.Sum256([]byte(p.challenge.text)),
	}, nil
}

// checkClientData checks what the browser says about the registration, and
// returns the host that it says it was made on.
func (p passkey) checkClientData(pages pages) (host string, err error) {
	fields, err := parseObject(p.clientData.raw, clientDataMalformed, clientDataMalformed)
	if err != nil {
		return "", err
	}
	kind, _ := stringField(fields, "type")
	challenge, _ := stringField(fields, "challenge")
	origin, _ := stringField(fields, "origin")
	host, ok := pages.host(origin)
	switch {
	case kind != "webauthn.create":
		return "", clientDataOfAnotherType
	case challenge != p.challenge.text:
		return "", registrationMismatch
	case !ok:
		return "", originInvalid
	}
	return host, nil
}

// checkAttestation checks what the authenticator says, for a page on host.
func (p passkey) checkAttestation(pages pages, host string) (registered, error) {
	var object protocol.AttestationObject
	if err := webauthncbor.Unmarshal(p.attestation.raw, &object); err != nil {
		return registered{}, attestationMalformed
	}
	data := &object.AuthData
	if err := data.Unmarshal(object.RawAuthData); err != nil {
		return registered{}, authDataMalformed
	}
	kept := registered{rpIDHash: [sha256.Size]byte(data.RPIDHash), counter: data.Counter}
	switch {
	case !pages.mayName(kept.rpIDHash, host):
		return registered{}, relyingPartyMismatch
	case !data.Flags.UserPresent():
		return registered{}, userAbsent
	case !data.Flags.HasAttestedCredentialData():
		return registered{}, attestedDataMissing
	case !bytes.Equal(data.AttData.CredentialID, p.credentialID.raw):
		return registered{}, passkeyIDMismatch
	}
	var err error
	if kept.key, err = webauthncose.ParsePublicKey(data.AttData.CredentialPublicKey); err != nil {
		return registered{}, passkeyKeyInvalid
	}
	clientDataHash := sha256.Sum256(p.clientData.raw)
	if object.VerifyAttestation(clientDataHash[:], nil, protocol.AttestationPolicy{}, protocol.SignaturePolicy{}) != nil {
		return registered{}, attestationInvalid
	}
	return kept, nil
}
