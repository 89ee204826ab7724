package signer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 8, 22, 12, 0, 0, 0, time.UTC)

const (
	revokePayload = `{"organizationId":"org_sim","parameters":{"apiKeyIds":["key_sim"],"userId":"user_sim"},"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_DELETE_API_KEYS"}`
	requestID     = "Request:019542f5-b3e7-1d02-0000-000000000003"
	secretHex     = "e91671c46231f833a6406ccbea0e3e392c76c167bac1cb013f6f1013980455c2"
)

func challengeFor(payload string) Challenge {
	return Challenge{Payload: payload, RequestID: requestID, ExpiresAt: noon.Add(time.Minute)}
}

// countingKey is a secp256k1 key that counts how often it is used.
func countingKey(t *testing.T) (*Key, *int) {
	inner, used := parseKey(t, Secp256k1, secretHex), new(int)
	return NewKey(inner.public, func(ctx context.Context, m []byte) ([]byte, error) {
		*used++
		return inner.sign(ctx, m)
	}, nil), used
}

func TestSignChallengeFormats(t *testing.T) {
	jwt := "eyJhbGciOiJFUzI1NiJ9.eyJwdWJsaWNfa2V5IjoiMDIifQ.c2ln"
	for _, test := range []struct {
		name, payload string
		format, want  Format
		fail          Kind
	}{
		{"activity", revokePayload, FormatAuto, FormatStamp, ""},
		{"activity by default", revokePayload, "", FormatStamp, ""},
		{"opaque", "cGxhY2Vob2xkZXI=", FormatAuto, FormatDER, ""},
		{"activity as der", revokePayload, FormatDER, FormatDER, ""},
		{"opaque as der", "cGxhY2Vob2xkZXI=", FormatDER, FormatDER, ""},
		{"opaque as stamp", "cGxhY2Vob2xkZXI=", FormatStamp, "", ErrIntentMismatch},
		{"opaque in no known form", "cGxhY2Vob2xkZXI=", "raw", "", ErrArgumentInvalid},
		{"unknown", revokePayload, "raw", "", ErrArgumentInvalid},
		{"jwt without an intent", jwt, FormatAuto, "", ErrIntentMismatch},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, used := countingKey(t)
			s, err := SignChallenge(t.Context(), key, challengeFor(test.payload), SignOptions{Format: test.format}, noon)
			wantKind(t, err, test.fail)
			if test.fail != "" {
				if *used != 0 {
					t.Error("the key was used")
				}
				return
			}
			if s.Format != test.want || s.RequestID != requestID || s.Intent != RevokeSession {
				t.Errorf("signed = %+v, want format %s", s, test.want)
			}
			der, err := key.signDER(t.Context(), []byte(test.payload))
			if err != nil {
				t.Fatal(err)
			}
			want := encodeDERHeader(der)
			if test.want == FormatStamp {
				want = Stamp{key.Public(), der}.encode()
			}
			if s.Header != want {
				t.Errorf("header = %s, want the signature of the payload's bytes, %s", s.Header, want)
			}
		})
	}
}

func TestSignChallengeRefusesBeforeSigning(t *testing.T) {
	payment := strings.Replace(revokePayload, "DELETE_API_KEYS", "SIGN_TRANSACTION_V2", 1)
	for _, test := range []struct {
		name string
		c    Challenge
		opt  SignOptions
		now  time.Time
		want Kind
	}{
		{"expired", challengeFor(revokePayload), SignOptions{}, noon.Add(time.Minute), ErrChallengeExpired},
		{"payment for a revocation", challengeFor(payment), SignOptions{}, noon, ErrIntentMismatch},
		{"trailing data", challengeFor(revokePayload + "{}"), SignOptions{}, noon, ErrPayloadMalformed},
		{"unknown intent", challengeFor(revokePayload), SignOptions{Intent: Intent{Name: "x"}}, noon, ErrArgumentInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, used := countingKey(t)
			_, err := SignChallenge(t.Context(), key, test.c, test.opt, test.now)
			wantKind(t, err, test.want)
			if *used != 0 {
				t.Error("the key was used")
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.RequestID != requestID {
				t.Errorf("error = %+v, want the request id in it", err)
			}
			if strings.Contains(err.Error(), "key_sim") {
				t.Errorf("error %q quotes the payload", err)
			}
		})
	}
}

