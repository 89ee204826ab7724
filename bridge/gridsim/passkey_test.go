package gridsim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/go-webauthn/webauthn/protocol/webauthncbor"
)

// authenticator makes registrations of a new passkey as a browser would, with
// whatever is wrong with them. It writes the layout of WebAuthn by itself, and
// signs itself for its own key.
type authenticator struct {
	private *ecdsa.PrivateKey

	nickname, challenge, id string
	clientData              string
	transports              any // JSON; nil for none
	rpID                    string
	counter                 uint32
	flags                   byte
	format                  string
	key                     map[int]any // COSE
	idInside                string      // the credential id in authData
	statement               func(authData, clientDataHash []byte) map[string]any
	trailing                string // of authData
}

const (
	flagUserPresent  = 1 << 0
	flagAttestedData = 1 << 6
)

// newPasskey is a good registration of a new passkey, attested by nobody.
func newPasskey() *authenticator {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	p := &authenticator{
		private:    private,
		nickname:   "Laptop",
		challenge:  encode(rand.Text()),
		id:         rand.Text(),
		transports: []string{"internal", "hybrid"},
		rpID:       "example.com",
		flags:      flagUserPresent | flagAttestedData,
		format:     "none",
		key:        map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]},
		statement:  func([]byte, []byte) map[string]any { return map[string]any{} },
	}
	p.idInside = p.id
	p.clientData = p.clientDataFor("webauthn.create", p.challenge, "https://wallet.example.com")
	return p
}

func (p *authenticator) clientDataFor(kind, challenge, origin string) string {
	return `{"type":"` + kind + `","challenge":"` + challenge + `","origin":"` + origin + `","crossOrigin":false}`
}

// selfAttest has the passkey's own key attest it.
func (p *authenticator) selfAttest() {
	p.format = "packed"
	p.statement = func(authData, clientDataHash []byte) map[string]any {
		digest := sha256.Sum256(slices.Concat(authData, clientDataHash))
		der, err := ecdsa.SignASN1(rand.Reader, p.private, digest[:])
		if err != nil {
			panic(err)
		}
		return map[string]any{"alg": -7, "sig": der}
	}
}

func (p *authenticator) authData(t testing.TB) []byte {
	t.Helper()
	rpIDHash := sha256.Sum256([]byte(p.rpID))
	data := binary.BigEndian.AppendUint32(append(rpIDHash[:], p.flags), p.counter)
	if p.flags&flagAttestedData != 0 {
		key, err := webauthncbor.Marshal(p.key)
		if err != nil {
			t.Fatal(err)
		}
		aaguid, length := make([]byte, 16), []byte{byte(len(p.idInside) >> 8), byte(len(p.idInside))}
		data = slices.Concat(data, aaguid, length, []byte(p.idInside), key)
	}
	return append(data, p.trailing...)
}

