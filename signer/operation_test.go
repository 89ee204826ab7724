package signer

import (
	"errors"
	"slices"
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
