package signer

import (
	"strconv"
	"strings"
	"testing"
)

// Each body is one edit away from a good one.
func TestJudge(t *testing.T) {
	key := Submission{Intent: Intent{TargetPublicKey: clientKey}}
	sealing := Submission{Intent: Intent{TargetPublicKey: sealingKey}}
	ofType := func(name IntentName, typ CredentialType) Submission {
		return Submission{Intent: Intent{Name: name, Credential: typ}}
	}
	adding := func(typ CredentialType, submitted string) Submission {
		return Submission{Intent: Intent{Name: AddCredential, Credential: typ, Submitted: submitted}, Account: accountID}
	}
	refreshing, exporting, oauth, passkey := key, sealing, key, ofType("", Passkey)
	refreshing.Intent.Name, exporting.Intent.Name, oauth.Intent.Credential, passkey.Answers = RefreshSession, ExportWallet, OAuth, true
	assertion := strings.TrimSuffix(strings.TrimPrefix(passkeyProof, `{"type":"PASSKEY","assertion":`), "}")
	for _, test := range []struct {
		name      string
		op        Operation
		body      string
		want      Submission
		good, bad edits
	}{
		{"refresh", OpRefreshSession, refreshBody, refreshing, edits{}, edits{"a second field": {`{`, `{"expirationSeconds":"999999",`}}},
		{"challenge", OpChallengeCredential, refreshBody, key, edits{}, edits{"a type": {`{`, `{"type":"PASSKEY",`}, "an account": {`{`, `{"accountId":"` + accountID + `",`}}},
		{"export", OpExportWallet, sealingBody, exporting, edits{}, edits{
			"a compressed key":    {sealingKey, "03" + sealingKey[2:66]},
			"the client's":        {sealingKey, clientKey},
			"a half of the point": {sealingKey, sealingKey[:66]},
			"a hybrid key":        {sealingKey, "06" + sealingKey[2:]},
			"a short point":       {sealingKey, sealingKey[:128]},
			"a long point":        {sealingKey, sealingKey + "00"},
			"a point of no hex":   {sealingKey, sealingKey[:129] + "g"},
			"an empty key":        {sealingKey, ""},
			"a key of null":       {`"` + sealingKey + `"`, "null"},
			"a second key":        {`"clientPublicKey"`, `"clientPublicKey":"` + clientKey + `","clientPublicKey"`},
			"an account":          {`{`, `{"accountId":"` + accountID + `",`},
		}},
		{"sign in OAUTH", OpVerifyCredential, verifyBody, oauth, edits{}, with(withoutText("type", `"OAUTH"`), withoutText("oidcToken", `"h.p.s"`), edits{
			"a one-time password":  {"OAUTH", "EMAIL_OTP"},
			"a passkey":            {"OAUTH", "PASSKEY"},
			"another type":         {"OAUTH", "FAX"},
			"a type in lower case": {"OAUTH", "oauth"},
			"a type with a blank":  {"OAUTH", "OAUTH "},
			"no key":               {`,"clientPublicKey":"` + clientKey + `"`, ""},
			"a bundle":             {`"type"`, `"encryptedOtpBundle":"{}","type"`},
			"an assertion":         {`"type"`, `"assertion":` + assertion + `,"type"`},
			"an account":           {`"type"`, `"accountId":"` + accountID + `","type"`},
		})},
		{"sign in EMAIL_OTP", OpVerifyCredential, emailProof, ofType(SignIn, EmailOTP), edits{
			"another bundle":         {"5ec2e7", "00"},
			"a bundle of one letter": {otpBundle, `"x"`},
		}, with(withoutText("type", `"EMAIL_OTP"`), withoutText("encryptedOtpBundle", otpBundle), edits{
			"a token's":             {"EMAIL_OTP", "OAUTH"},
			"a passkey's":           {"EMAIL_OTP", "PASSKEY"},
			"another type":          {"EMAIL_OTP", "FAX"},
			"a bundle that is JSON": {otpBundle, `{"encappedPublic":"04","ciphertext":"5ec2e7"}`},
			"a key":                 {`"type"`, `"clientPublicKey":"` + clientKey + `","type"`},
			"a code in the clear":   {`"type"`, `"otp":"000000","type"`},
			"a code of old":         {`"encryptedOtpBundle":` + otpBundle, `"otp":"000000","clientPublicKey":"` + clientKey + `"`},
			"a token":               {`"type"`, `"oidcToken":"h.p.s","type"`},
		})},
		{"sign in SMS_OTP", OpVerifyCredential, phoneProof, ofType(SignIn, SMSOTP), edits{}, withoutText("encryptedOtpBundle", otpBundle)},
		{"sign in PASSKEY", OpVerifyCredential, passkeyProof, passkey, edits{
			"no userHandle":      {`,"userHandle":"dXNlcg"`, ""},
			"another credential": {"Y3JlZA", "Y3JlZB"},
		}, with(
			withoutText("type", `"PASSKEY"`), withoutText("credentialId", `"Y3JlZA"`), withoutText("clientDataJson", `"e30"`),
			withoutText("authenticatorData", `"YXV0aA"`), withoutText("signature", `"c2ln"`), withoutText("userHandle", `"dXNlcg"`), edits{
				"a code's":                 {"PASSKEY", "EMAIL_OTP"},
				"a token's":                {"PASSKEY", "OAUTH"},
				"another type":             {"PASSKEY", "FAX"},
				"no assertion":             {`,"assertion":` + assertion, ""},
				"an assertion of null":     {assertion, "null"},
				"an assertion of nothing":  {assertion, "{}"},
				"an assertion in a list":   {assertion, "[" + assertion + "]"},
				"an assertion as a text":   {assertion, strconv.Quote(assertion)},
				"an assertion by its case": {`"assertion"`, `"Assertion"`},
				"two assertions":           {`"assertion"`, `"assertion":` + assertion + `,"assertion"`},
				"a registration":           {`"assertion"`, `"attestation"`},
				"what is removed":          {`"credentialId":"Y3JlZA",`, ""},
				"a field more":             {`"credentialId"`, `"id":"Y3JlZA","credentialId"`},
				"a field of WebAuthn":      {`"clientDataJson"`, `"clientDataJSON":"e30","clientDataJson"`},
				"a response":               {`"credentialId"`, `"response":{},"credentialId"`},
				"a field beside":           {`"assertion"`, `"signature":"c2ln","assertion"`},
				"a key":                    {`"assertion"`, `"clientPublicKey":"` + clientKey + `","assertion"`},
				"a request id":             {`"assertion"`, `"requestId":"` + requestID + `","assertion"`},
			})},
		{"add e-mail", OpAddCredential, emailBody, adding(EmailOTP, ""), edits{}, edits{
			"an address": {`{`, `{"email":"evil@b.c",`},
			"a token":    {`{`, `{"oidcToken":"h.p.s",`},
			"a type":     {"EMAIL_OTP", "FAX"},
		}},
		{"add phone", OpAddCredential, phoneBody, adding(SMSOTP, ""), edits{}, edits{
			"a number": {`{`, `{"phoneNumber":"+15550199",`},
			"a name":   {`{`, `{"nickname":"n",`},
		}},
		{"add OAUTH", OpAddCredential, oauthBody, adding(OAuth, "h.p.s"), edits{}, edits{
			"no token":          {`,"oidcToken":"h.p.s"`, ""},
			"an empty token":    {"h.p.s", ""},
			"a token of null":   {`"h.p.s"`, "null"},
			"a client key":      {`{`, `{"clientPublicKey":"` + clientKey + `",`},
			"a passkey's field": {`{`, `{"nickname":"n",`},
			"another type":      {"OAUTH", "EMAIL_OTP"},
		}},
		{"add PASSKEY", OpAddCredential, passkeyBody, adding(Passkey, "o2NmbXQ"), edits{
			"no transports":         {`,"transports":["internal"]`, ""},
			"no transport":          {`["internal"]`, "[]"},
			"transports to come":    {`["internal"]`, `["internal","quantum"]`},
			"a name in Greek":       {"Laptop", "Φορητός"},
			"a name of two halves":  {"Laptop", `\ud83d\ude00`},
			"another credential id": {"Y3JlZA", "Y3JlZB"},
		}, edits{
			"no name":                {`"nickname":"Laptop",`, ""},
			"an empty name":          {"Laptop", ""},
			"no challenge":           {`"challenge":"Yw",`, ""},
			"an empty challenge":     {`"Yw"`, `""`},
			"no attestation":         {`"attestation":`, `"Attestation":`},
			"a text for one":         {`"attestation":{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ","transports":["internal"]}`, `"attestation":"o2NmbXQ"`},
			"a list of one":          {`"attestation":{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ","transports":["internal"]}`, `"attestation":[{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ"}]`},
			"null for one":           {`"attestation":{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ","transports":["internal"]}`, `"attestation":null`},
			"no object":              {`"attestationObject":"o2NmbXQ",`, ""},
			"an empty object":        {"o2NmbXQ", ""},
			"an object of numbers":   {`"o2NmbXQ"`, "1"},
			"a second object":        {`"attestationObject"`, `"attestationObject":"ZXZpbA","attestationObject"`},
			"an object beside it":    {`"attestation":`, `"attestationObject":"ZXZpbA","attestation":`},
			"no client data":         {`"clientDataJson":"e30",`, ""},
			"client data, unpacked":  {`"e30"`, "{}"},
			"no credential id":       {`"credentialId":"Y3JlZA",`, ""},
			"more in the credential": {`"credentialId"`, `"type":"public-key","credentialId"`},
			"transports as a text":   {`["internal"]`, `"internal"`},
			"transports of numbers":  {`["internal"]`, "[1]"},
			"a transport too many":   {`["internal"]`, `["internal",null]`},
			"transports of null":     {`["internal"]`, "null"},
			"transports as a map":    {`["internal"]`, "{}"},
			"a token":                {`"nickname"`, `"oidcToken":"h.p.s","nickname"`},
		}},
	} {
		if strings.Contains(test.body, clientKey) {
			test.good = with(test.good, edits{"an odd key": {clientKey, "03" + clientKey[2:]}, "a whole point": {clientKey, "04" + clientKey[2:] + clientKey[2:]}})
			test.bad = with(test.bad, edits{
				"an empty key":                 {clientKey, ""},
				"a key of null":                {`"` + clientKey + `"`, "null"},
				"a key of 65 digits":           {clientKey, clientKey[:65]},
				"a key of 67 digits":           {clientKey, clientKey + "0"},
				"a key with a blank":           {clientKey, clientKey[:65] + " "},
				"a key of other letters":       {clientKey, clientKey[:65] + "g"},
				"a key of what folds to hex":   {clientKey, clientKey[:63] + "\uff11"}, // three bytes
				"a hybrid key":                 {clientKey, "06" + clientKey[2:] + clientKey[2:]},
				"a half of a point":            {clientKey, "04" + clientKey[2:]},
				"a compressed key of 130":      {clientKey, "02" + clientKey[2:] + clientKey[2:]},
				"a point of 128 digits":        {clientKey, "04" + clientKey[2:] + clientKey[4:]},
				"a point of 132 digits":        {clientKey, "04" + clientKey[2:] + clientKey},
				"a point without its byte":     {clientKey, clientKey[2:] + clientKey[2:]},
				"a key with 0x":                {clientKey, "0x" + clientKey},
				"a second key":                 {`"clientPublicKey"`, `"clientPublicKey":"` + clientKey + `","clientPublicKey"`},
				"a key by another spelling":    {`"clientPublicKey"`, `"clientPublickey"`},
				"a key that is escaped, twice": {`"clientPublicKey"`, `"clientPublic\u004bey":"` + clientKey + `","clientPublicKey"`},
			})
		}
		// Escapes are a spelling of the JSON, and not of the key.
		if key := test.want.Intent.TargetPublicKey; key != "" {
			test.good = with(test.good, edits{"a shouted key": {key, strings.ToUpper(key)}, "an escaped key": {key, `\u0030` + key[1:]}})
		}
		if test.want.Account != "" {
			test.bad = with(test.bad, edits{
				"no account":        {`,"accountId":"` + accountID + `"`, ""},
				"an empty account":  {accountID, ""},
				"a session":         {accountID, sessionID},
				"a bare account":    {accountID, strings.TrimPrefix(accountID, "InternalAccount:")},
				"another's account": {"InternalAccount:", "ExternalAccount:"},
				"a second account":  {`"accountId"`, `"accountId":"` + otherAccountID + `","accountId"`},
				"account_id":        {`"accountId"`, `"account_id":"` + otherAccountID + `","accountId"`},
			})
		}
		half := len(test.body) / 2
		whole := func(s string) [2]string { return [2]string{test.body, s} }
		test.good = with(test.good, edits{"itself": {}, "blanks": whole(" \t\r\n" + strings.ReplaceAll(test.body, `,"`, ` , "`) + "\n")})
		test.bad = with(test.bad, edits{
			"nothing": whole(""), "a blank": whole(" "), "null": whole("null"), "an object": whole("{}"), "a list": whole("[]"), "a text": whole(strconv.Quote(test.body)), "a number": whole("1"),
			"a list of it": whole("[" + test.body + "]"), "it in an object": whole(`{"data":` + test.body + `}`), "it twice": whole(test.body + test.body), "half of it": whole(test.body[:half]),
			"a comma too many": whole(test.body[:len(test.body)-1] + ",}"), "a tail": whole(test.body + "\x00"), "a byte-order mark": whole("\ufeff" + test.body), "another charset": whole(test.body[:half] + "\xff" + test.body[half:]),
			"a form": whole("type=OAUTH"), "an unknown field": {`{`, `{"x":1,`}, "an unknown field of null": {`{`, `{"x":null,`}, "a field without a name": {`{`, `{"":"",`},
			"a lone surrogate": {`{`, `{"x":"\ud800",`}, "a prototype": {`{`, `{"__proto__":{},`}, "depth": {`{`, `{"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000) + ","},
		})
		if test.op == OpChallengeCredential {
			delete(test.bad, "an object") // which has a code sent
		}
		for name, edit := range test.good {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				want := test.want
				if key := edit[0]; key != "" && key == want.Intent.TargetPublicKey && edit[1][0] != '\\' {
					want.Intent.TargetPublicKey = edit[1]
				}
				said, err := test.op.Judge(strings.Replace(test.body, edit[0], edit[1], 1))
				if wantKind(t, err, ""); said != want {
					t.Errorf("read %+v\nwant %+v", said, want)
				}
			})
		}
		for name, edit := range test.bad {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				body := strings.Replace(test.body, edit[0], edit[1], 1)
				if body == test.body {
					t.Fatal("that is the good one")
				}
				said, err := test.op.Judge(body)
				if wantKind(t, err, ErrArgumentInvalid); said != (Submission{}) {
					t.Errorf("refused, and yet read: %+v", said)
				}
			})
		}
	}
}

// A challenge for a code is asked for with an object of nothing, in any spelling.
func TestJudgeOfAChallengeForACode(t *testing.T) {
	for _, body := range []string{"{}", " {\t}\r\n"} {
		said, err := OpChallengeCredential.Judge(body)
		if wantKind(t, err, ""); said != (Submission{}) {
			t.Errorf("%q is read as %+v", body, said)
		}
	}
}

// What takes no body takes none at all, and what is no operation takes nothing.
func TestJudgeOfNoBody(t *testing.T) {
	for _, op := range append(Operations(), "", "send-money", "Revoke-Session") {
		for _, body := range []string{"", " ", "{}", "null"} {
			said, err := op.Judge(body)
			good := body == "" && op.Route().Status != 0 && !op.Route().Body || body == "{}" && op == OpChallengeCredential
			if (err == nil) != good || good && said != (Submission{Intent: Intent{Name: op.Route().Intent}}) {
				t.Errorf("%q of %q: %+v, %v", op, body, said, err)
			}
			if err != nil {
				wantKind(t, err, ErrArgumentInvalid)
			}
		}
	}
}