func (p *authenticator) attestationObject(t testing.TB) []byte {
	t.Helper()
	authData, clientDataHash := p.authData(t), sha256.Sum256([]byte(p.clientData))
	object, err := webauthncbor.Marshal(map[string]any{
		"fmt": p.format, "attStmt": p.statement(authData, clientDataHash[:]), "authData": authData,
	})
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// body is the request that adds the passkey. Its parts are those of the
// authenticator, unless change has others.
func (p *authenticator) body(t testing.TB, change ...func(body, attestation map[string]any)) string {
	t.Helper()
	attestation := map[string]any{
		"credentialId": encode(p.id), "clientDataJson": encode(p.clientData), "attestationObject": encode(string(p.attestationObject(t))),
	}
	if p.transports != nil {
		attestation["transports"] = p.transports
	}
	body := map[string]any{
		"type": "PASSKEY", "accountId": seedAccountID, "nickname": p.nickname, "challenge": p.challenge, "attestation": attestation,
	}
	for _, f := range change {
		f(body, attestation)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPasskeyRegistration(t *testing.T) {
	inBody := func(name string, value any) func(state, *authenticator) string {
		return func(s state, p *authenticator) string {
			return p.body(s.t, func(body, _ map[string]any) { body[name] = value })
		}
	}
	inAttestation := func(name string, value any) func(state, *authenticator) string {
		return func(s state, p *authenticator) string {
			return p.body(s.t, func(_, attestation map[string]any) { attestation[name] = value })
		}
	}
	// changed is a registration with something else in it.
	changed := func(change func(*authenticator)) func(state, *authenticator) string {
		return func(s state, p *authenticator) string {
			change(p)
			return p.body(s.t)
		}
	}
	from := func(origin, rpID string) func(state, *authenticator) string {
		return changed(func(p *authenticator) {
			p.clientData, p.rpID = p.clientDataFor("webauthn.create", p.challenge, origin), rpID
		})
	}
	// after has another registration go before this one.
	after := func(first func(p *authenticator) *authenticator) func(state, *authenticator) string {
		return func(s state, p *authenticator) string {
			s.signed(s.k1, "POST", addPath, first(p).body(s.t)).want(s.t, 201, "")
			return p.body(s.t)
		}
	}
	tests := []struct {
		name   string
		reason reason // "" for a passkey
		body   func(state, *authenticator) string
	}{
		{"none", "", changed(func(*authenticator) {})},
		{"packed-by-itself", "", changed((*authenticator).selfAttest)},
		{"no-transports", "", changed(func(p *authenticator) { p.transports = nil })},
		{"user-verified", "", changed(func(p *authenticator) { p.flags |= 1 << 2 })},
		{"more-in-client-data", "", changed(func(p *authenticator) {
			p.clientData = strings.Replace(p.clientData, "{", `{"other_keys_can_be_added_here":"yes",`, 1)
		})},

		{"nickname-missing", nicknameInvalid, inBody("nickname", nil)},
		{"nickname-empty", nicknameInvalid, inBody("nickname", " \t")},
		{"nickname-trimmed", "", inBody("nickname", " "+strings.Repeat("n", 100)+"\n")},
		{"nickname-long", nicknameInvalid, inBody("nickname", strings.Repeat("é", 101))},
		{"nickname-unicode", "", inBody("nickname", "Ñandú's 電話 (2.0) _-")},
		{"nickname-emoji", nicknameInvalid, inBody("nickname", "Phone 📱")},
		{"nickname-with-a-line-break", nicknameInvalid, inBody("nickname", "a\nb")},

		{"challenge-missing", registrationMalformed, inBody("challenge", nil)},
		{"challenge-empty", registrationMalformed, inBody("challenge", "")},
		{"challenge-of-impossible-length", registrationMalformed, inBody("challenge", strings.Repeat("A", 45))},
		{"challenge-of-another", registrationMismatch, inBody("challenge", encode("another"))},
		{"attestation-missing", attestationMissing, inBody("attestation", nil)},
		{"credential-id-missing", attestationMissing, inAttestation("credentialId", nil)},
		{"credential-id-padded", attestationMissing, inAttestation("credentialId", "AA==")},
		{"client-data-empty", attestationMissing, inAttestation("clientDataJson", "")},
		{"transport-unknown", transportsInvalid, inAttestation("transports", []string{"pigeon"})},
		{"transports-null", transportsInvalid, inAttestation("transports", nil)},
		{"transports-text", transportsInvalid, inAttestation("transports", "usb")},

		{"client-data-no-json", clientDataMalformed, changed(func(p *authenticator) { p.clientData = "x" })},
		{"client-data-of-a-sign-in", clientDataOfAnotherType, changed(func(p *authenticator) {
			p.clientData = p.clientDataFor("webauthn.get", p.challenge, "https://example.com")
		})},
		{"challenge-decoded-by-the-client", registrationMismatch, changed(func(p *authenticator) {
			p.clientData = p.clientDataFor("webauthn.create", encode(p.challenge), "https://example.com")
		})},

		{"rp-is-the-host", "", from("https://wallet.example.com", "wallet.example.com")},
		{"rp-is-a-far-parent", "", from("https://a.b.c.example.com:8443", "example.com")},
		{"rp-is-a-top-level-domain", relyingPartyMismatch, from("https://example.com", "com")},
		{"rp-is-a-subdomain", relyingPartyMismatch, from("https://example.com", "wallet.example.com")},
		{"rp-is-a-suffix", relyingPartyMismatch, from("https://badexample.com", "example.com")},
		{"rp-is-the-origin", relyingPartyMismatch, from("https://example.com", "https://example.com")},
		{"localhost", "", from("http://localhost:5173", "localhost")},
		{"plain-http", originInvalid, from("http://example.com", "example.com")},
		{"app", originInvalid, from("android:apk-key-hash:x", "example.com")},
		{"address", originInvalid, from("https://127.0.0.1", "127.0.0.1")},
		{"origin-with-a-path", originInvalid, from("https://example.com/", "example.com")},
		{"origin-missing", originInvalid, from("", "example.com")},

		{"object-no-cbor", attestationMalformed, inAttestation("attestationObject", encode("x"))},
		{"object-trailing", attestationMalformed, func(s state, p *authenticator) string {
			return p.body(s.t, func(_, attestation map[string]any) {
				attestation["attestationObject"] = encode(string(p.attestationObject(s.t)) + "\x00")
			})
		}},
		{"auth-data-trailing", authDataMalformed, changed(func(p *authenticator) { p.trailing = "x" })},
		{"auth-data-extended-by-nothing", authDataMalformed, changed(func(p *authenticator) { p.flags |= 1 << 7 })},
		{"user-absent", userAbsent, changed(func(p *authenticator) { p.flags &^= flagUserPresent })},
		{"no-attested-data", attestedDataMissing, changed(func(p *authenticator) { p.flags &^= flagAttestedData })},
		{"another-id-inside", passkeyIDMismatch, changed(func(p *authenticator) { p.idInside = "another" })},
		{"key-off-curve", passkeyKeyInvalid, changed(func(p *authenticator) { p.key[-2] = bytes.Repeat([]byte{1}, 32) })},
		{"key-of-unknown-algorithm", passkeyKeyInvalid, changed(func(p *authenticator) { p.key[3] = -99 })},
		{"format-unknown", attestationInvalid, changed(func(p *authenticator) { p.format = "homemade" })},
		{"none-with-a-statement", attestationInvalid, changed(func(p *authenticator) {
			p.selfAttest()
			p.format = "none"
		})},
		{"packed-by-another-key", attestationInvalid, changed(func(p *authenticator) {
			p.selfAttest()
			p.private = newPasskey().private
		})},
		{"packed-of-other-client-data", attestationInvalid, changed(func(p *authenticator) {
			p.selfAttest()
			sign := p.statement
			p.statement = func(authData, _ []byte) map[string]any { return sign(authData, make([]byte, 32)) }
		})},
		{"packed-of-another-algorithm", attestationInvalid, changed(func(p *authenticator) {
			p.selfAttest()
			sign := p.statement
			p.statement = func(authData, hash []byte) map[string]any { return with(sign(authData, hash), "alg", -8) }
		})},

		{"second-passkey", "", after(func(*authenticator) *authenticator { return newPasskey() })},
		{"same-passkey", passkeyExists, after(func(p *authenticator) *authenticator {
			first := newPasskey()
			first.id, first.idInside = p.id, p.id
			return first
		})},
		{"same-challenge", registrationUsed, after(func(p *authenticator) *authenticator {
			first := newPasskey()
			first.challenge, first.clientData = p.challenge, p.clientData
			return first
		})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newState(t, Config{}, signedOps[2])
			body := test.body(s, newPasskey())
			a := s.send("POST", addPath, body)
			if test.reason != "" {
				if a.status != 400 || a.reason() != test.reason {
					t.Errorf("got %d %s, want 400 %q", a.status, a.raw, test.reason)
				}
				return
			}
			s.signed(s.k1, "POST", addPath, body).want(t, 201, "")
		})
	}
}

// TestRegistrationsAreBounded tests that only the last challenges of passkeys
// are remembered.
func TestRegistrationsAreBounded(t *testing.T) {
	s := newState(t, Config{}, signedOps[2])
	for range maxRegistrations + 1 {
		added := s.signed(s.k1, "POST", addPath, newPasskey().body(t))
		added.want(t, 201, "")
		s.sim.mu.Lock()
		s.sim.dropCredential(s.sim.credentials[added.text("id")])
		s.sim.mu.Unlock()
	}
	if got := len(s.sim.registrations); got != maxRegistrations {
		t.Errorf("%d challenges are remembered, want %d", got, maxRegistrations)
	}
}

// FuzzAttestation holds that no attestation object panics, and that one that is
// accepted is of the passkey that it came with.
func FuzzAttestation(f *testing.F) {
	bare, attested := newPasskey(), newPasskey()
	attested.selfAttest()
	for _, p := range []*authenticator{bare, attested} {
		f.Add(p.id, p.clientData, p.attestationObject(f))
	}
	f.Fuzz(func(t *testing.T, id, clientData string, object []byte) {
		p := passkey{credentialID: encoded{raw: []byte(id)}, clientData: encoded{raw: []byte(clientData)}, attestation: encoded{raw: object}}
		if _, err := p.checkAttestation(pages{}, "wallet.example.com"); err == nil && !bytes.Contains(object, []byte(id)) {
			t.Errorf("%x is accepted for the passkey %q", object, id)
		}
	})
}
