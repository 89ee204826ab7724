package gridsim

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"
)

// The customer of every account.
const (
	customerEmail = "ada@example.com"
	customerPhone = "+12025550123"
)

const (
	maxWrongCodes = 3         // of one issuance
	maxIssuances  = 32        // that a credential remembers, to tell a bundle for an earlier one from rubbish
	tokenLifetime = time.Hour // of a verification token, as in Grid's example
)

// magicCode is the sandbox value that stands for the code that was sent. No code
// that is sent is equal to it.
const magicCode = "000000"

// contacts are where codes are sent, by the type of the credential: how payloads
// set them and tokens name them, and why an account cannot have a second one.
var contacts = map[string]struct {
	address, activity, parameter, verification string
	exists                                     reason
}{
	typeEmailOTP: {customerEmail, "ACTIVITY_TYPE_UPDATE_USER_EMAIL", "userEmail", "OTP_TYPE_EMAIL", emailOTPExists},
	typeSMSOTP:   {customerPhone, "ACTIVITY_TYPE_UPDATE_USER_PHONE_NUMBER", "userPhoneNumber", "OTP_TYPE_SMS", smsOTPExists},
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

// issuance is a code that was sent, and the key that it is to be sealed to.
type issuance struct {
	id      string
	code    string
	target  *ecdh.PrivateKey
	expires time.Time
	wrong   int  // codes that were tried and are not this one
	used    bool // a session was started by it
}

// sendCode sends a new code, with which the earlier one is of no use any more,
// and returns the bundle with the key that it is to be sealed to: a fresh one
// each time, vouched for as Grid's enclave does.
func (s *Sim) sendCode(c *credential, now time.Time) (target string, err error) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	target, err = s.quorum.vouch(map[string]string{"targetPublic": hex.EncodeToString(key.PublicKey().Bytes())})
	if err != nil {
		return "", err
	}
	n, err := rand.Int(rand.Reader, big.NewInt(999_999))
	if err != nil {
		return "", err
	}
	sent := &issuance{
		id: uuid.NewString(), code: fmt.Sprintf("%06d", n.Int64()+1), target: key, expires: expiry(now, s.cfg.OTPTTL),
	}
	c.codes = append(c.codes, sent)
	c.codes = slices.Delete(c.codes, 0, max(0, len(c.codes)-maxIssuances))
	c.updated = now
	s.send(Message{c.id, contacts[c.kind].address, sent.code})
	return target, nil
}

// pending tells whether the code is one to sign in with, whenever it was sent.
func (c *credential) pending(sent *issuance) error {
	switch {
	case sent != c.codes[len(c.codes)-1]:
		return otpSuperseded
	case sent.used:
		return otpUsed
	case sent.wrong >= maxWrongCodes:
		return otpTriedTooOften
	}
	return nil
}

// sealedCode is a code as a client submits it, with the key of the session that
// it is to start.
type sealedCode struct {
	sent *issuance // whose key it was sealed to
	code string
	key  clientKey
}

// openCode opens what a client sealed, for which ever code that was. It does not
// judge the code.
func (s *Sim) openCode(c *credential, text string) (opened sealedCode, err error) {
	encapsulated, ciphertext, err := parseSealedCode(text)
	if err != nil {
		return sealedCode{}, err
	}
	if len(c.codes) == 0 {
		return sealedCode{}, otpNotSent
	}
	var plaintext []byte
	for _, sent := range slices.Backward(c.codes) {
		if plaintext, err = openSealed(sent.target, encapsulated, ciphertext); err == nil {
			opened.sent = sent
			break
		}
	}
	if opened.sent == nil {
		return sealedCode{}, otpUndecryptable
	}
	fields, err := parseObject(plaintext, otpContentMalformed, otpContentMalformed)
	if err != nil {
		return sealedCode{}, err
	}
	var codeOK, keyOK bool
	opened.code, codeOK = stringField(fields, "otp_code")
	keyText, keyOK := stringField(fields, "public_key")
	if !codeOK || !keyOK {
		return sealedCode{}, otpContentMalformed
	}
	if opened.key, err = s.parseClientKey(keyText); err != nil {
		return sealedCode{}, otpKeyInvalid
	}
	// Elsewhere an uncompressed key is one to seal to. Here it is the session's own,
	// which Grid's production then never finds again: it looks for compressed ones.
	if to := opened.key.sealTo; to != nil {
		opened.key = clientKey{held: compress(to.Bytes()), unmatched: s.cfg.ProdStrict}
	}
	return opened, nil
}

