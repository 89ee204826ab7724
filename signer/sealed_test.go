//go:build !js

package signer

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	base58check "github.com/decred/base58"
)

type otpTargetVector struct {
	Name, Bundle, PrivateKey string
	Signers                  []string
	Fail                     Kind
}

type exportVector struct {
	Name, Envelope, PrivateKey, PublicKey, OrganizationID, Mnemonic string
	Signers                                                         []string
	AllowUnsigned                                                   bool
	Fail                                                            Kind
}

func (v exportVector) export() Export {
	return Export{Organization: v.OrganizationID, Signers: v.Signers, AllowUnsigned: v.AllowUnsigned}
}

type sessionKeyVector struct {
	Name, Sealed, PrivateKey, PublicKey, Scalar string
	Fail                                        Kind
}

// opened is what the standard library opens of {encappedPublic, ciphertext}.
func opened(t *testing.T, scalar, sealed string) string {
	t.Helper()
	_, private := hostKey(t, scalar)
	var bundle struct{ EncappedPublic, Ciphertext string }
	d := json.NewDecoder(strings.NewReader(sealed))
	d.DisallowUnknownFields()
	if err := d.Decode(&bundle); err != nil {
		t.Fatal(err)
	}
	key, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	enc := unhexText(t, bundle.EncappedPublic)
	recipient, err := hpke.NewRecipient(enc, key, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("turnkey_hpke"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := recipient.Open(append(enc, private.PublicKey().Bytes()...), unhexText(t, bundle.Ciphertext))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestOTPTargetVectors(t *testing.T) {
	for _, curve := range []Curve{P256, Secp256k1} {
		key := parseKey(t, curve, secretHex).Public()
		for _, v := range readVectors[otpTargetVector](t, "otp_target.json") {
			t.Run(string(curve)+" "+v.Name, func(t *testing.T) {
				p := &spy{Primitives: HostPrimitives{}}
				wantKind(t, CheckOTPTarget(t.Context(), p, v.Bundle, v.Signers...), v.Fail)
				if len(p.secrets) > 0 {
					t.Error("a check needs no secrets")
				}
				sealed, err := SealOTP(t.Context(), p, v.Bundle, "a1B2c3", key, v.Signers...)
				wantKind(t, err, v.Fail)
				if v.Fail != "" {
					if sealed != "" || len(p.secrets) > 0 {
						t.Errorf("sealed nonetheless: %s", sealed)
					}
					return
				}
				if got, want := opened(t, v.PrivateKey, sealed), `{"otp_code":"a1B2c3","public_key":"`+key.String()+`"}`; got != want {
					t.Errorf("sealed %s\nwant   %s", got, want)
				}
				p.erased(t, nil)
			})
		}
	}
}

func TestOTPCodes(t *testing.T) {
	v := readVectors[otpTargetVector](t, "otp_target.json")[0]
	key := parseKey(t, P256, secretHex).Public()
	for _, code := range []string{"0000", "000000", "zZaA09", "ABCDEFGHIJKL"} {
		sealed, err := SealOTP(t.Context(), HostPrimitives{}, v.Bundle, code, key, v.Signers...)
		if err != nil {
			t.Errorf("%q: %v", code, err)
			continue
		}
		var text struct {
			Code string `json:"otp_code"`
		}
		if err := json.Unmarshal([]byte(opened(t, v.PrivateKey, sealed)), &text); err != nil || text.Code != code {
			t.Errorf("sealed %q, want %q: %v", text.Code, code, err)
		}
	}
	for _, code := range []string{"", "123", "1234567890123", " 123456", "123 456", "12-34", `12",`, `12\u`, "12@4", "12[4", "12`4", "12{4", "12/4", "12:4", "\x10\x11\x12\x13", "PQRS\x10", "１２３４", "caf\u00e9", "1234\xff", "1234\n"} {
		_, err := SealOTP(t.Context(), HostPrimitives{}, v.Bundle, code, key, v.Signers...)
		if !errors.Is(err, ErrArgumentInvalid) {
			t.Errorf("%q: %v", code, err)
		}
	}
	_, err := SealOTP(t.Context(), HostPrimitives{}, v.Bundle, "123456", PublicKey{}, v.Signers...)
	wantKind(t, err, ErrArgumentInvalid)
}

// Two messages share no key.
func TestSealOTPIsNeverTheSame(t *testing.T) {
	v := readVectors[otpTargetVector](t, "otp_target.json")[0]
	seen := map[string]bool{}
	for range 10 {
		sealed, err := SealOTP(t.Context(), HostPrimitives{}, v.Bundle, "123456", parseKey(t, P256, secretHex).Public(), v.Signers...)
		if err != nil || seen[sealed[:150]] || seen[sealed[150:]] {
			t.Fatalf("sealed %s, %v", sealed, err)
		}
		seen[sealed[:150]], seen[sealed[150:]] = true, true
	}
}

func TestTooLargeBundle(t *testing.T) {
	v := readVectors[otpTargetVector](t, "otp_target.json")[0]
	full := v.Bundle + strings.Repeat(" ", MaxPayload-len(v.Bundle))
	wantKind(t, CheckOTPTarget(t.Context(), HostPrimitives{}, full, v.Signers...), "")
	wantKind(t, CheckOTPTarget(t.Context(), HostPrimitives{}, full+" ", v.Signers...), ErrEnclaveUntrusted)
}

// The pinned keys are points: a slip in one would refuse everything, in
// production alone. No bundle that OTPSigner has signed is public, so that the
// default is it shows where every signature is taken.
func TestPinnedKeys(t *testing.T) {
	v := readVectors[otpTargetVector](t, "otp_target.json")[0]
	for pin, want := range map[string]Kind{OTPSigner: "", ExportSigner: ErrEnclaveUntrusted} {
		if point, err := (HostPrimitives{}).Point(t.Context(), uncompressedHex(pin)); err != nil || hex.EncodeToString(point) != pin {
			t.Errorf("%s is no key: %v", pin, err)
		}
		bundle := strings.Replace(v.Bundle, v.Signers[0], pin, 1)
		wantKind(t, CheckOTPTarget(t.Context(), trusting{}, bundle), want)
	}
}

func TestExportVectors(t *testing.T) {
	for _, v := range readVectors[exportVector](t, "export.json") {
		t.Run(v.Name, func(t *testing.T) {
			key, _ := hostKey(t, v.PrivateKey)
			p := &spy{Primitives: HostPrimitives{}}
			mnemonic, err := OpenExport(t.Context(), p, v.Envelope, p.watch(key), v.export())
			wantKind(t, err, v.Fail)
			if string(mnemonic) != v.Mnemonic {
				t.Errorf("mnemonic = %q, want %q", mnemonic, v.Mnemonic)
			}
			p.erased(t, mnemonic)
		})
	}
}

func TestSessionKeyVectors(t *testing.T) {
	for _, v := range readVectors[sessionKeyVector](t, "session_key.json") {
		t.Run(v.Name, func(t *testing.T) {
			key, _ := hostKey(t, v.PrivateKey)
			p := &spy{Primitives: HostPrimitives{}}
			scalar, err := OpenSessionKey(t.Context(), p, v.Sealed, p.watch(key))
			wantKind(t, err, v.Fail)
			if hex.EncodeToString(scalar) != v.Scalar {
				t.Errorf("scalar = %x, want %s", scalar, v.Scalar)
			}
			p.erased(t, scalar)
		})
	}
}

// What reads no compressed points says so of what would open elsewhere, and of
// that alone.
func TestSessionKeyOnAPlatformWithoutCompressedPoints(t *testing.T) {
	for _, v := range readVectors[sessionKeyVector](t, "session_key.json") {
		key, _ := hostKey(t, v.PrivateKey)
		_, ok := decodeBase58Check(v.Sealed)
		want := ErrUnsealFailed
		if ok {
			want = ErrSealedKeyUnsupported
		}
		if _, err := OpenSessionKey(t.Context(), uncompressedOnly{HostPrimitives{}}, v.Sealed, key); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %s", v.Name, err, want)
		}
	}
}

type uncompressedOnly struct{ Primitives }

func (p uncompressedOnly) Point(ctx context.Context, sec1 []byte) ([]byte, error) {
	if len(sec1) == 33 {
		return nil, nil
	}
	return p.Primitives.Point(ctx, sec1)
}

// Whatever fails on the platform, at whichever step, is told as it is, and no
// secret is left behind.
func TestPlatformThatFails(t *testing.T) {
	target := readVectors[otpTargetVector](t, "otp_target.json")[0]
	export := readVectors[exportVector](t, "export.json")[0]
	sealed := readVectors[sessionKeyVector](t, "session_key.json")[0]
	for name, call := range map[string]func(p *spy) error{
		"SealOTP": func(p *spy) error {
			_, err := SealOTP(t.Context(), p, target.Bundle, "123456", parseKey(t, P256, secretHex).Public(), target.Signers...)
			return err
		},
		"OpenExport": func(p *spy) error {
			key, _ := hostKey(t, export.PrivateKey)
			_, err := OpenExport(t.Context(), p, export.Envelope, p.watch(key), export.export())
			return err
		},
		"OpenSessionKey": func(p *spy) error {
			key, _ := hostKey(t, sealed.PrivateKey)
			_, err := OpenSessionKey(t.Context(), p, sealed.Sealed, p.watch(key))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			broken := errors.New("broken")
			for step := 1; ; step++ {
				p := &spy{Primitives: HostPrimitives{}, failAt: step, fail: broken}
				err := call(p)
				if p.step < step {
					if err != nil || step < 6 {
						t.Errorf("after %d steps: %v", p.step, err)
					}
					return
				}
				if err != broken {
					t.Errorf("step %d: %v", step, err)
				}
				p.erased(t, nil)
			}
		})
	}
}

// spy keeps every secret that a platform gives out or is given, and fails at one
// of its steps.
type spy struct {
	Primitives
	secrets      [][]byte
	step, failAt int
	fail         error
}

func (p *spy) next() error {
	if p.step++; p.step == p.failAt {
		return p.fail
	}
	return nil
}

func (p *spy) keep(b []byte) []byte {
	p.secrets = append(p.secrets, b)
	return b
}

// erased fails the test if any secret but the returned one is left.
func (p *spy) erased(t *testing.T, but []byte) {
	t.Helper()
	for i, secret := range p.secrets {
		if len(but) > 0 && len(secret) > 0 && &secret[0] == &but[0] {
			continue
		}
		if !slices.Equal(secret, make([]byte, len(secret))) {
			t.Errorf("secret %d of %d is left: %d bytes", i, len(p.secrets), len(secret))
		}
	}
}

func (p *spy) GenerateECDH(ctx context.Context) (ECDH, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	key, err := p.Primitives.GenerateECDH(ctx)
	return p.watch(key), err
}

func (p *spy) Point(ctx context.Context, sec1 []byte) ([]byte, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.Primitives.Point(ctx, sec1)
}

func (p *spy) HKDF(ctx context.Context, secret, salt, info []byte, size int) ([]byte, error) {
	p.keep(secret)
	if err := p.next(); err != nil {
		return nil, err
	}
	b, err := p.Primitives.HKDF(ctx, secret, salt, info, size)
	if size == 12 {
		return b, err // a nonce is no secret
	}
	return p.keep(b), err
}

func (p *spy) Encrypt(ctx context.Context, key, nonce, additional, text []byte) ([]byte, error) {
	p.keep(text)
	if err := p.next(); err != nil {
		return nil, err
	}
	return p.Primitives.Encrypt(ctx, key, nonce, additional, text)
}

func (p *spy) Decrypt(ctx context.Context, key, nonce, additional, ciphertext []byte) ([]byte, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	b, err := p.Primitives.Decrypt(ctx, key, nonce, additional, ciphertext)
	return p.keep(b), err
}

func (p *spy) Verify(ctx context.Context, point, message, rs []byte) (bool, error) {
	if err := p.next(); err != nil {
		return false, err
	}
	return p.Primitives.Verify(ctx, point, message, rs)
}

func (p *spy) watch(key ECDH) ECDH { return watched{key, p} }

type watched struct {
	ECDH
	*spy
}

func (k watched) Agree(ctx context.Context, peer []byte) ([]byte, error) {
	if err := k.next(); err != nil {
		return nil, err
	}
	b, err := k.ECDH.Agree(ctx, peer)
	return k.keep(b), err
}

// trusting takes every signature, so that a fuzzer gets at what was signed.
type trusting struct{ HostPrimitives }

func (trusting) Verify(context.Context, []byte, []byte, []byte) (bool, error) { return true, nil }

// signedBundle is what encoding/json reads of a bundle.
type signedBundle struct{ Version, Data, DataSignature, EnclaveQuorumPublic string }

// readEnvelope fails the test for a bundle that another reader takes otherwise,
// and reads what was signed.
func readEnvelope(t *testing.T, bundle string, data any) (e signedBundle) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(bundle))
	d.DisallowUnknownFields()
	if err := d.Decode(&e); err != nil {
		t.Fatalf("%q is taken, but encoding/json says: %v", bundle, err)
	}
	raw, err := hex.DecodeString(e.Data)
	if err == nil {
		err = json.Unmarshal(raw, data)
	}
	if err != nil || e.Version != "v1.0.0" {
		t.Fatalf("%q is taken: %v", bundle, err)
	}
	return e
}

