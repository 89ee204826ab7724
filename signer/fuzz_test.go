package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// seed adds the texts of a vector file to a fuzz corpus.
func seed(f *testing.F, file, field string) {
	for _, v := range readVectors[map[string]any](f, file) {
		if s, ok := v[field].(string); ok {
			f.Add(s)
		}
	}
}

// What decodes is what encodes: a signature has one form.
func FuzzDER(f *testing.F) {
	for _, v := range readVectors[struct{ DER string }](f, "der.json") {
		f.Add(unhexText(f, v.DER))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, curve := range []Curve{P256, Secp256k1} {
			rs, err := decodeDER(curve, der)
			if err != nil {
				wantKind(t, err, ErrSignatureMalformed)
				continue
			}
			again, err := encodeDER(curve, rs[:])
			if err != nil || !bytes.Equal(again, der) {
				t.Errorf("%s: %x decodes, and encodes as %x, %v", curve, der, again, err)
			}
		}
	})
}

// stricter lists what parseJSON refuses and encoding/json takes.
var stricter = []string{"JSON is not valid UTF-8", "JSON object with a duplicate name", "JSON escape of a lone surrogate", "JSON is nested deeper than 16", "JSON of more than 4096 values"}

// parseJSON agrees with encoding/json on what is valid and what it says, and is
// stricter only where the design says.
func FuzzJSON(f *testing.F) {
	seed(f, "payload.json", "payload")
	seed(f, "challenge.json", "body")
	for _, s := range []string{ // each rule of RFC 8259, and what just breaks it
		"null", "true", "false", "nul", "[false,true,null]", "{}", "{ }", `{ "a" : 1 , "b" : 2 }`, `{"a" 1}`, `{1:2}`, `{a":1}`, `{"a":1,}`, `{,}`, `{"a":1`, `{"a"`, `{"\x":1}`, `{"\x:1}`,
		"[]", "[ ]", "[ 1 , 2 ]", "[1,]", "[,]", "[1", "[1 2]", "]", "1:",
		"0", "-0", "-1", "-", "--1", "+1", "01", "-01", "1.5", "-1.5", "1.", ".5", "-.5", "1e5", "1E5", "1e+5", "1E-5", "1e", "1e+", "1e+-5", "e5", "1.e5", "1.5e5", "1.5.5",
		`"`, `"\`, `"\"`, `"\"\\\/\b\f\n\r\t"`, `"\a"`, `"\c"`, `"\u00e9"`, `"\u00E9`, `"\u00e`, `"\u00`, `"\u00eg"`, `"\u`, `"\u0000"`,
		`"\ud83d\ude00"`, `"\ud83d"`, `"\ud83dde00"`, `"\ud83d\u`, `"\ud83d\ud83d"`, `"\ude00\ud83d"`, "\"\x1f\"", "\"\x20\x7f\"", "\"\xff\"", "\"\u2028\"",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseJSON(s)
		if err != nil {
			e, _ := errors.AsType[*Error](err)
			for _, msg := range stricter {
				if e.Msg == msg {
					return
				}
			}
			if json.Valid([]byte(s)) {
				t.Errorf("%q is valid, but: %v", s, err)
			}
			return
		}
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var want any
		if err := d.Decode(&want); err != nil {
			t.Fatalf("%q parses, but encoding/json says: %v", s, err)
		}
		if got := v.any(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q\nparses as %#v\nwant      %#v", s, got, want)
		}
		// Parse, encode, parse: nothing is lost.
		again, err := json.Marshal(v.any())
		if err != nil {
			t.Fatal(err)
		}
		w, err := parseJSON(string(again))
		if err != nil || !reflect.DeepEqual(w.any(), v.any()) || !w.equal(&v) {
			t.Errorf("%q encodes as %q, which parses as %#v, %v", s, again, w.any(), err)
		}
	})
}

