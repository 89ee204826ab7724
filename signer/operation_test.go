package signer

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	otherSessionID = "Session:019542f5-b3e7-1d02-0000-00000000000a"
	credentialID   = "AuthMethod:019542f5-b3e7-1d02-0000-000000000004"

	// A key of nobody's. It has a letter, so that it has another spelling.
	clientKey = "02f45f2a22c908b9ce09a7150e514afd24627c401c38a4afc164e1ea783adaaa31"

	refreshBody = `{"clientPublicKey":"` + clientKey + `"}`
	verifyBody  = `{"type":"OAUTH","oidcToken":"h.p.s","clientPublicKey":"` + clientKey + `"}`
	emailBody   = `{"type":"EMAIL_OTP","accountId":"` + accountID + `"}`
	phoneBody   = `{"type":"SMS_OTP","accountId":"` + accountID + `"}`
	oauthBody   = `{"type":"OAUTH","accountId":"` + accountID + `","oidcToken":"h.p.s"}`
	passkeyBody = `{"type":"PASSKEY","accountId":"` + accountID + `","nickname":"Laptop","challenge":"Yw","attestation":{"credentialId":"Y3JlZA","clientDataJson":"e30","attestationObject":"o2NmbXQ","transports":["internal"]}}`
)

// performed is an operation as it goes when nobody is hostile.
type performed struct {
	name    string
	op      Operation
	p       Params
	request Send   // what each of its requests is
	payload string // of its challenge, "" for none
	answer  Response
	status  Status
	gone    Status // what a 404 means, "" for a refusal
	hostile edits  // of the answer's body, that no answer may have
}

// edits are names of what is wrong, and pairs of what is replaced by what.
type edits map[string][2]string

// ofAnything are edits that no answer with an id and an account may have.
var ofAnything = edits{
	"no id":                {`"id":`, `"_id":`},
	"an id that is null":   {`"id":"`, `"id":null,"_id":"`},
	"no account":           {`"accountId":`, `"account":`},
	"another account":      {accountID, otherAccountID},
	"what is no account":   {accountID, sessionID},
	"an account in a list": {`"` + accountID + `"`, `["` + accountID + `"]`},
}

var ofASession = with(ofAnything, edits{
	"a credential's id":       {otherSessionID, credentialID},
	"a sealed key":            {`"type"`, `"encryptedSessionSigningKey":"w99a5xV6","type"`},
	"no expiresAt":            {`"expiresAt"`, `"_"`},
	"an expiresAt of no time": {"2026-08-22T12:15:00Z", "tomorrow"},
	"an expiresAt in seconds": {`"2026-08-22T12:15:00Z"`, "1787400900"},
})

func with(all ...edits) edits {
	sum := edits{}
	for _, e := range all {
		maps.Copy(sum, e)
	}
	return sum
}

func answerOf(status int, body string) Response { return Response{Status: status, Body: []byte(body)} }

func escaped(id string) string { return strings.Replace(id, ":", "%3A", 1) }

func adding(typ CredentialType, contact, body, payload string) performed {
	return performed{
		name: "add " + string(typ), op: OpAddCredential, p: Params{Body: body, Contact: contact}, status: Added,
		request: Send{Method: "POST", Path: "/auth/credentials", Body: body}, payload: payload,
		answer:  answerOf(201, `{"id":"`+credentialID+`","accountId":"`+accountID+`","type":"`+string(typ)+`","nickname":"n","future":[{}]}`),
		hostile: with(ofAnything, edits{"a session's id": {credentialID, sessionID}, "another type": {string(typ), "FAX"}, "no type": {`"type"`, `"_"`}}),
	}
}

func removing(typ CredentialType, payload string) performed {
	return performed{
		name: "remove " + string(typ), op: OpRemoveCredential, p: Params{ID: credentialID, Credential: typ}, status: Removed, gone: Gone,
		request: Send{Method: "DELETE", Path: "/auth/credentials/" + escaped(credentialID)}, payload: payload,
		answer: Response{Status: 204},
	}
}

const sessionAnswer = `{"id":"` + otherSessionID + `","accountId":"` + accountID + `","type":"OAUTH","expiresAt":"2026-08-22T12:15:00Z","future":1}`