// No bundle panics, and what is taken says to another reader what it said to us.
func FuzzOTPTarget(f *testing.F) {
	for _, v := range readVectors[otpTargetVector](f, "otp_target.json") {
		f.Add(v.Bundle)
	}
	f.Fuzz(func(t *testing.T, bundle string) {
		var e signedBundle
		json.Unmarshal([]byte(bundle), &e)
		pin := OTPSigner
		if uncompressedHex(e.EnclaveQuorumPublic) != nil {
			pin = e.EnclaveQuorumPublic
		}
		point, err := otpTarget(t.Context(), trusting{}, bundle, []string{pin})
		if err != nil {
			wantKind(t, err, ErrEnclaveUntrusted)
			return
		}
		var data struct{ TargetPublic string }
		e = readEnvelope(t, bundle, &data)
		if !strings.EqualFold(hex.EncodeToString(point), data.TargetPublic) || !strings.EqualFold(e.EnclaveQuorumPublic, pin) {
			t.Errorf("%q is taken as %x", bundle, point)
		}
		if _, err := ecdh.P256().NewPublicKey(point); err != nil {
			t.Errorf("%x is taken for a point", point)
		}
		if _, err := decodeDER(P256, unhexText(t, e.DataSignature)); err != nil {
			t.Errorf("%s is taken for a signature", e.DataSignature)
		}
	})
}

