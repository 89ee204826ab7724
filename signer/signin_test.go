package signer

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

const (
	otherCredentialID = "AuthMethod:019542f5-b3e7-1d02-0000-00000000000b"

	// What Grid seals to, also nobody's.
	sealingKey = "04" + "f45f2a22c908b9ce09a7150e514afd24627c401c38a4afc164e1ea783adaaa31" + "8e29d2a05c3c3f7d5b0d2e2a6c7f9b1d3e5f708192a3b4c5d6e7f8091a2b3c4d"

	// The key that play signs with.
	ownKey = "03567b7512001f3cc4dcb8b8096c046fff571ab07adb2126cd42908f2ff1ca424a"

	// Of a challenge that a passkey answers: not the one of a challenge to sign.
	passkeyRequestID = "Request:019542f5-b3e7-1d02-0000-00000000000c"

	passkeyChallenge = "5f1c2e3b4a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f001"

	sealingBody = `{"clientPublicKey":"` + sealingKey + `"}`
	sealedBody  = `{"type":"OAUTH","oidcToken":"h.p.s","clientPublicKey":"` + sealingKey + `"}`

	// Texts that hold JSON, and the JSON of those texts.
	targetBundle = `"{\"version\":\"v1.0.0\",\"data\":\"7b7d\",\"dataSignature\":\"30\",\"enclaveQuorumPublic\":\"04\"}"`
	otpBundle    = `"{\"encappedPublic\":\"04\",\"ciphertext\":\"5ec2e7\"}"`
	walletBundle = `"{\"version\":\"v1.0.0\",\"data\":\"7b7d\",\"dataSignature\":\"\",\"enclaveQuorumPublic\":\"\"}"`

	emailProof   = `{"type":"EMAIL_OTP","encryptedOtpBundle":` + otpBundle + `}`
	phoneProof   = `{"type":"SMS_OTP","encryptedOtpBundle":` + otpBundle + `}`
	passkeyProof = `{"type":"PASSKEY","assertion":{"credentialId":"Y3JlZA","clientDataJson":"e30","authenticatorData":"YXV0aA","signature":"c2ln","userHandle":"dXNlcg"}}`
)

// token is a JWT as Grid issues one for a code.
func token(claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + encode([]byte(claims)) + ".c2ln"
}

// withoutText are edits of a JSON member that must be a text that is not empty.
func withoutText(name, literal string) edits {
	member := `"` + name + `":` + literal
	as := func(value string) [2]string { return [2]string{member, `"` + name + `":` + value} }
	return edits{
		"no " + name:            {`"` + name + `":`, `"_":`},
		name + " by its case":   {`"` + name + `":`, `"` + strings.ToUpper(name) + `":`},
		name + " that is empty": as(`""`),
		name + " of null":       as("null"),
		name + " of true":       as("true"),
		name + " in a list":     as("[" + literal + "]"),
		name + " in an object":  as(`{"` + name + `":` + literal + "}"),
		name + " twice":         {member, member + "," + member},
	}
}

func challenging(typ CredentialType, body, rest string, hostile edits) performed {
	o := performed{
		name: "challenge " + string(typ), op: OpChallengeCredential, p: Params{ID: credentialID, Body: body, Account: accountID}, status: Issued,
		request: Send{Method: "POST", Path: "/auth/credentials/" + escaped(credentialID) + "/challenge", Body: body},
		answer:  answerOf(200, `{"id":"`+credentialID+`","accountId":"`+accountID+`","type":"`+string(typ)+`","nickname":"n",`+rest+`,"future":{}}`),
		hostile: with(ofAnything, withoutText("type", `"`+string(typ)+`"`), hostile, edits{
			"another credential":      {credentialID, otherCredentialID},
			"a session of that uuid":  {credentialID, strings.Replace(credentialID, "AuthMethod", "Session", 1)},
			"an id in a list":         {`"` + credentialID + `"`, `["` + credentialID + `"]`},
			"a token's":               {string(typ), string(OAuth)},
			"an unknown type":         {string(typ), "FAX"},
			"a type of small letters": {string(typ), strings.ToLower(string(typ))},
		}),
	}
	return o
}

