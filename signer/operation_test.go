package signer

import (
	"errors"
	"maps"
	"regexp"
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
	challengingCode(EmailOTP),
	challengingCode(SMSOTP),
	challengingPasskey(refreshBody),
	signingIn("sign in EMAIL_OTP", EmailOTP, Params{Body: emailProof}, token(`{"public_key":"`+ownKey+`"}`), false),
	signingIn("sign in SMS_OTP", SMSOTP, Params{Body: phoneProof}, token(`{"sub":"u"}`), false),
	signingIn("sign in OAUTH", OAuth, Params{Body: verifyBody}, "", false),
	signingIn("sign in OAUTH, sealed", OAuth, Params{Body: sealedBody}, "", true),
	signingIn("sign in PASSKEY", Passkey, Params{Body: passkeyProof, RequestID: passkeyRequestID, ClientKey: clientKey}, "", false),
	signingIn("sign in PASSKEY, sealed", Passkey, Params{Body: passkeyProof, RequestID: passkeyRequestID, ClientKey: sealingKey}, "", true),
	exporting(),
}

func theOne(t *testing.T, name string) performed {
	t.Helper()
	for _, o := range everything {
		if o.name == name {
			return o
		}
	}
	t.Fatalf("nothing is called %q", name)
	return performed{}
}

// A new row of the table is tested by everything below, or fails here.
func TestEveryOperationIsPerformed(t *testing.T) {
	for _, op := range Operations() {
		route, isSigned := op.Route(), false
		_, rest, _ := strings.Cut(route.Path, "}")
		n := 0
		for _, o := range everything {
			if o.op != op {
				continue
			}
			n++
			isSigned = isSigned || o.payload != ""
			if o.request.Method != route.Method || !strings.HasSuffix(o.request.Path, rest) || o.answer.Status != route.Status || (o.p.Body != "") != route.Body {
				t.Errorf("%s: %s has the route %+v", o.name, op, route)
			}
			said, err := op.Judge(o.p.Body)
			if wantKind(t, err, ""); (said.Intent.Name != "") != (o.payload != "") || said.Answers != (o.request.RequestID != "") {
				t.Errorf("%s submits %+v", o.name, said)
			}
		}
		if n == 0 {
			t.Errorf("%s is in the table, and not in this test", op)
		}
		if isSigned != (route.Intent != "") {
			t.Errorf("%s has the intent %q", op, route.Intent)
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
		"a sign-in of another type":        {OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, Credential: Passkey}},
		"a code of another type":           {OpVerifyCredential, Params{ID: credentialID, Body: emailProof, Credential: SMSOTP}},
		"a challenge of a session":         {OpChallengeCredential, Params{ID: sessionID, Body: "{}"}},
		"a challenge of nothing":           {OpChallengeCredential, Params{Body: "{}"}},
		"a challenge without a body":       {OpChallengeCredential, Params{ID: credentialID}},
		"a challenge for no account":       {OpChallengeCredential, Params{ID: credentialID, Body: "{}", Account: sessionID}},
		"an export of a credential":        {OpExportWallet, Params{ID: credentialID, Body: sealingBody}},
		"an export without a key":          {OpExportWallet, Params{ID: accountID}},
		"an export for a compressed key":   {OpExportWallet, Params{ID: accountID, Body: refreshBody}},
		"an export of two accounts":        {OpExportWallet, Params{ID: accountID, Body: sealingBody, Account: otherAccountID}},
		"a refresh for a whole point":      {OpRefreshSession, Params{ID: sessionID, Body: sealingBody}},

		"a passkey without a request":             {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof}},
		"a passkey for a session":                 {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: sessionID}},
		"a passkey with a line":                   {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: passkeyRequestID + "\r\nX-Evil: 1"}},
		"a passkey with a blank":                  {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: " " + passkeyRequestID}},
		"a passkey for half a request":            {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: passkeyRequestID[:30]}},
		"a token for a request":                   {OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, RequestID: passkeyRequestID}},
		"a code for a request":                    {OpVerifyCredential, Params{ID: credentialID, Body: emailProof, RequestID: passkeyRequestID}},
		"a challenge for a request":               {OpChallengeCredential, Params{ID: credentialID, Body: refreshBody, RequestID: passkeyRequestID}},
		"a revocation for a request":              {OpRevokeSession, Params{ID: sessionID, RequestID: passkeyRequestID}},
		"a list for a request":                    {OpListSessions, Params{ID: accountID, RequestID: passkeyRequestID}},
		"an export for a request":                 {OpExportWallet, Params{ID: accountID, Body: sealingBody, RequestID: passkeyRequestID}},
		"a passkey for what is no key":            {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: passkeyRequestID, ClientKey: "04"}},
		"a passkey for a hybrid key":              {OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: passkeyRequestID, ClientKey: "06" + sealingKey[2:]}},
		"a token for another key":                 {OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, ClientKey: sealingKey}},
		"a token for the key in another spelling": {OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, ClientKey: strings.ToUpper(clientKey)}},
		"a refresh for another key":               {OpRefreshSession, Params{ID: sessionID, Body: refreshBody, ClientKey: "03" + clientKey[2:]}},
		"an export for another key":               {OpExportWallet, Params{ID: accountID, Body: sealingBody, ClientKey: clientKey}},
		"a passkey's challenge for another key":   {OpChallengeCredential, Params{ID: credentialID, Body: refreshBody, ClientKey: sealingKey}},
		"a code's challenge for a key":            {OpChallengeCredential, Params{ID: credentialID, Body: "{}", ClientKey: clientKey}},
		"a code for a key":                        {OpVerifyCredential, Params{ID: credentialID, Body: emailProof, ClientKey: sealingKey}},
		"a revocation for a key":                  {OpRevokeSession, Params{ID: sessionID, ClientKey: clientKey}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := NewRetry(test.op, test.p, noon.Add(time.Minute), half)
			wantKind(t, err, ErrArgumentInvalid)
			if r != nil {
				t.Error("and yet there is one")
			}
			if e, _ := errors.AsType[*Error](err); regexp.MustCompile(`h\.p\.s|a@b\.c|5ec2e7|c2ln|f45f2a|0{8}`).MatchString(e.Msg) {
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
		{OpRefreshSession, Params{ID: sessionID, Body: refreshBody, ClientKey: clientKey}},
		{OpChallengeCredential, Params{ID: credentialID, Body: refreshBody, ClientKey: clientKey}},
		{OpVerifyCredential, Params{ID: credentialID, Body: verifyBody, ClientKey: clientKey, Credential: OAuth}},
		{OpVerifyCredential, Params{ID: credentialID, Body: emailProof, Credential: EmailOTP}},
		{OpVerifyCredential, Params{ID: credentialID, Body: passkeyProof, RequestID: passkeyRequestID, Credential: Passkey}},
		{OpExportWallet, Params{ID: accountID, Body: sealingBody, ClientKey: sealingKey, Account: accountID}},
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
