package gridsim

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"testing"
)

// Signatures that other tools than this module made, all of one payload.
//
// P-256: the key is from Turnkey's public test fixtures, the signatures are the
// one of RFC 6979 and its twin with the other s. secp256k1: key and signatures
// by OpenSSL 3.0.19 (openssl ecparam -name secp256k1 -genkey, openssl dgst
// -sha256 -sign), picked for their s.
const (
	vectorKey     = "02f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316"
	vectorPayload = `{"organizationId":"org_sim","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`
	vectorLowS    = "304402204b44627970189097284c987e4a581e1e569310570929bcc140187c2a08ef632402207ff0772690f9c378fcd852057721699bf0e078c9076c6024fd2d845b57617773"
	vectorHighS   = "304502204b44627970189097284c987e4a581e1e569310570929bcc140187c2a08ef6324022100800f88d86f063c880327adfa88de9663cc0681e49fab3e5ff68c4667a501adde"
	vectorStamp   = "eyJwdWJsaWNLZXkiOiIwMmY3MzlmOGM3N2IzMmY0ZDVmMTMyNjU4NjFmZWJkNzZlN2E5YzYxYTExNDBkMjk2YjhjMTYzMDI1MDg4NzAzMTYiLCJzY2hlbWUiOiJTSUdOQVRVUkVfU0NIRU1FX1RLX0FQSV9QMjU2Iiwic2lnbmF0dXJlIjoiMzA0NDAyMjA0YjQ0NjI3OTcwMTg5MDk3Mjg0Yzk4N2U0YTU4MWUxZTU2OTMxMDU3MDkyOWJjYzE0MDE4N2MyYTA4ZWY2MzI0MDIyMDdmZjA3NzI2OTBmOWMzNzhmY2Q4NTIwNTc3MjE2OTliZjBlMDc4YzkwNzZjNjAyNGZkMmQ4NDViNTc2MTc3NzMifQ"
	vectorLegacy  = "MEQCIEtEYnlwGJCXKEyYfkpYHh5WkxBXCSm8wUAYfCoI72MkAiB/8HcmkPnDePzYUgV3IWmb8OB4yQdsYCT9LYRbV2F3cw=="

	vectorKeyK   = "03cdc2c4b140b95e3635f6391ba8bb5411723fb52c435e6eb7c4aae88387a8072c"
	vectorLowSK  = "3045022100a9242278e0a98bcb879ad396599681772e9f305bef136757a2a8487d80a8b2ff0220328acebc87daabe7173629f3c1445dc7de29deef1ac797de96a6096eef3e1408"
	vectorHighSK = "3046022100c647cbaed062c3eccbcbb541a663c14128222e6e54b6f7060dd0f32510fb4111022100b2c85029d2b1a006abf1e7bc2a15cec1820262ea90abcc8a8bb15fc5dd2970ae"
)

func simulator(t testing.TB, cfg Config) *Sim {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVectors(t *testing.T) {
	modern, legacy := simulator(t, Config{}), simulator(t, Config{Profile: Legacy202604})
	var signers []*session
	for _, public := range []string{vectorKey, vectorKeyK} {
		key, err := modern.parseClientKey(public)
		if err != nil {
			t.Fatal(err)
		}
		signers = append(signers, &session{key: key})
	}
	base64DER := func(der string) string {
		raw, err := hex.DecodeString(der)
		if err != nil {
			t.Fatal(err)
		}
		return base64.StdEncoding.EncodeToString(raw)
	}
	for _, v := range []struct {
		name, value string
		sim         *Sim
	}{
		{"stamp", vectorStamp, modern},
		{"stamp-low-s", encodeStamp(vectorKey, p256.scheme, vectorLowS), modern},
		{"stamp-high-s", encodeStamp(vectorKey, p256.scheme, vectorHighS), modern},
		{"stamp-secp256k1-low-s", encodeStamp(vectorKeyK, k256.scheme, vectorLowSK), modern},
		{"stamp-secp256k1-high-s", encodeStamp(vectorKeyK, k256.scheme, vectorHighSK), modern},
		{"legacy", vectorLegacy, legacy},
		{"legacy-high-s", base64DER(vectorHighS), legacy},
		{"legacy-secp256k1-low-s", base64DER(vectorLowSK), legacy},
		{"legacy-secp256k1-high-s", base64DER(vectorHighSK), legacy},
	} {
		t.Run(v.name, func(t *testing.T) {
			sig, err := v.sim.parseSignature(v.value)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.sim.checkSigner(sig, vectorPayload, signers); err != nil {
				t.Errorf("the payload: %v", err)
			}
			for i := 0; i < len(vectorPayload); i += 15 { // of a hash: one byte tells as much as all
				changed := []byte(vectorPayload)
				changed[i] ^= 1
				if v.sim.checkSigner(sig, string(changed), signers) == nil {
					t.Fatalf("verifies with a flipped bit in byte %d", i)
				}
			}
		})
	}
}

// TestDER has one case per rule of the encoding.
func TestDER(t *testing.T) {
	for _, test := range []struct {
		name, der string
		want      error
	}{
		{"shortest", "3006020101020101", nil},
		{"high-bit-needs-zero", "300802020080020200ff", nil},
		{"zero", "3006020100020101", nil}, // DER of zero; the range is another check
		{"33-digits", "3026022101" + zeros(32) + "020101", nil},

		{"empty", "", derMalformed},
		{"only-tag", "30", derMalformed},
		{"not-a-sequence", "3106020101020101", derMalformed},
		{"sequence-too-long", "3007020101020101", derMalformed},
		{"sequence-too-short", "3005020101020101", derMalformed},
		{"trailing-outside", "300602010102010100", derMalformed},
		{"trailing-inside", "300702010102010100", derMalformed},
		{"long-form-sequence", "308106020101020101", derMalformed},
		{"indefinite-length", "30800201010201010000", derMalformed},
		{"long-form-r", "300702810101020101", derMalformed},
		{"r-not-an-integer", "3006030101020101", derMalformed},
		{"s-not-an-integer", "3006020101030101", derMalformed},
		{"r-empty", "30050200020101", derMalformed},
		{"s-empty", "30050201010200", derMalformed},
		{"r-past-the-end", "3006027f01020101", derMalformed},
		{"s-past-the-end", "3006020101020201", derMalformed},
		{"s-missing", "3003020101", derMalformed},
		{"r-negative", "3006020180020101", derMalformed},
		{"s-negative", "30060201010201ff", derMalformed},
		{"r-padded", "300702020001020101", derMalformed},
		{"s-padded", "300702010102020001", derMalformed},
		{"zero-padded", "300702020000020101", derMalformed},
		{"three-integers", "3009020101020101020101", derMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			der, err := hex.DecodeString(test.der)
			if err != nil {
				t.Fatal(err)
			}
			sig, err := parseDER(der)
			if err != test.want {
				t.Fatalf("error = %v, want %v", err, test.want)
			}
			if err != nil {
				return
			}
			again, err := asn1.Marshal(integers{sig.r, sig.s})
			if err != nil || !bytes.Equal(again, der) {
				t.Errorf("encodes to %x, %v, want %x", again, err, der)
			}
		})
	}
}

