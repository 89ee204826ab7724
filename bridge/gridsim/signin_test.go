package gridsim

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"
)

func challengePath(credential string) string { return "/auth/credentials/" + credential + "/challenge" }

// withOTP is a world whose account has an EMAIL_OTP credential, for which a code
// was sent, with the bundle that came with it.
func withOTP(t testing.TB, cfg Config) (w *world, target string) {
	t.Helper()
	cfg.SeedEmailOTP = true
	w = newWorld(t, cfg)
	return w, w.askForCode(seedEmailCredentialID)
}

// askForCode has a code sent and returns the bundle with the key to seal it to.
func (w *world) askForCode(credential string) (target string) {
	w.t.Helper()
	a := w.send("POST", challengePath(credential), "")
	a.want(w.t, 200, "")
	return a.text("otpEncryptionTargetBundle")
}

// lastCode is the code that was sent last.
func (w *world) lastCode() string {
	w.t.Helper()
	w.sim.mu.Lock()
	defer w.sim.mu.Unlock()
	if len(w.sim.inbox) == 0 {
		w.t.Fatal("no code was sent")
	}
	return w.sim.inbox[len(w.sim.inbox)-1].Code
}

// targetKey is the key in a bundle that codes are sealed to.
func targetKey(t testing.TB, target string) *ecdh.PublicKey {
	t.Helper()
	var envelope struct{ Data string }
	var data struct{ TargetPublic string }
	if err := json.Unmarshal([]byte(target), &envelope); err != nil {
		t.Fatalf("%q: %v", target, err)
	}
	if err := json.Unmarshal(unhex(t, envelope.Data), &data); err != nil {
		t.Fatal(err)
	}
	key, err := ecdh.P256().NewPublicKey(unhex(t, data.TargetPublic))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sealing is how something is sealed; the zero value is how Grid documents it.
type sealing struct {
	info string
	aad  []byte
}

// sealTo makes an encryptedOtpBundle with package hpke alone.
func (how sealing) sealTo(t testing.TB, to *ecdh.PublicKey, plaintext string) string {
	t.Helper()
	recipient, err := hpke.NewDHKEMPublicKey(to)
	if err != nil {
		t.Fatal(err)
	}
	if how.info == "" {
		how.info = "turnkey_hpke"
	}
	encapsulated, sender, err := hpke.NewSender(recipient, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(how.info))
	if err != nil {
		t.Fatal(err)
	}
	if how.aad == nil {
		how.aad = slices.Concat(encapsulated, to.Bytes())
	}
	ciphertext, err := sender.Seal(how.aad, []byte(plaintext))
	if err != nil {
		t.Fatal(err)
	}
	return `{"encappedPublic":"` + hex.EncodeToString(encapsulated) + `","ciphertext":"` + hex.EncodeToString(ciphertext) + `"}`
}

func otpContent(code, publicKey string) string {
	return `{"otp_code":"` + code + `","public_key":"` + publicKey + `"}`
}

// otpVerifyBody is the body of both legs.
func otpVerifyBody(t testing.TB, kind, sealed string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"type": kind, "encryptedOtpBundle": sealed})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// sealedBody is the body of a sign-in with a code, by EMAIL_OTP.
func (w *world) sealedBody(target, code, publicKey string) string {
	w.t.Helper()
	return otpVerifyBody(w.t, "EMAIL_OTP", sealing{}.sealTo(w.t, targetKey(w.t, target), otpContent(code, publicKey)))
}

// uncompressed is the key in its long form.
func (k key) uncompressed(t testing.TB) string {
	t.Helper()
	point, err := parseP256(compressedKey(unhex(t, k.public))).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(point)
}

// assertion is what a passkey says to a challenge, with whatever is wrong with
// it.
type assertion struct {
	id, clientData, rpID string
	flags                byte
	counter              uint32
	trailing             string // of authData
	private              *ecdsa.PrivateKey
	signature            []byte         // nil: a good one
	more                 map[string]any // fields
}

// assert answers a challenge, from a page of the passkey's origin.
func (p *authenticator) assert(challenge string) *assertion {
	return &assertion{
		id:         encode(p.id),
		clientData: p.clientDataFor("webauthn.get", encode(challenge), "https://wallet.example.com"),
		rpID:       p.rpID, flags: flagUserPresent, private: p.private,
	}
}

func (a *assertion) authData() []byte {
	rpIDHash := sha256.Sum256([]byte(a.rpID))
	return append(binary.BigEndian.AppendUint32(append(rpIDHash[:], a.flags), a.counter), a.trailing...)
}

func (a *assertion) body(t testing.TB) string {
	t.Helper()
	authData, signature := a.authData(), a.signature
	if signature == nil {
		hash := sha256.Sum256([]byte(a.clientData))
		digest := sha256.Sum256(slices.Concat(authData, hash[:]))
		var err error
		if signature, err = ecdsa.SignASN1(rand.Reader, a.private, digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	fields := map[string]any{
		"credentialId": a.id, "clientDataJson": encode(a.clientData),
		"authenticatorData": encode(string(authData)), "signature": encode(string(signature)),
	}
	for name, value := range a.more {
		fields[name] = value
	}
	body, err := json.Marshal(map[string]any{"type": "PASSKEY", "assertion": fields})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// withPasskey is a world whose account has the passkey.
func withPasskey(t testing.TB, cfg Config, p *authenticator) (w *world, credential string) {
	t.Helper()
	w = newWorld(t, cfg)
	k := newP256(t)
	w.signIn(credential2, k)
	payload, id := w.leg1("POST", addPath, p.body(t))
	stamp := k.stamp(payload)
	added := w.send("POST", addPath, p.body(t), headerSignature, stamp, headerRequestID, id)
	for range cfg.ProcessingReplies {
		added = w.send("POST", addPath, p.body(t), headerSignature, stamp, headerRequestID, id)
	}
	added.want(t, 201, "")
	return w, added.text("id")
}

// challengePasskey asks for a challenge for the key.
func (w *world) challengePasskey(credential, publicKey string) (challenge, requestID string) {
	w.t.Helper()
	a := w.send("POST", challengePath(credential), refreshBody(publicKey))
	a.want(w.t, 200, "")
	return a.text("challenge"), a.text("requestId")
}

func newECDH(t testing.TB) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// p256FromScalar is the key of an unsealed scalar.
func p256FromScalar(t testing.TB, scalar []byte) key {
	t.Helper()
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		t.Fatal(err)
	}
	return p256Key(t, private)
}

func exportPath(account string) string { return "/internal-accounts/" + account + "/export" }