func challengingCode(typ CredentialType) performed {
	return challenging(typ, "{}", `"otpEncryptionTargetBundle":`+targetBundle, with(withoutText("otpEncryptionTargetBundle", targetBundle), edits{
		"a passkey's":                 {string(typ), string(Passkey)},
		"a passkey's, with all of it": {`"` + string(typ) + `"`, `"PASSKEY","credentialId":"Y3JlZA","challenge":"` + passkeyChallenge + `","requestId":"` + requestID + `","expiresAt":"2026-08-22T12:05:00Z"`},
		"a bundle that is JSON":       {targetBundle, `{"version":"v1.0.0"}`},
	}))
}

func challengingPasskey(body string) performed {
	decoded, _ := hex.DecodeString(passkeyChallenge)
	rest := `"credentialId":"Y3JlZA","challenge":"` + passkeyChallenge + `","requestId":"` + requestID + `","expiresAt":"2026-08-22T12:05:00Z"`
	hostile := with(withoutText("credentialId", `"Y3JlZA"`), withoutText("challenge", `"`+passkeyChallenge+`"`), withoutText("requestId", `"`+requestID+`"`), withoutText("expiresAt", `"2026-08-22T12:05:00Z"`), edits{
		"a code's":                  {"PASSKEY", "EMAIL_OTP"},
		"a code's, with its bundle": {`"PASSKEY"`, `"SMS_OTP","otpEncryptionTargetBundle":` + targetBundle},
		// Whoever signs these signs something else than Grid's 64 letters (its guide Authentication).
		"a challenge in upper case":           {passkeyChallenge, strings.ToUpper(passkeyChallenge)},
		"a challenge of one capital":          {"5f1c", "5F1c"},
		"a challenge that is short":           {passkeyChallenge, passkeyChallenge[1:]},
		"a challenge that is long":            {passkeyChallenge, passkeyChallenge + "0"},
		"a challenge of two":                  {passkeyChallenge, passkeyChallenge + passkeyChallenge},
		"a challenge, hex-decoded":            {passkeyChallenge, base64.RawURLEncoding.EncodeToString(decoded)},
		"a challenge, encoded":                {passkeyChallenge, base64.RawURLEncoding.EncodeToString([]byte(passkeyChallenge))},
		"a challenge of 64 that is no hex":    {passkeyChallenge, passkeyChallenge[:31] + "g" + passkeyChallenge[32:]},
		"a challenge with a blank":            {passkeyChallenge, passkeyChallenge[:63] + " "},
		"a challenge with 0x":                 {passkeyChallenge, "0x" + passkeyChallenge[2:]},
		"a challenge of what folds to hex":    {passkeyChallenge, passkeyChallenge[:61] + "\uff11"}, // three bytes
		"a challenge of 66 bytes, 64 letters": {passkeyChallenge, passkeyChallenge[:63] + "\uff11"},
		"a requestId of another kind":         {requestID, sessionID},
		"a requestId that is short":           {requestID, requestID[:len(requestID)-1]},
		"a requestId with a line":             {requestID, requestID + `\r\nX-Evil: 1`},
		"a requestId without dashes":          {requestID, strings.ReplaceAll(requestID, "-", "")},
		"a requestId by another case":         {"Request:", "request:"},
		"an end of no time":                   {"2026-08-22T12:05:00Z", "tomorrow"},
		"an end in seconds":                   {`"2026-08-22T12:05:00Z"`, "1787400300"},
		"an end without a zone":               {"12:05:00Z", "12:05:00"},
	})
	return challenging(Passkey, body, rest, hostile)
}

// signingIn is a proof: of a code with the payload to be signed, of a token or a
// passkey without. sealed says that Grid makes the key.
func signingIn(name string, typ CredentialType, p Params, payload string, sealed bool) performed {
	p.ID, p.Account = credentialID, accountID
	answer := strings.Replace(sessionAnswer, string(OAuth), string(typ), 1)
	hostile := with(ofASession, withoutText("type", `"`+string(typ)+`"`), edits{"an unknown type": {`"` + string(typ) + `"`, `"FAX"`}})
	for _, other := range []CredentialType{EmailOTP, SMSOTP, OAuth, Passkey} {
		if other != typ {
			hostile["a session by "+string(other)] = [2]string{string(typ), string(other)}
		}
	}
	if sealed {
		const key = `"encryptedSessionSigningKey":"w99a5xV6"`
		answer = strings.Replace(answer, `"type"`, key+`,"type"`, 1)
		hostile = with(hostile, withoutText("encryptedSessionSigningKey", `"w99a5xV6"`), edits{"no sealed key at all": {key + ",", ""}})
		delete(hostile, "a sealed key")
	} else {
		hostile["a sealed key that is empty"] = [2]string{`"type"`, `"encryptedSessionSigningKey":"","type"`}
		hostile["a sealed key in an object"] = [2]string{`"type"`, `"encryptedSessionSigningKey":{},"type"`}
	}
	return performed{
		name: name, op: OpVerifyCredential, p: p, status: Verified, payload: payload,
		request: Send{Method: "POST", Path: "/auth/credentials/" + escaped(credentialID) + "/verify", Body: p.Body, RequestID: p.RequestID},
		answer:  answerOf(200, answer), hostile: hostile,
	}
}

