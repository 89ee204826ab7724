package gridsim

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
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

// passkey is a new passkey as a client submits it: base64url without padding, as
// browsers write it.
type passkey struct {
	nickname, challenge                            string
	credentialID, clientDataJSON, attestation      string
	rawCredentialID, rawClientData, rawAttestation []byte
	transports                                     []string
}

// readPasskey reads the fields of a PASSKEY addition, without judging what is in
// them.
func readPasskey(body map[string]json.RawMessage) (p passkey, err error) {
	p.nickname, _ = stringField(body, "nickname")
	p.nickname = strings.TrimSpace(p.nickname)
	if !nicknameForm.MatchString(p.nickname) {
		return p, nicknameInvalid
	}
	p.challenge, _ = stringField(body, "challenge")
	if raw, err := decodeBase64(base64.RawURLEncoding, p.challenge); err != nil || len(raw) == 0 {
		return p, registrationMalformed
	}
	fields, err := parseObject(body["attestation"], attestationMissing, attestationMissing)
	if err != nil {
		return p, err
	}
	for _, field := range []struct {
		name string
		text *string
		raw  *[]byte
	}{
		{"credentialId", &p.credentialID, &p.rawCredentialID},
		{"clientDataJson", &p.clientDataJSON, &p.rawClientData},
		{"attestationObject", &p.attestation, &p.rawAttestation},
	} {
		*field.text, _ = stringField(fields, field.name)
		if *field.raw, err = decodeBase64(base64.RawURLEncoding, *field.text); err != nil || len(*field.raw) == 0 {
			return p, attestationMissing
		}
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

// addition checks the registration, as a relying party that knows no rpId: Grid
// is not told one.
func (p passkey) addition() (addition, error) {
	host, err := p.checkClientData()
	if err != nil {
		return addition{}, err
	}
	if err := p.checkAttestation(host); err != nil {
		return addition{}, err
	}
	return addition{
		credential: &credential{kind: typePasskey, nickname: p.nickname, passkeyID: p.credentialID},
		activity:   "ACTIVITY_TYPE_CREATE_AUTHENTICATORS_V2",
		parameters: map[string]any{"authenticators": []map[string]any{{
			"attestation": map[string]any{
				"attestationObject": p.attestation,
				"clientDataJson":    p.clientDataJSON,
				"credentialId":      p.credentialID,
				"transports":        p.transports,
			},
			"authenticatorName": p.nickname,
			"challenge":         p.challenge,
		}}},
		registration: sha256.Sum256([]byte(p.challenge)),
	}, nil
}

// checkClientData checks what the browser says about the registration, and
// returns the host that it says it was made on.
func (p passkey) checkClientData() (host string, err error) {
	fields, err := parseObject(p.rawClientData, clientDataMalformed, clientDataMalformed)
	if err != nil {
		return "", err
	}
	kind, _ := stringField(fields, "type")
	challenge, _ := stringField(fields, "challenge")
	origin, _ := stringField(fields, "origin")
	host, ok := secureHost(origin)
	switch {
	case kind != "webauthn.create":
		return "", clientDataOfAnotherType
	case challenge != p.challenge:
		return "", registrationMismatch
	case !ok:
		return "", originInvalid
	}
	return host, nil
}

// secureHost returns the host of an origin where browsers allow passkeys.
func secureHost(origin string) (host string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || origin != u.Scheme+"://"+u.Host {
		return "", false
	}
	host = u.Hostname()
	return host, u.Scheme == "https" || u.Scheme == "http" && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
}

// checkAttestation checks what the authenticator says, for a page on host.
func (p passkey) checkAttestation(host string) error {
	var object protocol.AttestationObject
	if err := webauthncbor.Unmarshal(p.rawAttestation, &object); err != nil {
		return attestationMalformed
	}
	data := &object.AuthData
	if err := data.Unmarshal(object.RawAuthData); err != nil {
		return authDataMalformed
	}
	switch {
	case !isRelyingParty(data.RPIDHash, host):
		return relyingPartyMismatch
	case !data.Flags.UserPresent():
		return userAbsent
	case !data.Flags.HasAttestedCredentialData():
		return attestedDataMissing
	case !bytes.Equal(data.AttData.CredentialID, p.rawCredentialID):
		return passkeyIDMismatch
	}
	if _, err := webauthncose.ParsePublicKey(data.AttData.CredentialPublicKey); err != nil {
		return passkeyKeyInvalid
	}
	clientDataHash := sha256.Sum256(p.rawClientData)
	if object.VerifyAttestation(clientDataHash[:], nil, protocol.AttestationPolicy{}, protocol.SignaturePolicy{}) != nil {
		return attestationInvalid
	}
	return nil
}

// isRelyingParty tells whether the hash is of an rpId that a page on host may
// name: the host itself, or a parent domain with a dot in it. Which of those are
// public suffixes, browsers know.
func isRelyingParty(hash []byte, host string) bool {
	for id := host; ; {
		if sum := sha256.Sum256([]byte(id)); bytes.Equal(hash, sum[:]) {
			return true
		}
		_, parent, ok := strings.Cut(id, ".")
		if !ok || !strings.Contains(parent, ".") {
			return false
		}
		id = parent
	}
}
