package signer

import (
	"encoding/base64"
	"regexp"
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

// A relay may answer with any challenge: what is signed is what was asked for.
func TestHostileChallenges(t *testing.T) {
	jwt := token("{}")
	for _, o := range everything {
		if o.payload == "" {
			continue
		}
		isToken := o.op == OpVerifyCredential // whose own are in TestHostileTokens
		bad, elsewhere := map[string]string{}, revokePayload
		if !isToken {
			elsewhere = jwt
			bad = map[string]string{
				"a sign-in":             jwt,
				"an unknown activity":   strings.Replace(o.payload, "ACTIVITY_TYPE_", "ACTIVITY_TYPE_X_", 1),
				"invalidateExisting":    strings.Replace(o.payload, `"parameters":{`, `"parameters":{"invalidateExisting":true,`, 1),
				"expirationSeconds":     strings.Replace(o.payload, `"parameters":{`, `"parameters":{"expirationSeconds":"999999",`, 1),
				"apiKeyName":            strings.Replace(o.payload, `"parameters":{`, `"parameters":{"apiKeyName":"",`, 1),
				"no parameters":         regexp.MustCompile(`"parameters":.*,"timestampMs"`).ReplaceAllString(o.payload, `"parameters":{},"timestampMs"`),
				"another version of it": strings.TrimSuffix(o.payload, `"}`) + `_V9"}`,
			}
		}
		if o.op != OpRevokeSession {
			bad["an opaque text"] = "cGxhY2Vob2xkZXI="
		}
		for _, other := range everything {
			if other.payload != "" && other.name != o.name && (!isToken || other.op != o.op) {
				bad["what is signed to "+other.name] = other.payload
			}
		}
		for name, payload := range bad {
			t.Run(o.name+"/"+name, func(t *testing.T) {
				if payload == o.payload {
					t.Fatal("that is the good one")
				}
				p := o.playFrom(t, SignOptions{}, challengeAnswer(payload))
				p.wantEnd(t, "ask sign", "", ErrIntentMismatch)
				if p.uses != 0 {
					t.Error("the key was used")
				}
			})
		}
		t.Run(o.name+"/another organization", func(t *testing.T) {
			if isToken {
				o.playFrom(t, SignOptions{Organization: "org_mine"}, challengeAnswer(o.payload), o.answer).wantEnd(t, o.legs(), o.status, "") // it names none
				return
			}
			p := o.playFrom(t, SignOptions{Organization: "org_mine"}, challengeAnswer(o.payload))
			p.wantEnd(t, "ask sign", "", ErrOrganizationMismatch)
			if p.uses != 0 {
				t.Error("the key was used")
			}
			o.playFrom(t, SignOptions{Organization: "org_sim"}, challengeAnswer(o.payload), o.answer).wantEnd(t, o.legs(), o.status, "")
		})
		// A relay that was honest once has to be so again.
		t.Run(o.name+"/the second time", func(t *testing.T) {
			p := o.play(t, errLost, challengeAnswer(elsewhere))
			p.wantEnd(t, o.legs()+" 125ms ask", "", ErrIntentMismatch)
			if p.uses != 1 {
				t.Errorf("%d signatures, want 1", p.uses)
			}
		})
	}
}

// What was submitted is what is signed, and one of it.
func TestHostileSubstitutions(t *testing.T) {
	for name, test := range map[string]edits{
		"revoke": {
			"two sessions": {`"key_sim"`, `"key_sim","key_other"`},
			"none":         {`"key_sim"`, ""},
		},
		"refresh": {
			"another key":              {clientKey, "02" + strings.Repeat("ab", 32)},
			"the key, shouted":         {clientKey, strings.ToUpper(clientKey)},
			"the key, not compressed":  {clientKey, "04f45f2a22c908b9ce09a7150e514afd24627c401c38a4afc164e1ea783adaaa31" + strings.Repeat("0", 64)},
			"the key with the other y": {clientKey, "03" + clientKey[2:]},
			"the key with a blank":     {clientKey, clientKey + " "},
			"two keys":                 {`"` + clientKey + `"`, `["` + clientKey + `"]`},
		},
		"add EMAIL_OTP": {
			"another address": {"a@b.c", "evil@b.c"},
			"it, shouted":     {"a@b.c", "A@B.C"},
			"two":             {`"a@b.c"`, `["a@b.c"]`},
			"none":            {"a@b.c", ""},
		},
		"add SMS_OTP": {"another number": {"+15550100", "+15550199"}, "none": {"+15550100", ""}},
		"add OAUTH": {
			"another token": {"h.p.s", "h.p.evil"},
			"two":           {`{"oidcToken"`, `{"oidcToken":"h.p.evil","providerName":"x"},{"oidcToken"`},
			"another first": {`"oauthProviders":[`, `"oauthProviders":[{},`},
			"claims":        {`"providerName"`, `"oidcClaims":{},"providerName"`},
		},
		"add PASSKEY": {
			"another attestation": {"o2NmbXQ", "o2NmbXR"},
			"two":                 {`"authenticators":[`, `"authenticators":[{},`},
			"none":                {`"attestationObject":"o2NmbXQ",`, ""},
			"more of it":          {`"credentialId"`, `"extra":1,"credentialId"`},
		},
		"remove EMAIL_OTP": {"a new address": {`"userEmail":""`, `"userEmail":"evil@b.c"`}},
		"remove SMS_OTP":   {"a new number": {`"userPhoneNumber":""`, `"userPhoneNumber":"+15550199"`}},
		"remove OAUTH":     {"two": {`["p"]`, `["p","q"]`}, "all": {`["p"]`, `[]`}},
		"remove PASSKEY":   {"two": {`["a"]`, `["a","b"]`}, "all": {`["a"]`, `null`}},
		"export": {
			"another key":         {sealingKey, "04" + sealingKey[2:128] + "00"},
			"the key, shouted":    {sealingKey, strings.ToUpper(sealingKey)},
			"the key, compressed": {sealingKey, "03" + sealingKey[2:66]},
			"two keys":            {`"` + sealingKey + `"`, `["` + sealingKey + `"]`},
			"no key":              {`"targetPublicKey":"` + sealingKey + `",`, ""},
			"more of it":          {`"walletId"`, `"language":"x","walletId"`},
		},
	} {
		o := theOne(t, name)
		for what, edit := range test {
			t.Run(name+"/"+what, func(t *testing.T) {
				payload := strings.Replace(o.payload, edit[0], edit[1], 1)
				if payload == o.payload {
					t.Fatal("that changes nothing")
				}
				p := o.playFrom(t, SignOptions{}, challengeAnswer(payload))
				p.wantEnd(t, "ask sign", "", ErrIntentMismatch)
				if p.uses != 0 {
					t.Error("the key was used")
				}
			})
		}
	}
}

// One consent is for one thing: a relay that forgets, or pretends to, gets no
// second signature for another. Each of these would be signed as the first.
func TestHostileSecondChallenges(t *testing.T) {
	forgetful := map[string]any{
		"lost":      errLost,
		"503":       envelope(503, "X"),
		"401":       envelope(401, "UNAUTHORIZED"),
		"forgotten": envelope(401, "BRIDGE_CHALLENGE_UNKNOWN"),
		"anew":      envelope(401, "BRIDGE_UNAUTHENTICATED"),
		"replayed":  envelope(409, "BRIDGE_SIGNATURE_REPLAYED"),
	}
	for _, o := range everything {
		if o.payload == "" {
			continue
		}
		others := edits{"organization": {"org_sim", "org_other"}}
		switch o.name {
		case "sign in EMAIL_OTP", "sign in SMS_OTP":
			others = nil // each token is another
		case "export":
			others = with(others, edits{"wallet": {`"walletId":"w"`, `"walletId":"v"`}})
		case "revoke":
			others = with(others, edits{"session": {"key_sim", "key_other"}, "user": {"user_sim", "user_other"}})
		case "remove OAUTH":
			others = with(others, edits{"provider": {`["p"]`, `["q"]`}})
		case "remove PASSKEY":
			others = with(others, edits{"passkey": {`["a"]`, `["b"]`}})
		case "add OAUTH":
			others = with(others, edits{"provider": {"google", "apple"}})
		}
		for why, lost := range forgetful {
			for what, edit := range others {
				t.Run(o.name+"/"+why+"/another "+what, func(t *testing.T) {
					other := strings.Replace(o.payload, edit[0], edit[1], 1)
					o.playFrom(t, SignOptions{}, challengeAnswer(other), o.answer).wantEnd(t, o.legs(), o.status, "")
					p := o.play(t, lost, challengeAnswer(other))
					if wantKind(t, p.done.Err, ErrIntentMismatch); p.uses != 1 {
						t.Errorf("%d signatures, want 1", p.uses)
					}
				})
			}
			// Another time, another order and another spelling say the same.
			t.Run(o.name+"/"+why+"/the same", func(t *testing.T) {
				again := strings.Replace(o.payload, "1775681700000", "1775681799999", 1)
				again = regexp.MustCompile(`"parameters":\{(.*),("[a-zA-Z]+":"[^"]*")\},`).ReplaceAllString(again, `"parameters" : {$2,$1},`)
				p := o.play(t, lost, challengeAnswer(again), o.answer)
				if p.done.Status != o.status || p.uses != 2 {
					t.Errorf("end = %+v after %d signatures", p.done, p.uses)
				}
			})
		}
	}
}