// exporting is that of a wallet, which is sealed for whoever asked.
func exporting() performed {
	return performed{
		name: "export", op: OpExportWallet, p: Params{ID: accountID, Body: sealingBody}, status: Exported,
		request: Send{Method: "POST", Path: "/internal-accounts/" + escaped(accountID) + "/export", Body: sealingBody},
		payload: activity(activityExportWallet, `{"targetPublicKey":"`+sealingKey+`","walletId":"w"}`),
		answer:  answerOf(200, `{"id":"`+accountID+`","encryptedWalletCredentials":`+walletBundle+`,"future":1}`),
		hostile: with(withoutText("id", `"`+accountID+`"`), withoutText("encryptedWalletCredentials", walletBundle), edits{
			"another account":          {accountID, otherAccountID},
			"another, and ours beside": {`"id":"` + accountID + `"`, `"id":"` + otherAccountID + `","accountId":"` + accountID + `"`},
			"a session":                {accountID, sessionID},
			"an account with a tail":   {accountID, accountID + "0"},
		}),
	}
}

// Where a sealed key is null there is none.
func TestNoSealedKey(t *testing.T) {
	for _, o := range everything {
		if o.status == Verified || o.status == Refreshed {
			body := strings.Replace(string(o.answer.Body), `"encryptedSessionSigningKey":"w99a5xV6",`, "", 1)
			null := answerOf(o.answer.Status, strings.Replace(body, `"type"`, `"encryptedSessionSigningKey":null,"type"`, 1))
			if isUncompressed(o.p.ClientKey) || strings.Contains(o.p.Body, sealingKey) {
				o.play(t, null).wantEnd(t, o.legs(), "", ErrResponseMalformed)
			} else {
				o.play(t, null).wantEnd(t, o.legs(), o.status, "")
			}
		}
	}
}

// Without the key that a passkey vouched for, what Grid sealed is for nobody.
func TestPasskeyOfAnUnknownKey(t *testing.T) {
	o, sealed := theOne(t, "sign in PASSKEY"), theOne(t, "sign in PASSKEY, sealed")
	o.p.ClientKey = ""
	o.play(t, o.answer).wantEnd(t, "ask", Verified, "")
	o.play(t, sealed.answer).wantEnd(t, "ask", "", ErrResponseMalformed)
	sealed.play(t, o.answer).wantEnd(t, "ask", "", ErrResponseMalformed)
}

// play holds each request against the Request-Id: here is how many there are,
// and that none is signed and none starts again.
func TestPasskeyIsNeverSigned(t *testing.T) {
	for _, name := range []string{"sign in PASSKEY", "sign in PASSKEY, sealed"} {
		o := theOne(t, name)
		processing := answerOf(200, `{"status":"PROCESSING"}`)
		unknown := envelope(401, "BRIDGE_UNAUTHENTICATED")
		for _, test := range []struct {
			script []any
			story  string
			status Status
			fail   Kind
		}{
			{[]any{o.answer}, "ask", Verified, ""},
			{[]any{unknown, envelope(503, "X"), processing, errLost, o.answer}, "ask ask-anew 125ms ask 500ms ask 250ms ask", Verified, ""},
			{[]any{unknown, Response{Status: 429, RetryAfter: "9"}, o.answer}, "ask ask-anew 9s ask", Verified, ""},
			{[]any{unknown, unknown}, "ask ask-anew", "", ErrUpstreamRefused},
			// It may have been taken: a passkey answers once.
			{[]any{errLost}, "ask", "", ErrNetworkFailed},
			{[]any{envelope(401, "UNAUTHORIZED")}, "ask", "", ErrUpstreamRefused},
			{[]any{envelope(401, "REQUEST_ID_MISSING")}, "ask", "", ErrUpstreamRefused},
			{[]any{envelope(401, "BRIDGE_CHALLENGE_UNKNOWN")}, "ask", "", ErrUpstreamRefused},
			{[]any{envelope(409, "BRIDGE_SIGNATURE_REPLAYED")}, "ask", "", ErrUpstreamRefused},
			{[]any{challengeAnswer(token("{}"))}, "ask", "", ErrResponseMalformed},
		} {
			p := o.playFrom(t, SignOptions{}, test.script...)
			p.wantEnd(t, test.story, test.status, test.fail)
			if p.uses != 0 || len(p.sent) != len(test.script) || p.done.Accepted {
				t.Errorf("%d signatures, %d requests", p.uses, len(p.sent))
			}
			for _, s := range p.sent {
				if s.Signature != "" || s.RequestID != passkeyRequestID {
					t.Errorf("request %d goes with %q and %q", s.Attempt, s.Signature, s.RequestID)
				}
			}
			if e, ok := p.done.Err.(*Error); ok && e.RequestID != passkeyRequestID {
				t.Errorf("the error is of the request %q", e.RequestID)
			}
		}
	}
	o := theOne(t, "sign in PASSKEY")
	bare := strings.TrimPrefix(strings.ToUpper(passkeyRequestID), "REQUEST:")
	o.p.RequestID, o.request.RequestID = bare, bare
	o.play(t, o.answer).wantEnd(t, "ask", Verified, "") // echoed as it came
}