// What an error says of a challenge is how late it is, and what it is for.
func TestRefusalsSayWhatWasSeen(t *testing.T) {
	key, _ := countingKey(t)
	for _, test := range []struct {
		payload string
		intent  IntentName
		now     time.Time
		want    string
	}{
		{revokePayload, "", noon.Add(150 * time.Second), "signer: by this clock the challenge expired 90 s ago"},
		{revokePayload, SignIn, noon, "signer: the payload (ACTIVITY_TYPE_DELETE_API_KEYS) is not what sign-in signs"},
		{"b3BhcXVl", SignIn, noon, "signer: the payload (opaque) is not what sign-in signs"},
	} {
		_, err := SignChallenge(t.Context(), key, challengeFor(test.payload), SignOptions{Intent: Intent{Name: test.intent}}, test.now)
		if err == nil || err.Error() != test.want {
			t.Errorf("error = %v, want %s", err, test.want)
		}
	}
}

// The organization is the caller's to know: a key remembers nothing of what it
// signed, and what was signed says whose it was.
func TestOrganization(t *testing.T) {
	other := strings.Replace(revokePayload, "org_sim", "org_other", 1)
	key, used := countingKey(t)
	for _, test := range []struct {
		payload, held, organization string
		fail                        Kind
	}{
		{revokePayload, "", "org_sim", ""},
		{other, "", "org_other", ""},
		{revokePayload, "org_sim", "org_sim", ""},
		{other, "org_sim", "", ErrOrganizationMismatch},
		{revokePayload, "ORG_SIM", "", ErrOrganizationMismatch},
		{"b3BhcXVl", "org_sim", "", ""}, // names none
	} {
		*used = 0
		s, err := SignChallenge(t.Context(), key, challengeFor(test.payload), SignOptions{Organization: test.held}, noon)
		wantKind(t, err, test.fail)
		if s.Organization != test.organization || (*used == 1) != (test.fail == "") {
			t.Errorf("%s, held to %q: organization = %q, signed %d times", test.payload, test.held, s.Organization, *used)
		}
	}
}

func TestPayloads(t *testing.T) {
	const opaque = "b3BhcXVl"
	jwt := "e30.e30.c2ln"
	for _, test := range []struct {
		payloads Payloads
		payload  string
		intent   IntentName
		fail     Kind
	}{
		{"", opaque, RevokeSession, ""},
		{PayloadsAll, opaque, RevokeSession, ""},
		{PayloadsActivities, opaque, RevokeSession, ErrIntentMismatch},
		{PayloadsActivities, opaque, "", ErrIntentMismatch},
		{PayloadsActivities, revokePayload, RevokeSession, ""},
		{PayloadsActivities, jwt, SignIn, ""},
		{"opaque", revokePayload, RevokeSession, ErrArgumentInvalid},
		{"ALL", opaque, RevokeSession, ErrArgumentInvalid},
	} {
		key, used := countingKey(t)
		_, err := SignChallenge(t.Context(), key, challengeFor(test.payload), SignOptions{Intent: Intent{Name: test.intent}, Payloads: test.payloads}, noon)
		wantKind(t, err, test.fail)
		if (*used == 1) != (test.fail == "") {
			t.Errorf("%q, %s: signed %d times", test.payloads, test.payload, *used)
		}
		p, err := ParsePayload(test.payload)
		wantKind(t, err, "")
		wantKind(t, test.payloads.Admit(p), test.fail)
	}
	wantKind(t, Payloads("opaque").Admit(Payload{}), ErrArgumentInvalid)
}

// Allow is asked once, after every check of ours and before the signature, and
// its refusal comes back as it is.
func TestAllow(t *testing.T) {
	key, used := countingKey(t)
	refusal := &Error{Kind: ErrKeyLost, Msg: "the key is leaving"}
	type another struct{ error }
	asked := 0
	sign := func(payload string, answer error) error {
		asked, *used = 0, 0
		_, err := SignChallenge(t.Context(), key, challengeFor(payload), SignOptions{Organization: "org_sim", Allow: func(ctx context.Context) error {
			if asked++; ctx != t.Context() || *used != 0 {
				t.Error("asked with another context, or too late")
			}
			return answer
		}}, noon)
		return err
	}
	if err := sign(revokePayload, nil); err != nil || asked != 1 || *used != 1 {
		t.Errorf("allowed: %v, asked %d times, signed %d times", err, asked, *used)
	}
	for _, answer := range []error{refusal, another{errors.New("no")}, context.Canceled} {
		if err := sign(revokePayload, answer); err != answer || asked != 1 || *used != 0 {
			t.Errorf("refused with %v: %v, asked %d times, signed %d times", answer, err, asked, *used)
		}
	}
	if refusal.RequestID != "" {
		t.Error("the refusal was written to")
	}
	for _, payload := range []string{"{}", strings.Replace(revokePayload, "org_sim", "org_other", 1)} {
		if err := sign(payload, nil); err == nil || asked != 0 || *used != 0 {
			t.Errorf("%s: %v, asked %d times, signed %d times", payload, err, asked, *used)
		}
	}
}

