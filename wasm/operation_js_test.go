package main

import (
	"encoding/base64"
	"strconv"
	"strings"
	"syscall/js"
	"testing"

	"gridsigner/signer"
)

func TestListing(t *testing.T) {
	opt := map[string]any{"id": accountID, "bridgeUrl": bridgeURL}
	entry := `"accountId":"` + accountID + `","type":"OAUTH","nickname":"n","createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:00Z","expiresAt":"2026-08-22T10:15:00Z","future":1`
	list := `{"data":[{"id":"` + sessionID + `",` + entry + `}]}`
	requests := fakeFetch(t, `new Response(`+strconv.Quote(list)+`, { status: 200 })`)
	listed := resolve(t, "perform", "list-sessions", opt)
	if listed.Get("status").String() != "listed" || listed.Get("body").String() != list || !listed.Get("organizationId").IsUndefined() {
		t.Error("the list is not handed on as it came")
	}
	r := requests.Index(0)
	if got, want := r.Get("url").String(), bridgeURL+"/auth/sessions?accountId="+strings.Replace(accountID, ":", "%3A", 1); got != want {
		t.Errorf("url = %s, want %s", got, want)
	}
	if r.Get("method").String() != "GET" || r.Get("keepalive").Bool() || !header(r, "X-Gridsigner").IsUndefined() {
		t.Error("a list is more than a plain GET")
	}
	for _, test := range []struct {
		answer string
		want   signer.Kind
	}{
		{`new Response("hello")`, signer.ErrResponseMalformed},
		{`new Response('{"data":[null]}')`, signer.ErrResponseMalformed},
		{`new Response(null, { status: 204 })`, signer.ErrResponseMalformed},
		{`new Response("<html>", { status: 404 })`, signer.ErrResponseMalformed},
		{refusal("404", "NOT_FOUND"), signer.ErrUpstreamRefused},
		{refusal("403", "FORBIDDEN"), signer.ErrUpstreamRefused},
		{`new Response("", { status: 500 })`, signer.ErrUpstreamUnavailable},
	} {
		requests := fakeFetch(t, test.answer)
		wantCode(t, test.want, "perform", "list-sessions", opt)
		if got := requests.Length(); got != 1 {
			t.Errorf("%s: %d requests, want 1", test.answer, got)
		}
	}
	fakeFetch(t, `Promise.reject(new TypeError("x"))`)
	alwaysRandom(t, 1) // the pause is 250 ms, which would end too late
	wantCode(t, signer.ErrNetworkFailed, "perform", "list-sessions", with(opt, "timeoutMs", 250))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", with(opt, "id", sessionID))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", with(opt, "body", "{}"))
	wantCode(t, signer.ErrArgumentInvalid, "perform", "list-sessions", map[string]any{"bridgeUrl": bridgeURL})
	wantCode(t, signer.ErrArgumentInvalid, "perform", "no-such-operation", opt)
	wantCode(t, signer.ErrArgumentInvalid, "perform")
}

// answerWith is a Response of a JSON body.
func answerWith(status, body string) string {
	return `new Response(` + strconv.Quote(body) + `, { status: ` + status + ` })`
}

func activity(typ, parameters string) string {
	return `{"organizationId":"org_sim","parameters":` + parameters + `,"timestampMs":"1775681700000","type":"ACTIVITY_TYPE_` + typ + `"}`
}

const (
	credentialID     = "AuthMethod:019542f5-b3e7-1d02-0000-000000000004"
	newSessionID     = "Session:019542f5-b3e7-1d02-0000-00000000000a"
	passkeyRequestID = "Request:019542f5-b3e7-1d02-0000-00000000000c"
	otpProof         = `{"type":"EMAIL_OTP","encryptedOtpBundle":"{\"encappedPublic\":\"04\",\"ciphertext\":\"00\"}"}`
	passkeyProof     = `{"type":"PASSKEY","assertion":{"credentialId":"Y3JlZA","clientDataJson":"e30","authenticatorData":"YXV0aA","signature":"c2ln"}}`
)

// sessionBy is the session that a credential of this type was answered with.
func sessionBy(typ string) string {
	return `{"id":"` + newSessionID + `","accountId":"` + accountID + `","type":"` + typ + `","expiresAt":"2026-08-22T10:15:00Z"}`
}