func refusedCode(status int, code, rest string) Response {
	return answerOf(status, fmt.Sprintf(`{"status":%d,"code":%q%s}`, status, code, rest))
}

// One code of Grid's stands for all that may be wrong with a one-time code.
func TestOTPRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		answer Response
		want   Kind
	}{
		"wrong":                          {refusedCode(401, "UNAUTHORIZED", `,"message":"m","details":{"reason":"Invalid OTP code"}`), ErrOTPIncorrect},
		"wrong, at top level":            {refusedCode(401, "UNAUTHORIZED", `,"message":"m","reason":"Invalid OTP code"`), ErrOTPIncorrect},
		"wrong, by a code of its own":    {refusedCode(401, "OTP_INVALID", `,"message":"m"`), ErrOTPIncorrect},
		"without a reason":               {envelope(401, "UNAUTHORIZED"), ErrOTPIncorrect},
		"a reason of null":               {refusedCode(401, "UNAUTHORIZED", `,"details":{"reason":null},"reason":null`), ErrOTPIncorrect},
		"details of null":                {refusedCode(401, "UNAUTHORIZED", `,"details":null`), ErrOTPIncorrect},
		"details that are a list":        {refusedCode(401, "UNAUTHORIZED", `,"details":["OTP expired"]`), ErrOTPIncorrect},
		"none pending":                   {refusedCode(401, "UNAUTHORIZED", `,"message":"m","details":{"reason":"No pending OTP for this credential"}`), ErrOTPExpired},
		"none pending, at top level":     {refusedCode(401, "UNAUTHORIZED", `,"message":"m","reason":"No pending OTP for this credential"`), ErrOTPExpired},
		"none pending, as the message":   {refusedCode(401, "UNAUTHORIZED", `,"message":"No pending OTP for this credential"`), ErrOTPExpired},
		"none pending, after no reason":  {refusedCode(401, "UNAUTHORIZED", `,"message":"No pending OTP for this credential","details":{"reason":""}`), ErrOTPExpired},
		"none pending, by its own code":  {refusedCode(401, "OTP_INVALID", `,"details":{"reason":"no pending otp"}`), ErrOTPExpired},
		"run out":                        {refusedCode(401, "UNAUTHORIZED", `,"details":{"reason":"The OTP has EXPIRED"}`), ErrOTPExpired},
		"run out, at top level":          {refusedCode(401, "UNAUTHORIZED", `,"reason":"otp_expired","details":{}`), ErrOTPExpired},
		"the details have the last word": {refusedCode(401, "UNAUTHORIZED", `,"reason":"expired","message":"expired","details":{"reason":"Invalid OTP code"}`), ErrOTPIncorrect},
		"and the reason before the text": {refusedCode(401, "UNAUTHORIZED", `,"reason":"Invalid OTP code","message":"expired"`), ErrOTPIncorrect},
		"the app's own login":            {refusedCode(401, "BRIDGE_UNAUTHENTICATED", `,"details":{"reason":"expired"}`), ErrUpstreamRefused},
		"a signature, where none is":     {refusedCode(401, "WALLET_SIGNATURE_INVALID", `,"details":{"reason":"expired"}`), ErrUpstreamRefused},
		"no signature":                   {envelope(401, "WALLET_SIGNATURE_MISSING"), ErrUpstreamRefused},
		"no request id":                  {envelope(401, "REQUEST_ID_MISSING"), ErrUpstreamRefused},
		"an unknown challenge":           {envelope(401, "BRIDGE_CHALLENGE_UNKNOWN"), ErrUpstreamRefused},
		"no code":                        {answerOf(401, "<html>expired"), ErrUpstreamRefused},
		"a code of another status":       {answerOf(401, `{"status":403,"code":"UNAUTHORIZED"}`), ErrUpstreamRefused},
		"a 400":                          {refusedCode(400, "UNAUTHORIZED", `,"reason":"expired"`), ErrUpstreamRefused},
		"a 403":                          {refusedCode(403, "UNAUTHORIZED", `,"reason":"expired"`), ErrUpstreamRefused},
		"a bundle that nobody can open":  {envelope(400, "INVALID_INPUT"), ErrUpstreamRefused},
		"a credential that is not there": {envelope(404, "REFERENCE_NOT_FOUND"), ErrUpstreamRefused},
		"an address that is not Grid's":  {answerOf(404, "<html>"), ErrResponseMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range everything {
				if o.op != OpVerifyCredential && o.op != OpChallengeCredential && o.op != OpRefreshSession {
					continue
				}
				want, story := test.want, "ask"
				if o.op != OpVerifyCredential || o.payload == "" {
					// Nothing of a code's: what is refused is the session, the token, the passkey.
					if want == ErrOTPIncorrect || want == ErrOTPExpired {
						want = ErrUpstreamRefused
					}
				}
				script := []any{test.answer}
				if errorCode(test.answer) == "BRIDGE_UNAUTHENTICATED" {
					story, script = "ask ask-anew", append(script, test.answer)
				}
				p := o.playFrom(t, SignOptions{}, script...)
				p.wantEnd(t, story, "", want)
				e, _ := p.done.Err.(*Error)
				if e.Status != test.answer.Status || e.UpstreamCode != errorCode(test.answer) || e.RequestID != o.p.RequestID || e.Kind.Retryable() || strings.Contains(e.Error(), "OTP has") {
					t.Errorf("%s: error = %+v", o.name, e)
				}
			}
		})
	}
}

