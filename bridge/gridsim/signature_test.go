package gridsim

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"slices"
	"testing"
)

func simulator(t testing.TB, cfg Config) *Sim {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readVectors reads a file of the corpus that all implementations share. Its
// codes are the signer's: here it counts only whether there is one.
func readVectors[T any](t testing.TB, file string) []T {
	t.Helper()
	data, err := os.ReadFile("../../signer/testdata/vectors/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []T
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatalf("%s is empty", file)
	}
	return vectors
}

var curvesByName = map[string]*curve{"P-256": p256, "secp256k1": k256}

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// checkPayload checks a header against a payload and a session of the key.
func checkPayload(t *testing.T, sim *Sim, header, publicKey, payload string) error {
	t.Helper()
	sig, err := sim.parseSignature(header)
	if err != nil {
		t.Fatal(err)
	}
	key, err := sim.parseClientKey(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	return sim.checkSigner(sig, payload, []*session{{}, {key: key.held}})
}

// headerVector is a row of stamp.json or der_header.json.
type headerVector struct {
	Name, Header, PublicKey, Scheme, Signature, DER, Payload, Fail string
}

func TestHeaderVectors(t *testing.T) {
	for file, profile := range map[string]Profile{"stamp.json": Modern, "der_header.json": Legacy202604} {
		sim := simulator(t, Config{Profile: profile})
		for _, v := range readVectors[headerVector](t, file) {
			t.Run(file+"/"+v.Name, func(t *testing.T) {
				sig, err := sim.parseSignature(v.Header)
				if v.Fail != "" {
					why, _ := errors.AsType[reason](err)
					if refusals[why].code != codeMalformed {
						t.Errorf("error = %v, want one of %s", err, codeMalformed)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got := hex.EncodeToString(sig.der.raw); got != v.Signature+v.DER {
					t.Errorf("signature = %s, want %s", got, v.Signature+v.DER)
				}
				if profile == Modern && (hex.EncodeToString(sig.key[:]) != v.PublicKey || sig.curve.scheme != v.Scheme) {
					t.Errorf("key = %x on %s", sig.key, sig.curve.scheme)
				}
				if err := checkPayload(t, sim, v.Header, v.PublicKey, v.Payload); err != nil {
					t.Errorf("the payload: %v", err)
				}
				for i := 0; i < len(v.Payload); i += 15 { // of a hash: one byte tells as much as all
					changed := []byte(v.Payload)
					changed[i] ^= 1
					if checkPayload(t, sim, v.Header, v.PublicKey, string(changed)) == nil {
						t.Fatalf("verifies with a flipped bit in byte %d", i)
					}
				}
			})
		}
	}
}

func TestVerifyVectors(t *testing.T) {
	modern, legacy := simulator(t, Config{}), simulator(t, Config{Profile: Legacy202604})
	for _, v := range readVectors[struct {
		Name, Curve, PublicKey, Payload, DER string
		Valid                                bool
	}](t, "verify.json") {
		t.Run(v.Name, func(t *testing.T) {
			stamp := encodeStamp(v.PublicKey, curvesByName[v.Curve].scheme, v.DER)
			if err := checkPayload(t, modern, stamp, v.PublicKey, v.Payload); (err == nil) != v.Valid {
				t.Errorf("stamp: %v, want valid: %v", err, v.Valid)
			}
			header := base64.StdEncoding.EncodeToString(unhex(t, v.DER))
			if err := checkPayload(t, legacy, header, v.PublicKey, v.Payload); (err == nil) != v.Valid {
				t.Errorf("legacy: %v, want valid: %v", err, v.Valid)
			}
		})
	}
}

func TestDERVectors(t *testing.T) {
	for _, v := range readVectors[struct{ Name, Curve, DER, RS, Fail string }](t, "der.json") {
		t.Run(v.Name, func(t *testing.T) {
			sig, err := parseDER(unhex(t, v.DER))
			if good := err == nil && sig.inRange(curvesByName[v.Curve].order); good != (v.Fail == "") {
				t.Fatalf("accepted: %v (%v), want failure %q", good, err, v.Fail)
			}
			if v.Fail != "" {
				return
			}
			var rs [64]byte
			sig.r.FillBytes(rs[:32])
			sig.s.FillBytes(rs[32:])
			if got := hex.EncodeToString(rs[:]); got != v.RS {
				t.Errorf("r||s = %s\nwant   %s", got, v.RS)
			}
		})
	}
}

// TestDER has what the corpus has not, since there a range is part of parsing.
func TestDER(t *testing.T) {
	for _, test := range []struct {
		name, der string
		want      error
	}{
		{"zero", "3006020100020101", nil},
		{"33-digits", "3026022101" + zeros(32) + "020101", nil},
		{"longest", "307f" + "023d01" + zeros(60) + "023e01" + zeros(61), nil},
		// Read as a number the length is right: 0x80, of 2 times 64 bytes.
		{"length-0x80", "3080" + "023e01" + zeros(61) + "023e01" + zeros(61), derMalformed},
		{"zero-padded", "300702020000020101", derMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			der := unhex(t, test.der)
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
	for _, v := range readVectors[struct{ DER string }](f, "der.json") {
		f.Add(unhex(f, v.DER))
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

// FuzzParseSignature holds that no header panics, in any profile, and that what
// a strict one parses encodes to the same header, but for the order of fields and
// the white space between the tokens.
func FuzzParseSignature(f *testing.F) {
	for _, value := range []string{magicSignature, encode("{}"), encode(`{"publicKey":"","scheme":"","signature":""}`)} {
		f.Add(value)
	}
	for _, file := range []string{"stamp.json", "der_header.json"} {
		for _, v := range readVectors[headerVector](f, file) {
			f.Add(v.Header)
		}
	}
	strict, legacy := simulator(f, Config{}), simulator(f, Config{Profile: Legacy202604})
	lenient := simulator(f, Config{LenientStamp: true, AcceptLegacyDER: true, AllowMagic: true})
	f.Fuzz(func(t *testing.T, value string) {
		lenient.parseSignature(value)
		for _, sim := range []*Sim{strict, legacy} {
			sig, err := sim.parseSignature(value)
			if err != nil {
				continue
			}
			if sig.curve != nil && !sig.curve.contains(sig.key) {
				t.Errorf("%q parses with a key off its curve", value)
			}
			if sig.curve != nil {
				var compact bytes.Buffer
				text, _ := base64.RawURLEncoding.DecodeString(value)
				if err := json.Compact(&compact, text); err != nil {
					t.Fatal(err)
				}
				value = encode(compact.String())
			}
			if again := headersOf(t, sig); !slices.Contains(again, value) {
				t.Errorf("%q parses, and encodes to %q", value, again)
			}
		}
	})
}

// headersOf returns all headers that say the signature: with the fields of a
// stamp in each order.
func headersOf(t *testing.T, sig walletSignature) (headers []string) {
	t.Helper()
	der, err := asn1.Marshal(integers{sig.der.r, sig.der.s})
	if err != nil {
		t.Fatal(err)
	}
	if sig.curve == nil {
		return []string{base64.StdEncoding.EncodeToString(der)}
	}
	fields := []string{
		`"publicKey":"` + hex.EncodeToString(sig.key[:]) + `"`, `"scheme":"` + sig.curve.scheme + `"`, `"signature":"` + hex.EncodeToString(der) + `"`,
	}
	for i := range fields {
		for j := range fields {
			if i != j {
				headers = append(headers, encode("{"+fields[i]+","+fields[j]+","+fields[3-i-j]+"}"))
			}
		}
	}
	return headers
}