func TestKeyNeverShowsItsPrivateHalf(t *testing.T) {
	for curve := range parsers {
		key := parseKey(t, curve, secretHex)
		secret := unhexText(t, secretHex)
		quoted, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		name := "signer.Key(" + string(curve) + " " + key.Public().String() + ")"
		if key.String() != name || string(quoted) != `"`+name+`"` {
			t.Errorf("key = %s, quoted %s, want %s", key, quoted, name)
		}
		for _, s := range []string{
			string(quoted), fmt.Sprint(key), fmt.Sprintf("%v %+v %#v %s %q %x", key, key, key, key, key, key),
		} {
			if strings.Contains(s, secretHex) || strings.Contains(s, string(secret)) || strings.Contains(s, fmt.Sprint(secret)) {
				t.Errorf("%s: the private key shows in %q", curve, s)
			}
		}
	}
}

func TestDestroyWipesOnce(t *testing.T) {
	wiped := 0
	key := NewKey(parseKey(t, Secp256k1, secretHex).Public(), nil, func() { wiped++ })
	key.Destroy()
	key.Destroy()
	if wiped != 1 {
		t.Errorf("destroy was called %d times, want 1", wiped)
	}
	own := parseKey(t, Secp256k1, secretHex)
	read := own.scalar // what Destroy takes away from Seal
	own.Destroy()
	var left [32]byte
	if read(&left); left != [32]byte{} {
		t.Error("the private half is still there")
	}
}

func TestDestroyedKeySignsNoMore(t *testing.T) {
	for curve := range parsers {
		key := parseKey(t, curve, secretHex)
		key.Destroy()
		key.Destroy()
		_, err := SignChallenge(t.Context(), key, challengeFor(revokePayload), SignOptions{}, noon)
		wantKind(t, err, ErrKeyNotFound)
	}
}

func TestPrivateKeyRange(t *testing.T) {
	orders := map[Curve]string{P256: orderP256, Secp256k1: orderSecp256k1}
	for curve, parse := range parsers {
		order := orders[curve]
		last := []byte(order)
		last[31]--
		over := []byte(order)
		over[31]++
		one := append(make([]byte, 31), 1)
		for name, test := range map[string]struct {
			scalar []byte
			want   Kind
		}{
			"zero": {make([]byte, 32), ErrKeyMalformed}, "one": {one, ""}, "n-1": {last, ""},
			"n": {[]byte(order), ErrKeyMalformed}, "n+1": {over, ErrKeyMalformed},
			"all ones": {bytes.Repeat([]byte{0xff}, 32), ErrKeyMalformed},
			"empty":    {nil, ErrKeyMalformed}, "31 bytes": {one[1:], ErrKeyMalformed}, "33 bytes": {append([]byte{0}, one...), ErrKeyMalformed},
		} {
			t.Run(string(curve)+" "+name, func(t *testing.T) {
				_, err := parse(test.scalar)
				wantKind(t, err, test.want)
			})
		}
	}
}

// A SignFunc may be anything: a browser, a card, a bug. What it returns is
// checked before it is sent.
func TestSignFuncIsNotTrusted(t *testing.T) {
	public := parseKey(t, Secp256k1, secretHex).Public()
	one := append(make([]byte, 31, 32), 1)
	for name, rs := range map[string][]byte{
		"nothing": nil, "too short": make([]byte, 63), "too long": make([]byte, 65), "zero": make([]byte, 64),
		"r over n": append(bytes.Repeat([]byte{0xff}, 32), one...), "s over n": append(one, bytes.Repeat([]byte{0xff}, 32)...),
		"r zero": append(make([]byte, 32), one...), "s zero": append(one, make([]byte, 32)...),
	} {
		t.Run(name, func(t *testing.T) {
			key := NewKey(public, func(context.Context, []byte) ([]byte, error) { return rs, nil }, nil)
			_, err := SignChallenge(t.Context(), key, challengeFor(revokePayload), SignOptions{}, noon)
			wantKind(t, err, ErrSignatureMalformed)
		})
	}
}

func BenchmarkSignChallenge(b *testing.B) {
	for curve := range parsers {
		b.Run(string(curve), func(b *testing.B) {
			b.ReportAllocs()
			key := parseKey(b, curve, secretHex)
			c := challengeFor(revokePayload)
			for b.Loop() {
				if _, err := SignChallenge(b.Context(), key, c, SignOptions{}, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParsePayload(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParsePayload(revokePayload); err != nil {
			b.Fatal(err)
		}
	}
}
