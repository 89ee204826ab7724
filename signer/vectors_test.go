package signer

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func readVectors[T any](t testing.TB, file string) []T {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var vectors []T
	if err := json.Unmarshal(data, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) == 0 {
		t.Fatal("no vectors in " + file)
	}
	return vectors
}

func unhexText(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// wantKind fails the test unless err is of that kind, "" meaning no error.
func wantKind(t *testing.T, err error, want Kind) {
	t.Helper()
	if want == "" && err != nil || want != "" && !errors.Is(err, want) {
		t.Fatalf("error = %v, want %q", err, string(want))
	}
}

// parsers make the keys that this process can hold. On a host it has one of P-256
// too, see verify_test.go.
var parsers = map[Curve]func([]byte) (*Key, error){Secp256k1: ParseSecp256k1}

func parseKey(t testing.TB, curve Curve, scalar string) *Key {
	t.Helper()
	key, err := parsers[curve](unhexText(t, scalar))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestSignVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, PrivateKey, PublicKey, Payload, DER string
		Curve                                     Curve
	}](t, "sign.json") {
		if parsers[v.Curve] == nil {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			key := parseKey(t, v.Curve, v.PrivateKey)
			if got := key.Public().String(); got != v.PublicKey {
				t.Errorf("public key = %s, want %s", got, v.PublicKey)
			}
			der, err := key.signDER(context.Background(), []byte(v.Payload))
			if err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(der); got != v.DER {
				t.Errorf("signature = %s\nwant        %s", got, v.DER)
			}
		})
	}
}

func TestDERVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, DER, RS string
		Curve         Curve
		Fail          Kind
	}](t, "der.json") {
		t.Run(v.Name, func(t *testing.T) {
			rs, err := decodeDER(v.Curve, unhexText(t, v.DER))
			wantKind(t, err, v.Fail)
			if got := hex.EncodeToString(rs[:]); v.Fail == "" && got != v.RS {
				t.Errorf("r||s = %s\nwant   %s", got, v.RS)
			}
		})
	}
}

func TestStampVectorsEncode(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Header, PublicKey, Scheme, Signature string
		Canonical                                  bool
	}](t, "stamp.json") {
		if !v.Canonical {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			curve := map[string]Curve{P256.Scheme(): P256, Secp256k1.Scheme(): Secp256k1}[v.Scheme]
			stamp := Stamp{PublicKey{curve, [33]byte(unhexText(t, v.PublicKey))}, unhexText(t, v.Signature)}
			if got := stamp.encode(); got != v.Header {
				t.Errorf("encoded = %s\nwant      %s", got, v.Header)
			}
		})
	}
}

func TestChallengeVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Body, RequestID, Payload string
		Type                           string
		RepeatAt                       string // in Body, stands for Repeat letters
		Repeat                         int
		Now                            time.Time
		Fail                           Kind
	}](t, "challenge.json") {
		t.Run(v.Name, func(t *testing.T) {
			if v.Repeat > 0 {
				v.Body = strings.Replace(v.Body, v.RepeatAt, strings.Repeat("x", v.Repeat), 1)
			}
			c, err := ParseChallenge([]byte(v.Body))
			if err == nil {
				err = c.checkExpiry(v.Now)
			}
			wantKind(t, err, v.Fail)
			if v.Fail != "" {
				return
			}
			if c.RequestID != v.RequestID {
				t.Errorf("RequestID = %q, want %q", c.RequestID, v.RequestID)
			}
			if c.Type != v.Type {
				t.Errorf("Type = %q, want %q", c.Type, v.Type)
			}
			if v.Payload != "" && c.Payload != v.Payload {
				t.Errorf("Payload = %q, want %q", c.Payload, v.Payload)
			}
		})
	}
}

func TestPayloadVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Payload, ActivityType, OrganizationID string
		Kind                                        PayloadKind
		Fail                                        Kind
	}](t, "payload.json") {
		t.Run(v.Name, func(t *testing.T) {
			p, err := ParsePayload(v.Payload)
			wantKind(t, err, v.Fail)
			if p.Kind != v.Kind || p.ActivityType != v.ActivityType || p.OrganizationID != v.OrganizationID {
				t.Errorf("payload = %s %q %q, want %s %q %q", p.Kind, p.ActivityType, p.OrganizationID, v.Kind, v.ActivityType, v.OrganizationID)
			}
		})
	}
}

func TestIntentVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, PublicKey, Payload string
		Intent                   struct {
			Name                                             IntentName
			TargetPublicKey                                  string
			Type                                             CredentialType
			Email, PhoneNumber, OIDCToken, AttestationObject string
		}
		Fail Kind
	}](t, "intent.json") {
		t.Run(v.Name, func(t *testing.T) {
			key, err := P256PublicKey(unhexText(t, v.PublicKey))
			if err != nil {
				t.Fatal(err)
			}
			payload, err := ParsePayload(v.Payload)
			if err != nil {
				t.Fatal(err)
			}
			in := v.Intent
			intent := Intent{
				Name: in.Name, TargetPublicKey: in.TargetPublicKey, Credential: in.Type,
				Submitted: in.Email + in.PhoneNumber + in.OIDCToken + in.AttestationObject,
			}
			err = intent.Accept(payload, key)
			wantKind(t, err, v.Fail)
			// A relay refuses nothing that a signer would sign.
			if err == nil && intent.Name != "" && !intent.Plausible(payload) {
				t.Error("accepted, but not plausible")
			}
		})
	}
}

func TestIDVectors(t *testing.T) {
	for _, v := range readVectors[struct {
		Name, Kind, ID string
		Valid          bool
	}](t, "id.json") {
		t.Run(v.Name, func(t *testing.T) {
			if got := ValidID(v.Kind, v.ID); got != v.Valid {
				t.Errorf("ValidID(%q, %q) = %v, want %v", v.Kind, v.ID, got, v.Valid)
			}
		})
	}
}