// parseSealedCode reads an encryptedOtpBundle: a text of JSON, in hex the
// encapsulated key, uncompressed, and the ciphertext.
func parseSealedCode(text string) (encapsulated, ciphertext []byte, err error) {
	fields, err := parseObject([]byte(text), otpBundleMalformed, otpBundleMalformed)
	if err != nil {
		return nil, nil, err
	}
	keyText, keyOK := stringField(fields, "encappedPublic")
	sealedText, sealedOK := stringField(fields, "ciphertext")
	if !keyOK || !sealedOK {
		return nil, nil, otpBundleMalformed
	}
	encapsulated, errKey := hex.DecodeString(keyText)
	ciphertext, errSealed := hex.DecodeString(sealedText)
	if errKey != nil || errSealed != nil || len(encapsulated) != 65 {
		return nil, nil, otpBundleNotHex
	}
	if _, err := ecdh.P256().NewPublicKey(encapsulated); err != nil {
		return nil, nil, otpBundleOffCurve
	}
	return encapsulated, ciphertext, nil
}

// checkCode judges a code, and counts it if it is wrong.
func (s *Sim) checkCode(c *credential, opened sealedCode, now time.Time) error {
	if err := c.pending(opened.sent); err != nil {
		return err
	}
	right := subtle.ConstantTimeCompare([]byte(opened.code), []byte(opened.sent.code)) == 1
	switch {
	case !now.Before(opened.sent.expires):
		return otpLapsed
	case !right && (opened.code != magicCode || !s.cfg.AllowMagic):
		opened.sent.wrong++
		return otpWrong
	}
	return nil
}

// signInByCode is the sign-in of EMAIL_OTP and SMS_OTP: a signed operation whose
// first leg shows the code, in a bundle that binds it to a key, and whose second
// is signed by this key, which becomes the session's. What is signed is a token
// that says that the code was right. The code is judged on the first leg alone,
// its time included, and used up by the second: until then the first can be
// repeated.
func (s *Sim) signInByCode(req request, c *credential, text string) (operation, error) {
	op := operation{account: c.account, kind: c.kind}
	opened, err := s.openCode(c, text)
	op.token = func(now time.Time) (string, error) { return s.verificationToken(c, opened, now) }
	if err == nil && req.firstLeg {
		err = s.checkCode(c, opened, req.now)
	}
	switch {
	case err != nil && req.firstLeg:
		return operation{}, err
	case err != nil:
		return op, nil // leg 1 took another body: nobody can sign, and the body is refused first
	}
	op.signers = []*session{{key: opened.key.held}}
	op.check = func(now time.Time) error {
		if err := c.pending(opened.sent); err != nil {
			return err
		}
		return c.account.checkRoom(now)
	}
	op.apply = func(now time.Time) (reply, error) {
		opened.sent.used = true
		started, err := s.startSession(now, now, c, opened.key)
		return reply{http.StatusOK, started}, err
	}
	return op, nil
}

// verificationToken says that whoever has the key knew the code. Its signature
// differs each time, so that it is a payload of one challenge alone.
func (s *Sim) verificationToken(c *credential, opened sealedCode, now time.Time) (string, error) {
	contact := contacts[c.kind]
	return s.quorum.token(map[string]any{
		"sub":               opened.sent.id,
		"verification_type": contact.verification,
		"contact":           contact.address,
		"organization_id":   c.account.organizationID,
		"public_key":        hex.EncodeToString(opened.key.held[:]),
		"iat":               now.Unix(),
		"exp":               now.Add(tokenLifetime).Unix(),
	})
}