// everything has each operation at least once.
var everything = []performed{
	{
		name: "list sessions", op: OpListSessions, p: Params{ID: accountID}, status: Listed,
		request: Send{Method: "GET", Path: "/auth/sessions?accountId=" + escaped(accountID)},
		answer:  answerOf(200, `{"data":[`+sessionAnswer+`]}`),
		hostile: edits{
			"no data":                 {`"data"`, `"Data"`},
			"data that is no list":    {`{"data":[` + sessionAnswer + `]}`, `{"data":{}}`},
			"data that is null":       {`{"data":[` + sessionAnswer + `]}`, `{"data":null}`},
			"a row that is null":      {sessionAnswer, sessionAnswer + ",null"},
			"a row without an id":     {`"id"`, `"ID"`},
			"a row of another kind":   {otherSessionID, credentialID},
			"a row without an end":    {`"expiresAt"`, `"_"`},
			"a row with a null end":   {`"2026-08-22T12:15:00Z"`, "null"},
			"a row with an empty end": {"2026-08-22T12:15:00Z", ""},
			"another's row":           {accountID, otherAccountID},
			"another's second row":    {sessionAnswer, sessionAnswer + "," + strings.Replace(sessionAnswer, accountID, otherAccountID, 1)},
			"an account that is null": {`"` + accountID + `"`, "null"},
		},
	},
	{
		name: "list credentials", op: OpListCredentials, p: Params{ID: accountID}, status: Listed,
		request: Send{Method: "GET", Path: "/auth/credentials?accountId=" + escaped(accountID)},
		answer:  answerOf(200, `{"data":[{"id":"`+credentialID+`","accountId":"`+accountID+`","type":"FAX","nickname":""}]}`),
		hostile: edits{"a session": {credentialID, sessionID}, "a row without an id": {`"id"`, `"_"`}, "another's row": {accountID, otherAccountID}},
	},
	{
		name: "revoke", op: OpRevokeSession, p: Params{ID: sessionID}, status: Revoked, gone: Inactive,
		request: revocation, payload: revokePayload, answer: Response{Status: 204},
	},
	{
		name: "refresh", op: OpRefreshSession, p: Params{ID: sessionID, Body: refreshBody, Account: accountID}, status: Refreshed,
		request: Send{Method: "POST", Path: "/auth/sessions/" + escaped(sessionID) + "/refresh", Body: refreshBody},
		payload: activity(activityCreateSession, `{"targetPublicKey":"`+clientKey+`"}`),
		answer:  answerOf(201, sessionAnswer),
		hostile: with(ofASession, edits{"the session that was refreshed": {otherSessionID, sessionID}, "that session, shouted": {otherSessionID, shouted(sessionID)}}),
	},
	adding(EmailOTP, "a@b.c", emailBody, activity(activityUpdateEmail, `{"userEmail":"a@b.c","userId":"u"}`)),
	adding(SMSOTP, "+15550100", phoneBody, activity(activityUpdatePhone, `{"userId":"u","userPhoneNumber":"+15550100"}`)),
	adding(OAuth, "", oauthBody, activity(activityCreateOAuthProviders, `{"oauthProviders":[{"oidcToken":"h.p.s","providerName":"google"}],"userId":"u"}`)),
	adding(Passkey, "", passkeyBody, activity(activityCreateAuthenticators, `{"authenticators":[{"attestation":{"attestationObject":"o2NmbXQ","clientDataJson":"e30","credentialId":"Y3JlZA"},"authenticatorName":"n","challenge":"Yw","transports":["internal"]}],"userId":"u"}`)),
	removing(EmailOTP, activity(activityUpdateEmail, `{"userEmail":"","userId":"u"}`)),
	removing(SMSOTP, activity(activityUpdatePhone, `{"userId":"u","userPhoneNumber":""}`)),
	removing(OAuth, activity(activityDeleteOAuthProviders, `{"providerIds":["p"],"userId":"u"}`)),
	removing(Passkey, activity(activityDeleteAuthenticators, `{"authenticatorIds":["a"],"userId":"u"}`)),
	{
		name: "verify", op: OpVerifyCredential, p: Params{ID: credentialID, Body: verifyBody, Account: accountID}, status: Verified,
		request: Send{Method: "POST", Path: "/auth/credentials/" + escaped(credentialID) + "/verify", Body: verifyBody},
		answer:  answerOf(200, sessionAnswer), hostile: ofASession,
	},
}