// token is a JWT with these claims.
func token(claims string) string {
	return "eyJhbGciOiJFUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

// Every option of an operation reaches the signer, and every body the bridge as it was given. A key is asked for where
// the body is signed for, and nowhere else.
func TestPerform(t *testing.T) {
	clientKey, sealingKey := "02"+strings.Repeat("0", 64), "04"+strings.Repeat("0", 128)
	sealed := strings.Replace(sessionBy("PASSKEY"), `"type"`, `"encryptedSessionSigningKey":"w99a5xV6","type"`, 1)
	issued := `{"id":"` + credentialID + `","accountId":"` + accountID + `","type":"SMS_OTP","otpEncryptionTargetBundle":"{}"}`
	asked := `{"id":"` + credentialID + `","accountId":"` + accountID + `","type":"PASSKEY","credentialId":"Y3JlZA","challenge":"` + strings.Repeat("0f", 32) +
		`","requestId":"` + passkeyRequestID + `","expiresAt":"2026-08-22T10:05:00Z"}`
	exported := `{"id":"` + accountID + `","encryptedWalletCredentials":"{}"}`
	credential := `{"id":"` + credentialID + `","accountId":"` + accountID + `","type":"EMAIL_OTP"}`
	processing := answerWith("200", `{"status":"PROCESSING"}`)
	alwaysRandom(t, 0) // half of a first pause
	for _, test := range []struct {
		operation, request string
		signs              bool
		options            map[string]any
		answers            []string
		want               string // status, body and organization
	}{
		{"refresh-session", "POST /auth/sessions/" + sessionID + "/refresh", true,
			map[string]any{"id": sessionID, "account": accountID, "body": ` {"clientPublicKey" : "` + clientKey + `"}`},
			[]string{challengeAnswer(activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+clientKey+`"}`)), processing, answerWith("201", sessionBy("OAUTH"))},
			"refreshed " + sessionBy("OAUTH") + " org_sim"},
		{"add-credential", "POST /auth/credentials", true,
			map[string]any{"contact": "ünï@b.c", "body": `{"type":"EMAIL_OTP","accountId":"` + accountID + `"}`},
			[]string{challengeAnswer(activity("UPDATE_USER_EMAIL", `{"userEmail":"ünï@b.c","userId":"u"}`)), answerWith("201", credential)},
			"added " + credential + " org_sim"},
		{"remove-credential", "DELETE /auth/credentials/" + credentialID, true,
			map[string]any{"id": credentialID, "credentialType": "PASSKEY"},
			[]string{challengeAnswer(activity("DELETE_AUTHENTICATORS", `{"authenticatorIds":["a"],"userId":"u"}`)), processing, revokedAnswer},
			"removed undefined org_sim"},
		{"remove-credential", "DELETE /auth/credentials/" + credentialID, true,
			map[string]any{"id": credentialID, "credentialType": "PASSKEY"}, []string{goneAnswer}, "gone undefined undefined"},
		{"verify-credential", "POST /auth/credentials/" + credentialID + "/verify", false,
			map[string]any{"id": credentialID, "account": accountID, "body": `{"type":"OAUTH","oidcToken":"h.p.s","clientPublicKey":"` + clientKey + `"}`},
			[]string{processing, answerWith("200", sessionBy("OAUTH"))},
			"verified " + sessionBy("OAUTH") + " undefined"},
		{"verify-credential", "POST /auth/credentials/" + credentialID + "/verify", true,
			map[string]any{"id": credentialID, "account": accountID, "body": otpProof},
			[]string{challengeAnswer(token("{}")), processing, answerWith("200", sessionBy("EMAIL_OTP"))},
			"verified " + sessionBy("EMAIL_OTP") + " undefined"},
		{"verify-credential", "POST /auth/credentials/" + credentialID + "/verify", false,
			map[string]any{"id": credentialID, "account": accountID, "body": passkeyProof, "requestId": passkeyRequestID, "clientKey": clientKey},
			[]string{unavailable, unauthenticatedAnswer, processing, answerWith("200", sessionBy("PASSKEY"))},
			"verified " + sessionBy("PASSKEY") + " undefined"},
		{"verify-credential", "POST /auth/credentials/" + credentialID + "/verify", false,
			map[string]any{"id": credentialID, "account": accountID, "body": passkeyProof, "requestId": passkeyRequestID, "clientKey": sealingKey},
			[]string{answerWith("200", sealed)}, "verified " + sealed + " undefined"},
		{"challenge-credential", "POST /auth/credentials/" + credentialID + "/challenge", false,
			map[string]any{"id": credentialID, "account": accountID, "body": "{}"},
			[]string{processing, answerWith("200", issued)}, "issued " + issued + " undefined"},
		{"challenge-credential", "POST /auth/credentials/" + credentialID + "/challenge", false,
			map[string]any{"id": credentialID, "account": accountID, "body": `{"clientPublicKey":"` + clientKey + `"}`},
			[]string{answerWith("200", asked)}, "issued " + asked + " undefined"},
		{"export-wallet", "POST /internal-accounts/" + accountID + "/export", true,
			map[string]any{"id": accountID, "body": `{"clientPublicKey":"` + sealingKey + `"}`},
			[]string{challengeAnswer(activity("EXPORT_WALLET", `{"targetPublicKey":"`+sealingKey+`","walletId":"w"}`)), processing, answerWith("200", exported)},
			"exported " + exported + " org_sim"},
	} {
		t.Run(test.operation, func(t *testing.T) {
			options := with(test.options, "bridgeUrl", bridgeURL)
			if test.signs {
				wantCode(t, signer.ErrArgumentInvalid, "perform", test.operation, options) // without a key
				options["key"] = newKey(t, "P-256")
			}
			requests := fakeFetch(t, test.answers...)
			result := resolve(t, "perform", test.operation, options)
			got := ""
			for _, name := range []string{"status", "body", "organizationId"} {
				got += " " + js.Global().Call("String", result.Get(name)).String()
			}
			if got[1:] != test.want {
				t.Errorf("result = %s\nwant     %s", got[1:], test.want)
			}
			if got := requests.Length(); got != len(test.answers) {
				t.Fatalf("%d requests, want %d", got, len(test.answers))
			}
			for i := range requests.Length() {
				r := requests.Index(i)
				method, path, _ := strings.Cut(test.request, " ")
				if got, want := r.Get("method").String()+" "+r.Get("url").String(), method+" "+bridgeURL+strings.Replace(path, ":", "%3A", 1); got != want {
					t.Errorf("request = %s, want %s", got, want)
				}
				body, contentType := js.ValueOf(test.options["body"]), js.ValueOf("application/json")
				if body.IsNull() {
					body, contentType = js.Undefined(), js.Undefined()
				}
				if !r.Get("body").Equal(body) || !header(r, "Content-Type").Equal(contentType) {
					t.Errorf("request %d has the body %v of the type %v", i+1, r.Get("body"), header(r, "Content-Type"))
				}
				if got := header(r, "X-Gridsigner"); got.IsUndefined() || got.String() != "1" {
					t.Errorf("X-Gridsigner = %v", got)
				}
				signature, id, asked := header(r, "Grid-Wallet-Signature"), header(r, "Request-Id"), js.ValueOf(test.options["requestId"])
				if isSigned := test.signs && i > 0; signature.IsUndefined() == isSigned || isSigned && id.String() != requestID || !isSigned && !asked.IsNull() && !id.Equal(asked) || !isSigned && asked.IsNull() && !id.IsUndefined() {
					t.Errorf("request %d goes with the signature %v and the id %v", i+1, signature, id)
				}
				// What follows on "processing" is the request before.
				if i > 1 && !(header(r, "Grid-Wallet-Signature").Equal(header(requests.Index(i-1), "Grid-Wallet-Signature")) && header(r, "Request-Id").Equal(header(requests.Index(i-1), "Request-Id"))) {
					t.Error("it was signed twice")
				}
			}
		})
	}
}