// The life of a code: refusals of the proof, of the signature, and of the app.
func TestOTPSignIn(t *testing.T) {
	o := theOne(t, "sign in EMAIL_OTP")
	challenge, stale := challengeAnswer(o.payload), envelope(401, "UNAUTHORIZED")
	later := challengeAnswer(token(`{"public_key":"` + ownKey + `","exp":"1787400000000"}`))
	used := refusedCode(401, "UNAUTHORIZED", `,"message":"m","reason":"No pending OTP for this credential"`)
	unknown := envelope(401, "BRIDGE_UNAUTHENTICATED")
	for _, test := range []struct {
		name   string
		script []any
		story  string
		status Status
		fail   Kind
	}{
		{"the app's token ran out before", []any{unknown, challenge, o.answer}, "ask ask-anew sign signed", Verified, ""},
		{"the app's token ran out between", []any{challenge, unknown, later, o.answer}, "ask sign signed ask-anew sign signed", Verified, ""},
		{"the app has no better one", []any{challenge, unknown, unknown}, "ask sign signed ask-anew", "", ErrUpstreamRefused},
		{"too often", []any{Response{Status: 429, RetryAfter: "9", Body: envelope(429, "RATE_LIMITED").Body}, challenge, o.answer}, "ask 9s ask sign signed", Verified, ""},
		{"too often for the time there is", []any{Response{Status: 429, RetryAfter: "90", Body: envelope(429, "RATE_LIMITED").Body}}, "ask", "", ErrUpstreamUnavailable},
		{"the challenge ran out once", []any{challenge, stale, later, o.answer}, "ask sign signed ask sign signed", Verified, ""},
		{"and twice", []any{challenge, stale, later, stale, challenge, o.answer}, "ask sign signed ask sign signed ask sign signed", Verified, ""},
		{"and no more", []any{challenge, stale, challenge, stale, challenge, stale}, "ask sign signed ask sign signed ask sign signed", "", ErrUpstreamRefused},
		{"the reasons of the signed leg are not a code's", []any{challenge, used, challenge, used, challenge, used}, "ask sign signed ask sign signed ask sign signed", "", ErrUpstreamRefused},
		{"the code is used up by then", []any{challenge, stale, used}, "ask sign signed ask", "", ErrOTPExpired},
		{"the answer was lost, and the code is used up", []any{challenge, errLost, used}, "ask sign signed 125ms ask", "", ErrOTPExpired},
		{"the answer was lost", []any{challenge, errLost, later, o.answer}, "ask sign signed 125ms ask sign signed", Verified, ""},
		{"the challenge was lost", []any{errLost, challenge, o.answer}, "ask 125ms ask sign signed", Verified, ""},
		{"another key than the token's signed", []any{challenge, envelope(401, "WALLET_SIGNATURE_INVALID")}, "ask sign signed", "", ErrUpstreamRefused},
		{"a session without a signature", []any{o.answer}, "ask", "", ErrResponseMalformed},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := o.playFrom(t, SignOptions{}, test.script...)
			p.wantEnd(t, test.story, test.status, test.fail)
			if p.uses != strings.Count(test.story, "signed") || p.done.Accepted != (test.status != "") {
				t.Errorf("%d signatures, accepted %v", p.uses, p.done.Accepted)
			}
		})
	}
}