// any turns v into what encoding/json decodes to.
func (v jsonValue) any() any {
	switch v.kind {
	case jsonBool:
		return v.scalar == "true"
	case jsonNumber:
		return json.Number(v.scalar)
	case jsonString:
		return v.scalar
	case jsonArray:
		items := make([]any, len(v.items))
		for i := range v.items {
			items[i] = v.items[i].any()
		}
		return items
	case jsonObject:
		members := map[string]any{}
		for _, m := range v.members {
			members[m.name] = m.value.any()
		}
		return members
	}
	return nil
}

// canonicalBase64 is RFC 4648 section 4, padded. It leaves the loose bits of a
// last group to the decoder.
var canonicalBase64 = regexp.MustCompile(`^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$`)

// No text panics, no text but an activity is taken for one, and what is opaque is
// good for nothing else.
func FuzzPayload(f *testing.F) {
	seed(f, "payload.json", "payload")
	seed(f, "intent.json", "payload")
	key := parseKey(f, Secp256k1, secretHex).Public()
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePayload(s)
		if err != nil {
			wantKind(t, err, ErrPayloadMalformed)
			return
		}
		var activity struct{ Type string }
		isObject := json.Unmarshal([]byte(s), &activity) == nil && strings.HasPrefix(strings.TrimSpace(s), "{")
		if isObject != (p.Kind == KindActivity) {
			t.Errorf("%q is taken for %s", s, p.Kind)
		}
		if isObject && activity.Type != p.ActivityType {
			t.Errorf("%q: type %q, but encoding/json reads %q", s, p.ActivityType, activity.Type)
		}
		if p.Kind == KindOpaque {
			raw, err := base64.StdEncoding.DecodeString(s)
			if err != nil || base64.StdEncoding.EncodeToString(raw) != s || !canonicalBase64.MatchString(s) || len(s) < 4 || len(s) > 4096 {
				t.Errorf("%q is taken for opaque", s)
			}
			if _, err := hex.DecodeString(s); err == nil {
				t.Errorf("%q is hex, and is taken for opaque", s)
			}
		}
		if p.Kind == KindJWT && strings.Count(s, ".") != 2 {
			t.Errorf("%q is taken for a JWT", s)
		}
		if err := (Intent{}).Accept(p, key); err == nil && isObject && activity.Type != activityDeleteAPIKeys {
			t.Errorf("%q passes for a revocation", s)
		}
	})
}

// rfc3339 is the grammar of RFC 3339 section 5.6, which [time.Parse] widens: it
// takes an hour of one digit, a comma before the fraction, an offset of 24 h.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2026-08-22T10:05:00Z", "2026-02-28T23:59:59.999999999+23:59", "0000-01-01T00:00:00-00:00", "2024-02-29T00:00:00.1234567891Z", "2026-02-29T00:00:00Z", "0000-01-01T0:00:00Z",
		"2026-02-28T23:59:59-05:30", "2026-02-28T23:59:59+24:00", "2026-02-28T23:59:59+05:60", "2026-02-28T23:59:59X", "2026-02-28T23:60:59Z", "2026-02-28T24:00:00Z",
		"2026-02-28T23:59:59.0Z", "2026-02-28T23:59:59.5", "2026-02-28T23:59:59.", "2026-02-28T23:59:59.Z", "2026-02-28T23:59:59.aZ", "2026-02-28T12:00:00.5/Z", "2026-02-28T12:00:00.5:Z",
		"-02-28T23:59:59Z", "2026-02-28T23:59:.5Z",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseTime(s)
		want, err := time.Parse(time.RFC3339, s)
		if valid := err == nil && rfc3339.MatchString(s); ok != valid || ok && !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v, want %v, %v", s, got, ok, want, valid)
		}
	})
}