// A relay's challenge for something else ends the call, and the key is not used.
func TestPerformSignsWhatWasSubmitted(t *testing.T) {
	clientKey := "02" + strings.Repeat("0", 64)
	key := newKey(t, "P-256")
	options := map[string]any{"id": sessionID, "body": `{"clientPublicKey":"` + clientKey + `"}`, "bridgeUrl": bridgeURL, "key": key}
	refresh := activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+clientKey+`"}`)
	for name, test := range map[string]struct {
		payload string
		options map[string]any
		want    signer.Kind
	}{
		"another key":          {strings.Replace(refresh, clientKey, "03"+clientKey[2:], 1), options, signer.ErrIntentMismatch},
		"a revocation":         {payload, options, signer.ErrIntentMismatch},
		"another organization": {refresh, with(options, "organizationId", "org_mine"), signer.ErrOrganizationMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			requests := fakeFetch(t, challengeAnswer(test.payload))
			wantCode(t, test.want, "perform", "refresh-session", test.options)
			if requests.Length() != 1 || key.Get("signed").Length() != 0 {
				t.Error("it was signed")
			}
		})
	}
}

// A one-time code has the token signed that names our key, and says by its code what is wrong with it.
func TestPerformWithACode(t *testing.T) {
	key := newKey(t, "P-256")
	public := key.Get("publicKey").String()
	options := map[string]any{"id": credentialID, "body": otpProof, "bridgeUrl": bridgeURL, "key": key}
	ours := token(`{"public_key":"` + public + `"}`)
	requests := fakeFetch(t, challengeAnswer(ours), answerWith("200", sessionBy("EMAIL_OTP")))
	resolve(t, "perform", "verify-credential", options)
	verifyStamp(t, header(requests.Index(1), "Grid-Wallet-Signature").String(), public, ours)
	before := key.Get("signed").Length()
	for _, test := range []struct {
		answer string
		want   signer.Kind
	}{
		{challengeAnswer(token(`{"public_key":"02` + strings.Repeat("ab", 32) + `"}`)), signer.ErrIntentMismatch},
		{challengeAnswer(payload), signer.ErrIntentMismatch},
		{answerWith("401", `{"status":401,"code":"UNAUTHORIZED","message":"m","details":{"reason":"Invalid OTP code"}}`), signer.ErrOTPIncorrect},
		{answerWith("401", `{"status":401,"code":"UNAUTHORIZED","message":"m","reason":"No pending OTP for this credential"}`), signer.ErrOTPExpired},
		{refusal("401", "WALLET_SIGNATURE_MISSING"), signer.ErrUpstreamRefused},
	} {
		requests := fakeFetch(t, test.answer)
		wantCode(t, test.want, "perform", "verify-credential", options)
		if requests.Length() != 1 || key.Get("signed").Length() != before {
			t.Errorf("%s: it was signed", test.want)
		}
	}
}