// A new row of the table is tested by everything below, or fails here.
func TestEveryOperationIsPerformed(t *testing.T) {
	for _, op := range Operations() {
		i := slices.IndexFunc(everything, func(o performed) bool { return o.op == op })
		if i < 0 {
			t.Errorf("%s is in the table, and not in this test", op)
			continue
		}
		o, route := everything[i], op.Route()
		_, rest, _ := strings.Cut(route.Path, "}")
		if o.request.Method != route.Method || !strings.HasSuffix(o.request.Path, rest) || o.answer.Status != route.Status ||
			(o.p.Body != "") != route.Body || (o.payload != "") != (route.Intent != "") {
			t.Errorf("%s has the route %+v", op, route)
		}
	}
}

// play plays the operation for a minute, with a challenge before the script if
// there is one to be signed.
func (o performed) play(t *testing.T, script ...any) performance {
	t.Helper()
	if o.payload != "" {
		script = slices.Insert(script, 0, any(challengeAnswer(o.payload)))
	}
	return o.playFrom(t, SignOptions{}, script...)
}

func (o performed) playFrom(t *testing.T, opt SignOptions, script ...any) performance {
	t.Helper()
	r, err := NewRetry(o.op, o.p, noon.Add(time.Minute), half)
	if err != nil {
		t.Fatal(err)
	}
	return play(t, r, o.request, opt, script...)
}

// legs is the story of one time through.
func (o performed) legs() string {
	if o.payload == "" {
		return "ask"
	}
	return "ask sign signed"
}

func challengeAnswer(payload string) Response {
	return answerOf(202, `{"payloadToSign":`+strconv.Quote(payload)+`,"requestId":"`+requestID+`","expiresAt":"2026-08-22T12:05:00Z"}`)
}

// wantEnd holds a performance against its end: a status, or a kind of error and
// nothing else.
func (p performance) wantEnd(t *testing.T, story string, status Status, fail Kind) {
	t.Helper()
	if p.story != story {
		t.Errorf("story = %s\nwant    %s", p.story, story)
	}
	if p.done.Status != status || fail != "" && (p.done.Body != nil || p.done.Accepted) {
		t.Errorf("end = %+v, want %q %s", p.done, status, fail)
	}
	wantKind(t, p.done.Err, fail)
}

func TestOperations(t *testing.T) {
	for _, o := range everything {
		t.Run(o.name, func(t *testing.T) {
			p := o.play(t, o.answer)
			p.wantEnd(t, o.legs(), o.status, "")
			if string(p.done.Body) != string(o.answer.Body) {
				t.Errorf("body = %s, want what came: %s", p.done.Body, o.answer.Body)
			}
			if p.done.Accepted != (o.payload != "") || p.uses != strings.Count(p.story, "signed") {
				t.Errorf("accepted = %v after %d signatures", p.done.Accepted, p.uses)
			}
			// Blanks in a JSON body are no difference.
			if o.answer.Body != nil {
				spaced := Response{Status: o.answer.Status, Body: []byte("\n " + strings.ReplaceAll(string(o.answer.Body), `":`, `" : `) + "\r\t")}
				o.play(t, spaced).wantEnd(t, o.legs(), o.status, "")
			}
		})
	}
}

