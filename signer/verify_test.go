//go:build !js

package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
)

func init() { parsers[P256] = ParseP256 }

func TestVerifyVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, PublicKey, Payload, RS, DER string
		Curve                             Curve
		Valid                             bool
	}](t, "verify.json") {
		t.Run(v.Name, func(t *testing.T) {
			key, err := ParsePublicKey(v.Curve, unhexText(t, v.PublicKey))
			if err != nil {
				t.Fatal(err)
			}
			der, err := encodeDER(v.Curve, unhexText(t, v.RS))
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(der); got != v.DER {
				t.Errorf("DER = %s\nwant  %s", got, v.DER)
			}
			if got := key.Verify([]byte(v.Payload), der); got != v.Valid {
				t.Errorf("Verify = %v, want %v", got, v.Valid)
			}
		})
	}
}

func TestStampVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Header, PublicKey, Scheme, Signature, Payload string
		Fail                                                Kind
	}](t, "stamp.json") {
		t.Run(v.Name, func(t *testing.T) {
			stamp, err := ParseStamp(v.Header)
			wantKind(t, err, v.Fail)
			if v.Fail != "" {
				return
			}
			if got := stamp.PublicKey.String(); got != v.PublicKey {
				t.Errorf("public key = %s, want %s", got, v.PublicKey)
			}
			if got := stamp.PublicKey.Curve().Scheme(); got != v.Scheme {
				t.Errorf("scheme = %s, want %s", got, v.Scheme)
			}
			if got := hex.EncodeToString(stamp.Signature); got != v.Signature {
				t.Errorf("signature = %s, want %s", got, v.Signature)
			}
			if !stamp.PublicKey.Verify([]byte(v.Payload), stamp.Signature) {
				t.Error("signature does not verify over the payload")
			}
		})
	}
}

func TestDERHeaderVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Header, DER, PublicKey, Payload string
		Curve                                 Curve
		Fail                                  Kind
	}](t, "der_header.json") {
		t.Run(v.Name, func(t *testing.T) {
			der, err := ParseDERHeader(v.Curve, v.Header)
			wantKind(t, err, v.Fail)
			if v.Fail != "" {
				return
			}
			if got := hex.EncodeToString(der); got != v.DER {
				t.Errorf("DER = %s, want %s", got, v.DER)
			}
			if got := encodeDERHeader(der); got != v.Header {
				t.Errorf("encoded again = %s, want %s", got, v.Header)
			}
			key, err := ParsePublicKey(v.Curve, unhexText(t, v.PublicKey))
			if err != nil {
				t.Fatal(err)
			}
			if !key.Verify([]byte(v.Payload), der) {
				t.Error("signature does not verify over the payload")
			}
		})
	}
}

// What only the arithmetic of the curve can tell.
func TestParsePublicKey(t *testing.T) {
	const x = "f739f8c77b32f4d5f13265861febd76e7a9c61a1140d296b8c16302508870316"
	for _, prefix := range []string{"02", "03"} {
		compressed := unhexText(t, prefix+x)
		want, _ := P256PublicKey(compressed)
		if got, err := ParsePublicKey(P256, compressed); err != nil || got != want {
			t.Errorf("key = %s, %v, want %s", got, err, want)
		}
	}
	for _, curve := range []Curve{P256, Secp256k1} {
		_, err := ParsePublicKey(curve, unhexText(t, "02"+strings.Repeat("ff", 32)))
		wantKind(t, err, ErrKeyMalformed)
	}
	noPoint, err := P256PublicKey(unhexText(t, "02"+strings.Repeat("ff", 32)))
	if err != nil || noPoint.Verify(nil, unhexText(t, "3006020101020101")) {
		t.Errorf("what is no point: %v, or it verifies", err)
	}
	for _, curve := range []Curve{"", "P-384", "p-256"} {
		_, err := ParsePublicKey(curve, secp256k1Key(t).public.sec1[:])
		wantKind(t, err, ErrKeyMalformed)
	}
	if (PublicKey{}).Verify(nil, unhexText(t, "3006020101020101")) {
		t.Error("the zero key verifies")
	}
}

func TestGeneratedP256KeySigns(t *testing.T) {
	key, err := GenerateP256()
	if err != nil {
		t.Fatal(err)
	}
	der, err := key.signDER(t.Context(), []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	if !key.Public().Verify([]byte("m"), der) {
		t.Error("signature does not verify")
	}
}

// What parses, encodes to the same text but for the order of its members and the
// blanks between its tokens.
func FuzzStamp(f *testing.F) {
	seed(f, "stamp.json", "header")
	f.Fuzz(func(t *testing.T, header string) {
		stamp, err := ParseStamp(header)
		if err != nil {
			wantKind(t, err, ErrStampMalformed)
			return
		}
		raw, _ := base64.RawURLEncoding.DecodeString(header)
		var compact bytes.Buffer
		if err := json.Compact(&compact, raw); err != nil {
			t.Fatalf("%s parses, but encoding/json says: %v", raw, err)
		}
		raw = compact.Bytes()
		again, _ := base64.RawURLEncoding.DecodeString(stamp.encode())
		if len(raw) != len(again) {
			t.Errorf("%s parses, and encodes as %s", raw, again)
		}
		for _, member := range strings.Split(strings.Trim(string(raw), "{}"), ",") {
			if !bytes.Contains(again, []byte(member)) {
				t.Errorf("%s parses, and encodes as %s", raw, again)
			}
		}
	})
}

// A flipped bit never verifies, in the signature or in what it is over.
func FuzzFlippedBit(f *testing.F) {
	key := parseKey(f, Secp256k1, secretHex)
	f.Add([]byte("payload"), uint16(3), true)
	f.Fuzz(func(t *testing.T, payload []byte, bit uint16, inPayload bool) {
		der, err := key.signDER(t.Context(), payload)
		if err != nil {
			t.Fatal(err)
		}
		if !key.Public().Verify(payload, der) {
			t.Fatal("own signature does not verify")
		}
		payload = bytes.Clone(payload) // the fuzzer's own is not to be changed
		target := der
		if inPayload {
			target = payload
		}
		if len(target) == 0 {
			return
		}
		target[int(bit/8)%len(target)] ^= 1 << (bit % 8)
		if key.Public().Verify(payload, der) {
			t.Errorf("a flipped bit verifies: %x %x", payload, der)
		}
	})
}