// A token is signed if it names our key or none, and what is no token is not.
func TestHostileTokens(t *testing.T) {
	uncompressed := "04" + ownKey[2:] + "3ab781fe65ba2bbc50b71532312b3836793be62bc4f313e8874fa8a2b1cacea1"
	good := map[string]string{
		"our key":             token(`{"public_key":"` + ownKey + `"}`),
		"our key, shouted":    token(`{"public_key":"` + strings.ToUpper(ownKey) + `"}`),
		"our key, as a point": token(`{"public_key":"` + uncompressed + `"}`),
		"no key":              token(`{"sub":"u","iat":1787400000,"exp":1787403600}`),
	}
	bad := map[string]string{
		"another key":              token(`{"public_key":"` + clientKey + `"}`),
		"the key with the other y": token(`{"public_key":"02` + ownKey[2:] + `"}`),
		"another point":            token(`{"public_key":"` + sealingKey + `"}`),
		"an empty key":             token(`{"public_key":""}`),
		"a key of null":            token(`{"public_key":null}`),
		"a key in a list":          token(`{"public_key":["` + ownKey + `"]}`),
		"a key with a blank":       token(`{"public_key":"` + ownKey + ` "}`),
		"a revocation":             revokePayload,
		"an opaque text":           "cGxhY2Vob2xkZXI=",
		"an activity of that key":  activity(activityCreateSession, `{"targetPublicKey":"`+ownKey+`"}`),
	}
	for _, o := range everything {
		if o.op != OpVerifyCredential || o.payload == "" {
			continue
		}
		for name, payload := range good {
			t.Run(o.name+"/"+name, func(t *testing.T) {
				o.playFrom(t, SignOptions{}, challengeAnswer(payload), o.answer).wantEnd(t, "ask sign signed", Verified, "")
			})
		}
		for name, payload := range bad {
			t.Run(o.name+"/"+name, func(t *testing.T) {
				p := o.playFrom(t, SignOptions{}, challengeAnswer(payload))
				if p.wantEnd(t, "ask sign", "", ErrIntentMismatch); p.uses != 0 {
					t.Error("the key was used")
				}
				// A relay that was honest once has to be so again.
				p = o.play(t, envelope(401, "UNAUTHORIZED"), challengeAnswer(payload))
				if wantKind(t, p.done.Err, ErrIntentMismatch); p.uses != 1 {
					t.Errorf("%d signatures, want 1", p.uses)
				}
			})
		}
		t.Run(o.name+"/a key twice", func(t *testing.T) {
			p := o.playFrom(t, SignOptions{}, challengeAnswer(token(`{"public_key":"`+ownKey+`","public_key":"`+clientKey+`"}`)))
			if p.wantEnd(t, "ask sign", "", ErrPayloadMalformed); p.uses != 0 {
				t.Error("the key was used")
			}
		})
		t.Run(o.name+"/late", func(t *testing.T) {
			late := challengeAnswer(o.payload)
			late.Body = []byte(strings.Replace(string(late.Body), "12:05:00Z", "12:00:00Z", 1))
			if p := o.playFrom(t, SignOptions{}, late); p.uses != 0 {
				t.Error("the key was used")
			} else {
				p.wantEnd(t, "ask sign", "", ErrChallengeExpired)
			}
		})
	}
}