// A body that is taken says to encoding/json what it said to us: the field that
// the intent holds a payload against is the field that Grid will read.
func FuzzJudge(f *testing.F) {
	for _, o := range everything {
		f.Add(o.p.Body)
	}
	f.Add(strings.Replace(oauthBody, "h.p.s", `h.\u0070.\ud83d\ude00\"`, 1))
	f.Fuzz(func(t *testing.T, body string) {
		for _, op := range Operations() {
			said, err := op.Judge(body)
			if err != nil {
				if wantKind(t, err, ErrArgumentInvalid); said != (Submission{}) {
					t.Errorf("%s: %q is refused, and read as %+v", op, body, said)
				}
				continue
			}
			if body == "" {
				continue
			}
			// All the fields that there are: one more would be an error. Its reader
			// takes names in any case, and so a twin of ours would be last and win.
			var read struct {
				Type, AccountID, ClientPublicKey, OIDCToken, Nickname, Challenge, EncryptedOTPBundle string

				Attestation struct {
					AttestationObject, ClientDataJSON, CredentialID string
					Transports                                      []string
				}
				Assertion struct {
					CredentialID, ClientDataJSON, AuthenticatorData, Signature string
					UserHandle                                                 json.RawMessage // null is none
				}
			}
			d := json.NewDecoder(strings.NewReader(body))
			d.DisallowUnknownFields()
			if err := d.Decode(&read); err != nil {
				t.Fatalf("%s takes %q, but encoding/json says: %v", op, body, err)
			}
			if _, err := d.Token(); err != io.EOF {
				t.Errorf("%s takes %q, which goes on", op, body)
			}
			want := Submission{Intent: Intent{Name: op.Route().Intent, TargetPublicKey: read.ClientPublicKey}, Account: read.AccountID}
			isComplete := clientKeyHex.MatchString(read.ClientPublicKey)
			switch op {
			case OpChallengeCredential:
				isComplete = isComplete || strings.Trim(body, "{} \t\r\n") == ""
			case OpExportWallet:
				isComplete = isComplete && len(read.ClientPublicKey) == 130
			case OpAddCredential:
				isComplete = true
				want.Intent.Credential, want.Intent.Submitted = CredentialType(read.Type), read.OIDCToken+read.Attestation.AttestationObject
			case OpVerifyCredential:
				want.Intent.Credential = CredentialType(read.Type)
				a := read.Assertion
				switch read.Type {
				case "EMAIL_OTP", "SMS_OTP":
					isComplete = read.EncryptedOTPBundle != ""
				case "OAUTH":
					want.Intent.Name = ""
					isComplete = isComplete && read.OIDCToken != ""
				case "PASSKEY":
					want.Intent.Name, want.Answers = "", true
					isComplete = a.CredentialID != "" && a.ClientDataJSON != "" && a.AuthenticatorData != "" && a.Signature != "" &&
						(a.UserHandle == nil || len(a.UserHandle) > 2 && a.UserHandle[0] == '"')
				default:
					isComplete = false
				}
			}
			if said != want || !isComplete {
				t.Errorf("%s: %q\nis read as %+v\nwant       %+v", op, body, said, want)
			}
		}
	})
}

// clientKeyHex is the pattern in Grid's schema AuthSessionRefreshRequest.
var clientKeyHex = regexp.MustCompile(`^(0[23][0-9a-fA-F]{64}|04[0-9a-fA-F]{128})$`)