func TestPerformArguments(t *testing.T) {
	key := newKey(t, "secp256k1")
	good := map[string]any{"id": sessionID, "body": `{"clientPublicKey":"02` + strings.Repeat("0", 64) + `"}`, "bridgeUrl": bridgeURL, "key": key}
	requests := fakeFetch(t)
	for name, options := range map[string]map[string]any{
		"a body that is no text":       with(good, "body", map[string]any{}),
		"a body with a lone surrogate": with(good, "body", eval(`'{"clientPublicKey":"\ud800"}'`)),
		"a body of 300 kB":             with(good, "body", strings.Repeat(" ", 300_000)),
		"another body":                 with(good, "body", `{"clientPublicKey":"02"}`),
		"an account that is a number":  with(good, "account", 1),
		"what is no account":           with(good, "account", sessionID),
		"a type that is a list":        with(good, "credentialType", []any{"PASSKEY"}),
		"a contact that is an object":  with(good, "contact", map[string]any{}),
		"an id that is a number":       with(good, "id", 1),
		"no id":                        with(good, "id", nil),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, signer.ErrArgumentInvalid, "perform", "refresh-session", options) })
	}
	passkey := map[string]any{"id": credentialID, "body": passkeyProof, "bridgeUrl": bridgeURL, "requestId": passkeyRequestID, "clientKey": "02" + strings.Repeat("0", 64)}
	for name, options := range map[string]map[string]any{
		"no requestId":                 with(passkey, "requestId", nil),
		"a requestId that is a list":   with(passkey, "requestId", []any{passkeyRequestID}),
		"a requestId of a session":     with(passkey, "requestId", sessionID),
		"a clientKey that is a number": with(passkey, "clientKey", 2),
		"a clientKey that is none":     with(passkey, "clientKey", "02"),
		"a requestId for a code":       with(with(passkey, "body", otpProof), "key", key),
		"a body that is nothing":       with(passkey, "body", nil),
	} {
		t.Run(name, func(t *testing.T) { wantCode(t, signer.ErrArgumentInvalid, "perform", "verify-credential", options) })
	}
	wantCode(t, signer.ErrArgumentInvalid, "perform", 1, good)
	wantCode(t, signer.ErrArgumentInvalid, "perform", "Refresh-Session", good)
	if requests.Length() != 0 {
		t.Error("something was sent")
	}
}