// The same of an export, of which nothing is opened that is for another
// organization, or unsigned where that is not admitted.
func FuzzExport(f *testing.F) {
	for _, v := range readVectors[exportVector](f, "export.json") {
		f.Add(v.Envelope, v.OrganizationID, v.AllowUnsigned)
	}
	vectors := readVectors[exportVector](f, "export.json")
	f.Fuzz(func(t *testing.T, text, organization string, allowUnsigned bool) {
		for _, v := range []exportVector{vectors[0], vectors[4]} {
			key, _ := hostKey(t, v.PrivateKey)
			mnemonic, err := OpenExport(t.Context(), trusting{}, text, key, Export{Organization: organization, AllowUnsigned: allowUnsigned})
			if err != nil {
				if !errors.Is(err, ErrEnclaveUntrusted) && !errors.Is(err, ErrUnsealFailed) && (organization != "" || !errors.Is(err, ErrArgumentInvalid)) {
					t.Errorf("error = %v", err)
				}
				continue
			}
			var data struct{ EncappedPublic, Ciphertext, OrganizationID string }
			e := readEnvelope(t, text, &data)
			unsigned := e.DataSignature == "" && e.EnclaveQuorumPublic == ""
			if organization == "" || data.OrganizationID != organization || unsigned && !allowUnsigned || !unsigned && !strings.EqualFold(e.EnclaveQuorumPublic, ExportSigner) {
				t.Errorf("%q is opened for %q", text, organization)
			}
			if string(mnemonic) != v.Mnemonic {
				t.Errorf("%q opens as %q", text, mnemonic)
			}
		}
	})
}

// What is taken for base58check is what another library takes for it, of 81 bytes.
func FuzzBase58Check(f *testing.F) {
	for _, v := range readVectors[sessionKeyVector](f, "session_key.json") {
		f.Add(v.Sealed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		body, ok := decodeBase58Check(s)
		raw := base58check.Decode(s)
		want := len(raw) == 85 && raw[0] != 0 && bytes.Equal(raw[81:], doubleSHA256(raw[:81])[:4])
		if ok != want || ok && !bytes.Equal(body, raw[:81]) {
			t.Errorf("%q decodes as %x, %v, want %x", s, body, ok, raw)
		}
	})
}

func TestBase58CheckRoundTrips(t *testing.T) {
	for range 2000 {
		body := make([]byte, 81)
		rand.Read(body)
		body[0] = body[0]%254 + 1
		got, ok := decodeBase58Check(base58check.Encode(append(body, doubleSHA256(body)[:4]...)))
		if !ok || !bytes.Equal(got, body) {
			t.Fatalf("%x decodes as %x, %v", body, got, ok)
		}
	}
}

func doubleSHA256(b []byte) []byte {
	sum := sha256.Sum256(b)
	sum = sha256.Sum256(sum[:])
	return sum[:]
}
