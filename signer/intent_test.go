package signer

import (
	"encoding/base64"
	"strings"
	"testing"
)

// activity is a payload of that type.
func activity(typ, parameters string) string {
	return `{"organizationId":"org_sim","parameters":` + parameters + `,"timestampMs":"1775681700000","type":"` + typ + `"}`
}

// A relay knows neither the key that will sign nor the customer's contact, and
// holds all that it does know against the payload.
func TestPlausible(t *testing.T) {
	own, other := parseKey(t, Secp256k1, secretHex).Public().String(), "02"+strings.Repeat("ab", 32)
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	jwt := func(claims string) string { return encode(`{"alg":"ES256"}`) + "." + encode(claims) + ".c2ln" }
	email := Intent{Name: AddCredential, Credential: EmailOTP}
	phone := Intent{Name: AddCredential, Credential: SMSOTP}
	for _, test := range []struct {
		name    string
		in      Intent
		payload string
		want    bool
	}{
		{"a sign-in for some key", Intent{Name: SignIn}, jwt(`{"public_key":"` + own + `"}`), true},
		{"a sign-in for no key", Intent{Name: SignIn}, jwt(`{}`), true},
		{"a sign-in for what is no key", Intent{Name: SignIn}, jwt(`{"public_key":1}`), false},
		{"some address", email, activity(activityUpdateEmail, `{"userEmail":"a@b.c","userId":"u"}`), true},
		{"some number", phone, activity(activityUpdatePhone, `{"userId":"u","userPhoneNumber":"+15550100"}`), true},
		{"no address, which removes one", email, activity(activityUpdateEmail, `{"userEmail":"","userId":"u"}`), false},
		{"no number, which removes one", phone, activity(activityUpdatePhone, `{"userId":"u","userPhoneNumber":""}`), false},
		{"a number for an address", email, activity(activityUpdatePhone, `{"userId":"u","userPhoneNumber":"+15550100"}`), false},
		{"the key of a refresh", Intent{Name: RefreshSession, TargetPublicKey: own}, activity(activityCreateSession, `{"targetPublicKey":"`+own+`"}`), true},
		{"another key", Intent{Name: RefreshSession, TargetPublicKey: own}, activity(activityCreateSession, `{"targetPublicKey":"`+other+`"}`), false},
		{"no key, where none was named", Intent{Name: RefreshSession}, activity(activityCreateSession, `{}`), false},
		{"no wallet key, where none was named", Intent{Name: ExportWallet}, activity(activityExportWallet, `{"walletId":"w"}`), false},
		{"the zero value", Intent{}, revokePayload, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := ParsePayload(test.payload)
			if err != nil {
				t.Fatal(err)
			}
			if got := test.in.Plausible(p); got != test.want {
				t.Errorf("Plausible = %v, want %v", got, test.want)
			}
		})
	}
}