// No answer panics, ends an operation that was not signed for, or is taken for
// one but at the status and with the ids that it must have.
func FuzzTerminalAnswer(f *testing.F) {
	for i, o := range everything {
		f.Add(uint8(i), uint16(o.answer.Status), o.answer.Body, true)
		f.Add(uint8(i), uint16(404), envelope(404, "REFERENCE_NOT_FOUND").Body, false)
	}
	f.Fuzz(func(t *testing.T, which uint8, status uint16, body []byte, signed bool) {
		o := everything[int(which)%len(everything)]
		r, err := NewRetry(o.op, o.p, noon.Add(time.Minute), half)
		if err != nil {
			t.Fatal(err)
		}
		if signed && o.payload != "" {
			r.Answered(noon, challengeAnswer(o.payload))
			r.Signed(Signed{Header: "x", RequestID: requestID}, nil) // the signature is not what is fuzzed
		}
		r.Answered(noon, Response{Status: int(status), Body: body})
		done, ok := r.Next().(Done)
		if !ok || done.Err != nil {
			return
		}
		if done.Status == o.gone && status == 404 {
			return
		}
		if !signed && o.payload != "" || done.Status != o.status || int(status) != o.answer.Status || !bytes.Equal(done.Body, body) {
			t.Fatalf("%s ends by %d %q: %+v", o.name, status, body, done)
		}
		if len(o.answer.Body) == 0 {
			if len(body) != 0 {
				t.Errorf("%s ends with the body %q", o.name, body)
			}
			return
		}
		var read map[string]any
		if err := json.Unmarshal(body, &read); err != nil {
			t.Fatalf("%s ends with %q, but encoding/json says: %v", o.name, body, err)
		}
		rows, isList := read["data"].([]any)
		if o.status != Listed {
			rows, isList = []any{read}, true
		}
		if !isList {
			t.Errorf("%s ends with %q", o.name, body)
		}
		for _, r := range rows {
			row, _ := r.(map[string]any)
			if !o.mayEndWith(row) {
				t.Errorf("%s ends with %v", o.name, row)
			}
		}
	})
}

// mayEndWith reads what encoding/json did: a row of a list, or the answer.
func (o performed) mayEndWith(row map[string]any) bool {
	text := func(name string) string {
		s, _ := row[name].(string)
		return s
	}
	isTime := func(name string) bool {
		_, err := time.Parse(time.RFC3339, text(name))
		return err == nil
	}
	kind, _, _ := strings.Cut(text("id"), ":")
	_, isNamed := row["accountId"]
	isOurs := isNamed && strings.EqualFold(text("accountId"), accountID)
	sealed, isSealed := row["encryptedSessionSigningKey"]
	isSealed = isSealed && sealed != nil
	wantSealed := strings.Contains(o.p.Body+o.p.ClientKey, sealingKey)
	if !gridID.MatchString(text("id")) {
		return false
	}
	switch o.op {
	case OpListSessions:
		return kind == "Session" && text("expiresAt") != "" && (!isNamed || isOurs)
	case OpListCredentials:
		return kind == "AuthMethod" && (!isNamed || isOurs)
	case OpAddCredential:
		return kind == "AuthMethod" && isOurs && "add "+text("type") == o.name
	case OpRefreshSession:
		return kind == "Session" && isOurs && isTime("expiresAt") && !isSealed && !strings.EqualFold(text("id"), sessionID)
	case OpVerifyCredential:
		return kind == "Session" && isOurs && isTime("expiresAt") && isSealed == wantSealed && (!isSealed || text("encryptedSessionSigningKey") != "") &&
			strings.TrimSuffix(o.name, ", sealed") == "sign in "+text("type")
	case OpChallengeCredential:
		is := strings.EqualFold(text("id"), credentialID) && isOurs
		if o.name != "challenge PASSKEY" {
			return is && (text("type") == "EMAIL_OTP" || text("type") == "SMS_OTP") && text("otpEncryptionTargetBundle") != ""
		}
		return is && text("type") == "PASSKEY" && text("credentialId") != "" && hex64.MatchString(text("challenge")) &&
			gridRequestID.MatchString(text("requestId")) && isTime("expiresAt")
	case OpExportWallet:
		return strings.EqualFold(text("id"), accountID) && text("encryptedWalletCredentials") != ""
	}
	return false
}

var (
	hex64 = regexp.MustCompile(`^[0-9a-f]{64}$`)

	// The grammars of Grid's ids.
	gridID        = regexp.MustCompile(`^(Session|AuthMethod|InternalAccount):[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	gridRequestID = regexp.MustCompile(`^(Request:)?[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
)