func zeros(n int) string { return hex.EncodeToString(make([]byte, n)) }

// TestRange tests both ends of [1, n-1] for r and s on both curves, in a stamp
// and in a legacy signature, which is refused only if no curve has room for it.
func TestRange(t *testing.T) {
	one := big.NewInt(1)
	keys := map[*curve]key{p256: newP256(t), k256: newK256(t)}
	for _, c := range []*curve{p256, k256} {
		below := new(big.Int).Sub(c.order, one)
		for _, test := range []struct {
			name string
			r, s *big.Int
			want error
		}{
			{"smallest", one, one, nil},
			{"largest", below, below, nil},
			{"r-zero", new(big.Int), one, derOutOfRange},
			{"s-zero", one, new(big.Int), derOutOfRange},
			{"r-order", c.order, one, derOutOfRange},
			{"s-order", one, c.order, derOutOfRange},
			{"s-huge", one, new(big.Int).Lsh(one, 300), derOutOfRange},
		} {
			der, err := asn1.Marshal(integers{test.r, test.s})
			if err != nil {
				t.Fatal(err)
			}
			modern := simulator(t, Config{})
			if _, err := modern.parseSignature(encodeStamp(keys[c].public, c.scheme, hex.EncodeToString(der))); err != test.want {
				t.Errorf("%s %s: %v, want %v", c.scheme, test.name, err, test.want)
			}
			legacy := simulator(t, Config{Profile: Legacy202604, P256Only: c == p256})
			if _, err := legacy.parseSignature(key{sign: func([]byte) []byte { return der }}.legacy("")); err != test.want {
				t.Errorf("legacy %s %s: %v, want %v", c.scheme, test.name, err, test.want)
			}
		}
	}
}

// FuzzParseDER holds that whatever parses is the one encoding of its integers,
// according to encoding/asn1.
func FuzzParseDER(f *testing.F) {
	for _, text := range []string{vectorLowS, vectorHighS, "3006020101020101", "3006020100020101"} {
		der, err := hex.DecodeString(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		sig, err := parseDER(der)
		if err != nil {
			return
		}
		if again, err := asn1.Marshal(integers{sig.r, sig.s}); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x parses, and encodes to %x, %v", der, again, err)
		}
	})
}

// FuzzParseSignature holds that no header panics, in any profile.
func FuzzParseSignature(f *testing.F) {
	for _, value := range []string{"", vectorStamp, vectorLegacy, magicSignature, encode("{}"), encode(`{"publicKey":"","scheme":"","signature":""}`)} {
		f.Add(value)
	}
	sims := []*Sim{
		simulator(f, Config{}), simulator(f, Config{LenientStamp: true, AcceptLegacyDER: true, AllowMagic: true}), simulator(f, Config{Profile: Legacy202604}),
	}
	f.Fuzz(func(t *testing.T, value string) {
		for _, sim := range sims {
			sig, err := sim.parseSignature(value)
			if err == nil && !sig.magic && sig.curve != nil && !sig.curve.contains(sig.key) {
				t.Errorf("%q parses with a key off its curve", value)
			}
		}
	})
}