// Each body is one edit away from a good one.
func TestJudge(t *testing.T) {
	key := Intent{TargetPublicKey: clientKey}
	for _, test := range []struct {
		name      string
		op        Operation
		body      string
		in        Intent
		account   string
		good, bad edits
	}{
		{"refresh", OpRefreshSession, refreshBody, key, "", edits{}, edits{"a second field": {`{`, `{"expirationSeconds":"999999",`}}},
		{"verify", OpVerifyCredential, verifyBody, Intent{}, "", edits{}, edits{
			"no type":             {`"type"`, `"Type"`},
			"a one-time password": {"OAUTH", "EMAIL_OTP"},
			"a passkey":           {"OAUTH", "PASSKEY"},
			"a type by its case":  {"OAUTH", "oauth"},
			"no token":            {`"oidcToken":"h.p.s",`, ""},
			"an empty token":      {"h.p.s", ""},
			"a token in a list":   {`"h.p.s"`, `["h.p.s"]`},
			"no key":              {`,"clientPublicKey":"` + clientKey + `"`, ""},
			"a bundle":            {`"type"`, `"encryptedOtpBundle":"{}","type"`},
			"an account":          {`"type"`, `"accountId":"` + accountID + `","type"`},
		}},
		{"add e-mail", OpAddCredential, emailBody, Intent{Credential: EmailOTP}, accountID, edits{}, edits{
			"an address": {`{`, `{"email":"evil@b.c",`},
			"a token":    {`{`, `{"oidcToken":"h.p.s",`},
			"a type":     {"EMAIL_OTP", "FAX"},
		}},
		{"add phone", OpAddCredential, phoneBody, Intent{Credential: SMSOTP}, accountID, edits{}, edits{
			"a number": {`{`, `{"phoneNumber":"+15550199",`},
			"a name":   {`{`, `{"nickname":"n",`},
		}},
		{"add OAUTH", OpAddCredential, oauthBody, Intent{Credential: OAuth, Submitted: "h.p.s"}, accountID, edits{}, edits{
			"no token":          {`,"oidcToken":"h.p.s"`, ""},
			"an empty token":    {"h.p.s", ""},
			"a token of null":   {`"h.p.s"`, "null"},
			"a client key":      {`{`, `{"clientPublicKey":"` + clientKey + `",`},
			"a passkey's field": {`{`, `{"nickname":"n",`},
			"another type":      {"OAUTH", "EMAIL_OTP"},
		}},
		{"add PASSKEY", OpAddCredential, passkeyBody, Intent{Credential: Passkey, Submitted: "o2NmbXQ"}, accountID, edits{
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
			test.good = with(test.good, edits{"a shouted key": {clientKey, strings.ToUpper(clientKey)}, "an odd key": {clientKey, "03" + clientKey[2:]}, "a whole point": {clientKey, "04" + clientKey[2:] + clientKey[2:]}})
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
			// Escapes are a spelling of the JSON, and not of the key.
			test.good["an escaped key"] = [2]string{clientKey, `\u0030` + clientKey[1:]}
		}
		if test.account != "" {
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
		test.in.Name = test.op.Route().Intent
		for name, edit := range test.good {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				want := test.in
				if edit[0] == clientKey && edit[1][0] != '\\' && want.TargetPublicKey != "" {
					want.TargetPublicKey = edit[1]
				}
				said, err := test.op.Judge(strings.Replace(test.body, edit[0], edit[1], 1))
				if wantKind(t, err, ""); said.Intent != want || said.Account != test.account {
					t.Errorf("read %+v\nwant %+v, %q", said, want, test.account)
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

// What takes no body takes none at all, and what is no operation takes nothing.
func TestJudgeOfNoBody(t *testing.T) {
	for _, op := range append(Operations(), "", "send-money", "Revoke-Session") {
		for _, body := range []string{"", " ", "{}", "null"} {
			said, err := op.Judge(body)
			good := body == "" && op.Route().Status != 0 && !op.Route().Body
			if (err == nil) != good || good && said != (Submission{Intent: Intent{Name: op.Route().Intent}}) {
				t.Errorf("%q of %q: %+v, %v", op, body, said, err)
			}
			if err != nil {
				wantKind(t, err, ErrArgumentInvalid)
			}
		}
	}
}

// No intent is guessed, and no id but one of the right kind gets into a path.
func TestNewRetryRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		op Operation
		p  Params
	}{
		"no operation":                     {"", Params{}},
		"another operation":                {"send-money", Params{ID: sessionID}},
		"a list without an account":        {OpListSessions, Params{}},
		"a list of a session":              {OpListSessions, Params{ID: sessionID}},
		"a list with a query":              {OpListSessions, Params{ID: accountID + "&x=y"}},
		"a list with a line":               {OpListSessions, Params{ID: accountID + "\n"}},
		"a list of two accounts":           {OpListSessions, Params{ID: accountID, Account: otherAccountID}},
		"a list with a body":               {OpListCredentials, Params{ID: accountID, Body: "{}"}},
		"a revocation of a credential":     {OpRevokeSession, Params{ID: credentialID}},
		"a revocation with a body":         {OpRevokeSession, Params{ID: sessionID, Body: "{}"}},
		"a refresh of a credential":        {OpRefreshSession, Params{ID: credentialID, Body: refreshBody}},
		"a refresh without a key":          {OpRefreshSession, Params{ID: sessionID}},
		"a refresh for no account":         {OpRefreshSession, Params{ID: sessionID, Body: refreshBody, Account: "me"}},
		"a refresh for a session":          {OpRefreshSession, Params{ID: sessionID, Body: refreshBody, Account: otherSessionID}},
		"an addition with an id":           {OpAddCredential, Params{ID: accountID, Body: oauthBody}},
		"an addition of nothing":           {OpAddCredential, Params{}},
		"an address that is not known":     {OpAddCredential, Params{Body: emailBody}},
		"a number that is not known":       {OpAddCredential, Params{Body: phoneBody}},
		"an addition of another type":      {OpAddCredential, Params{Body: oauthBody, Credential: Passkey}},
		"an addition to another account":   {OpAddCredential, Params{Body: oauthBody, Account: otherAccountID}},
		"a contact beside a token":         {OpAddCredential, Params{Body: oauthBody, Contact: "a@b.c"}},
		"a contact beside a passkey":       {OpAddCredential, Params{Body: passkeyBody, Contact: "a@b.c"}},
		"a removal of a session":           {OpRemoveCredential, Params{ID: sessionID, Credential: Passkey}},
		"a removal without a type":         {OpRemoveCredential, Params{ID: credentialID}},
		"a removal of an unknown type":     {OpRemoveCredential, Params{ID: credentialID, Credential: "FAX"}},
		"a removal with a body":            {OpRemoveCredential, Params{ID: credentialID, Credential: Passkey, Body: "{}"}},
		"a sign-in with a session":         {OpVerifyCredential, Params{ID: sessionID, Body: verifyBody}},
		"a sign-in without a body":         {OpVerifyCredential, Params{ID: credentialID}},
		"a sign-in to what is no account":  {OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, Account: "InternalAccount:"}},
		"a sign-in that climbs":            {OpVerifyCredential, Params{ID: credentialID + "/../..", Body: verifyBody}},
		"a sign-in that is encoded by now": {OpVerifyCredential, Params{ID: strings.Replace(credentialID, ":", "%3A", 1), Body: verifyBody}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRetry(test.op, test.p, noon.Add(time.Minute), half)
			wantKind(t, err, ErrArgumentInvalid)
			if r != nil {
				t.Error("and yet there is one")
			}
			if e, _ := errors.AsType[*Error](err); strings.Contains(e.Msg, "h.p.s") || strings.Contains(e.Msg, "a@b.c") {
				t.Errorf("the message quotes what was submitted: %s", e.Msg)
			}
		})
	}
}

// What the body says may be said again.
func TestParametersMayRepeatTheBody(t *testing.T) {
	for _, test := range []struct {
		op Operation
		p  Params
	}{
		{OpAddCredential, Params{Body: oauthBody, Credential: OAuth, Account: accountID}},
		{OpAddCredential, Params{Body: emailBody, Credential: EmailOTP, Contact: "a@b.c", Account: accountID}},
		{OpListSessions, Params{ID: accountID, Account: accountID}},
	} {
		_, err := NewRetry(test.op, test.p, noon, half)
		wantKind(t, err, "")
	}
}

// What a caller does with a copy of the table changes nothing in it.
func TestTheTableIsNobodysToChange(t *testing.T) {
	before := Operations()
	names, route := Operations(), OpRevokeSession.Route()
	for i := range names {
		names[i] = OpRevokeSession
	}
	route.Path, route.Intent, route.Status = "/auth/credentials/{AuthMethod}", "", 200
	if !slices.Equal(Operations(), before) || OpRevokeSession.Route() != (Route{"DELETE", "/auth/sessions/{Session}", RevokeSession, false, 204}) {
		t.Error("the table was changed from outside")
	}
	if got := Operation("send-money").Route(); got != (Route{}) {
		t.Errorf("what is no operation has the route %+v", got)
	}
}
