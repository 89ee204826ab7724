package bridge_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// TestHostileChallenges answers the first leg of every signed operation with
// every challenge that is another's, and with those that are nearly its own. A
// signature over one, which the signer would not make, goes nowhere either.
func TestHostileChallenges(t *testing.T) {
	near := map[signer.Operation][]string{
		signer.OpRefreshSession: {
			activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+otherKey+`"}`),
			activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+strings.ToUpper(clientKey)+`"}`),
			activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+clientKey+`","expirationSeconds":"1"}`),
			activity("CREATE_READ_WRITE_SESSION_V2", `{"targetPublicKey":"`+otherKey+`","targetPublicKey":"`+clientKey+`"}`),
			activity("CREATE_READ_WRITE_SESSION_V2", `{}`),
		},
		signer.OpAddCredential: {
			activity("UPDATE_USER_EMAIL", `{"userId":"user"}`),
			activity("UPDATE_USER_EMAIL", `{"userEmail":["a@b.c"],"userId":"user"}`),
			activity("UPDATE_USER_EMAIL", `{"userEmail":"a@b.c","userId":"user","verificationToken":"v"}`),
			activity("CREATE_OAUTH_PROVIDERS", `{"oauthProviders":[{"oidcToken":"h.p.t","providerName":"n"}],"userId":"user"}`),
			activity("CREATE_OAUTH_PROVIDERS", `{"oauthProviders":[{"oidcToken":"h.p.s","providerName":"n"},{"oidcToken":"h.p.t","providerName":"n"}],"userId":"user"}`),
			activity("CREATE_OAUTH_PROVIDERS", `{"oauthProviders":[],"userId":"user"}`),
			activity("CREATE_AUTHENTICATORS_V2", `{"authenticators":[{"attestation":{"attestationObject":"other","clientDataJson":"d","credentialId":"c"},"authenticatorName":"Laptop","challenge":"x"}],"userId":"user"}`),
			activity("CREATE_AUTHENTICATORS_V2", `{"authenticators":[],"userId":"user"}`),
		},
		signer.OpRemoveCredential: {
			activity("DELETE_OAUTH_PROVIDERS", `{"providerIds":["p","q"],"userId":"user"}`),
			activity("DELETE_AUTHENTICATORS", `{"authenticatorIds":["a","b"],"userId":"user"}`),
			activity("DELETE_AUTHENTICATORS", `{"authenticatorIds":[],"userId":"user"}`),
		},
	}
	anywhere := []string{
		"eyJhbGciOiJFUzI1NiJ9.e30.AAAA", "cGF5bG9hZA==", "sign me please",
		activity("EXPORT_WALLET", `{"targetPublicKey":"`+clientKey+`","walletId":"w"}`),
		activity("SIGN_TRANSACTION_V2", `{"signWith":"s","type":"t","unsignedTransaction":"00"}`),
		activity("SIGN_RAW_PAYLOAD_V2", `{"encoding":"e","hashFunction":"h","payload":"p","signWith":"s"}`),
		activity("DELETE_API_KEYS", `{"apiKeyIds":["a","b"],"userId":"user"}`),
		activity("CREATE_POLICIES", `{}`),
	}
	for _, s := range samples {
		if s.payload != "" {
			anywhere = append(anywhere, s.payload)
		}
	}
	u := newUpstream(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, u.URL)
	asked := 0
	everySigned(t, func(t *testing.T, s sample) {
		c.t = t
		for _, payload := range append(near[s.op], anywhere...) {
			opaque := !strings.ContainsAny(payload, ". {")
			if payload == s.payload || opaque && s.op == signer.OpRevokeSession {
				continue
			}
			asked++
			id := fmt.Sprintf("Request:00000000-0000-0000-0000-%012x", asked)
			challenge := challengeOf(payload, id)
			u.challenge.Store(&challenge)
			if got := c.sendSample(s); got.status != 502 || got.code != "BRIDGE_CHALLENGE_REFUSED" {
				t.Errorf("challenge for %s\nto %s %s: answer = %d %s, want 502 BRIDGE_CHALLENGE_REFUSED", payload, s.id, s.body, got.status, got.body)
			}
			u.challenge.Store(nil)
			u.tap.received()
			assertRefused(t, u, c.sendSample(s, stamp(t, payload, id)...), 401, "BRIDGE_CHALLENGE_UNKNOWN")
		}
	})
}

// TestRemovalIsOfTheListedType asks for a removal by a bridge that has seen the
// credential in a list before, and by one whose Grid lists no type of it.
func TestRemovalIsOfTheListedType(t *testing.T) {
	s := samples[slices.IndexFunc(samples, func(s sample) bool { return s.op == signer.OpRemoveCredential })]
	u := newUpstream(t, func(http.ResponseWriter, *http.Request) {})
	c := newClient(t, u.URL)
	for range 2 {
		c.begin(u, s)
	}
	wrong := challengeOf(activity("DELETE_AUTHENTICATORS", `{"authenticatorIds":["a"],"userId":"user"}`), requestID)
	u.challenge.Store(&wrong)
	if got := c.sendSample(s); got.code != "BRIDGE_CHALLENGE_REFUSED" {
		t.Errorf("another type, its owner known: answer = %d %s, want BRIDGE_CHALLENGE_REFUSED", got.status, got.body)
	}

	handler := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" {
			respondJSON(200, `{"data":[{"id":"`+method+`","accountId":"`+alice+`"}]}`)(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
	right := challengeOf(s.payload, requestID)
	u.challenge.Store(&right)
	if got := newClient(t, u.URL).sendSample(s); got.code != "BRIDGE_CHALLENGE_REFUSED" {
		t.Errorf("no type listed: answer = %d %s, want BRIDGE_CHALLENGE_REFUSED", got.status, got.body)
	}
}

// TestSignedLegHasTheSameBody changes the body between the legs.
func TestSignedLegHasTheSameBody(t *testing.T) {
	everySigned(t, func(t *testing.T, s sample) {
		if s.body == "" {
			return
		}
		u := newUpstream(t, answers(s.op.Route().Status, s.terminal))
		c := newClient(t, u.URL)
		signed := c.begin(u, s)
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(s.body)); err != nil || compact.String() != s.body {
			t.Fatalf("the sample is not compact: %v", err)
		}
		for name, body := range map[string]string{
			"one that says something else": s.other, "one more blank": strings.Replace(s.body, ":", ": ", 1), "a line end": s.body + "\n",
			"an escape": fmt.Sprintf(`{"\u%04x`, s.body[2]) + s.body[3:],
		} {
			changed := s
			changed.body = body
			if _, err := s.op.Judge(body); err != nil {
				t.Fatalf("%s: %s is refused for another reason: %v", name, body, err)
			}
			assertRefused(t, u, c.sendSample(changed, signed...), 401, "BRIDGE_CHALLENGE_UNKNOWN")
		}
		if got := c.sendSample(s, signed...); got.status != s.op.Route().Status {
			t.Errorf("the same body = %d %s, want %d", got.status, got.body, s.op.Route().Status)
		}
		if sent := u.tap.received(); !strings.HasSuffix(sent, "\r\n\r\n"+s.body) {
			t.Errorf("upstream received\n%q\nwant it to end with the body", sent)
		}
	})
}

// TestProcessing has Grid ask for every signed operation once more. The bridge
// lets the identical request through until Grid has ended it, also where an answer
// is lost or Grid is busy on the way, and no longer.
func TestProcessing(t *testing.T) {
	everySigned(t, func(t *testing.T, s sample) {
		status := s.op.Route().Status
		processing := respondJSON(200, `{"status":"PROCESSING","message":"m"}`)
		busy := respondJSON(503, `{"status":503,"code":"X","message":"m"}`)
		lost := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
		script := []http.HandlerFunc{processing, busy, lost, processing, answers(status, s.terminal)}
		var next atomic.Int32
		u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { script[next.Add(1)-1](w, r) })
		c := newClient(t, u.URL)
		signed := c.begin(u, s)
		for i, want := range []int{200, 503, 502, 200, status} {
			if got := c.sendSample(s, signed...); got.status != want {
				t.Errorf("signed leg %d = %d %s, want %d", i+1, got.status, got.body, want)
			}
			if sent, want := u.tap.received(), u.wire(s.op.Route().Method, s.path(s.id), s.body, signed...); sent != want {
				t.Errorf("upstream received\n%q\nwant\n%q", sent, want)
			}
		}
		assertRefused(t, u, c.sendSample(s, signed...), 409, "BRIDGE_SIGNATURE_REPLAYED")
		c.server.Close()
		who := fmt.Sprintf(" account=%s intent=%s payloadSha256=%x", alice, s.op.Route().Intent, sha256.Sum256([]byte(s.payload)))
		var want []string
		for _, answered := range []string{"200 processing=true", "503 processing=false", "502 processing=false", "200 processing=true", fmt.Sprint(status, " processing=false")} {
			want = append(want, "stage=sent"+who, "stage=answered"+who+" status="+answered)
		}
		holdAudit(t, c.audit("account", "intent", "payloadSha256", "status", "processing"), append(want, "stage=refused"+who+" status=409")...)
	})
}

// TestTerminalAnswersAreOfTheAccount has Grid, or a cache before it, answer with
// what belongs to somebody else.
func TestTerminalAnswersAreOfTheAccount(t *testing.T) {
	everySample(t, func(t *testing.T, s sample) {
		status := s.op.Route().Status
		if status == http.StatusNoContent {
			status, s.terminal = http.StatusOK, ofAlice // which it is not, but must not be somebody else's either
		}
		for body, ok := range map[string]bool{
			s.terminal: true, `{"status":"PROCESSING"}`: status == 200, `{"data":[],"accountId":"` + mallory + `"}`: false,
			strings.Replace(ofAlice, alice, mallory, 1): false, `{"accountId":"` + aliceToo + `"}`: false, `{}`: false, `[]`: false, `null`: false,
			`{"data":[{"accountId":"` + mallory + `"}]}`: false, `{"data":[{}]}`: false, `{"status":"PROCESSING","accountId":"` + mallory + `"}`: false,
		} {
			u := newUpstream(t, respondJSON(status, body))
			if s.op.Route().Method == http.MethodGet { // of which the harness has its own
				u.Config.Handler = respondJSON(status, body)
			}
			c := newClient(t, u.URL)
			got := c.sendSample(s, c.begin(u, s)...)
			if ok && (got.status != status || got.body != body) || !ok && (got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID") {
				t.Errorf("%s: answer = %d %s, want it relayed: %t", body, got.status, got.body, ok)
			}
		}
	})
}

// TestBodiesAreRead spoils every body in every way that two readers might take
// differently. Grid sees none of them, and no look-up.
func TestBodiesAreRead(t *testing.T) {
	u := newUpstream(t, respondJSON(200, `{"status":"PROCESSING"}`))
	c := newClient(t, u.URL)
	everySample(t, func(t *testing.T, s sample) {
		if s.body == "" || s.body == "{}" { // of a challenge, which has another sample
			return
		}
		c.t = t
		c.begin(u, s)
		inside, value := strings.TrimSuffix(s.body[1:], "}"), strings.TrimSuffix(s.body, `"}`)
		name := s.body[2:][:strings.IndexByte(s.body[2:], '"')]
		escaped := fmt.Sprintf(`\u%04x`, name[0]) + name[1:]
		for what, body := range map[string]string{
			"unknown field": `{"x":1,` + inside + `}`, "unknown field last": `{` + inside + `,"x":{}}`,
			"duplicate": `{` + inside + `,` + inside + `}`, "duplicate by escape": `{"` + escaped + `":"x",` + inside + `}`, "duplicate behind": `{` + inside + `,"` + escaped + `":"x"}`,
			"name in capitals": strings.Replace(s.body, name, strings.ToUpper(name), 1), "name with an escaped NUL": strings.Replace(s.body, name, name+`\u0000`, 1),
			"field missing": `{` + inside[strings.IndexByte(inside+`,`, ',')+min(1, strings.Count(inside, ",")):] + `}`, "no field": `{}`,
			"null in place of a text": `{"` + name + `":null}`, "array": `[` + s.body + `]`, "null": `null`, "text": `"x"`, "nothing": ``, "twice": s.body + s.body,
			"lone surrogate": value + `\ud800"}`, "other half": value + `\udc00"}`, "invalid UTF-8": value + "\xff\"}", "overlong UTF-8": value + "\xc0\xaf\"}", "bare control character": value + "\x01\"}",
			"byte order mark": "\ufeff" + s.body, "trailing comma": `{` + inside + `,}`, "comment": s.body + `//`, "single quotes": strings.ReplaceAll(s.body, `"`, `'`),
			"deep": strings.Repeat(`{"x":`, 17) + `1` + strings.Repeat(`}`, 17), "very deep": strings.Repeat(`[`, 32<<10) + strings.Repeat(`]`, 32<<10),
		} {
			if s.op == signer.OpChallengeCredential && body == "{}" {
				continue // which asks for a code
			}
			t.Run(what, func(t *testing.T) {
				changed := s
				changed.body = body
				lines := []string{"X-Gridsigner: 1"}
				if body == "" {
					lines = append(lines, "Content-Type: application/json", "Content-Length: 0")
				}
				c.t = t
				assertRefused(t, u, c.raw(changed.text(lines...)), 400, "BRIDGE_INPUT_INVALID")
			})
		}
		c.t = t
		large := s
		large.body += strings.Repeat(" ", 64<<10+1-len(s.body))
		assertRefused(t, u, c.sendSample(large), 413, "BRIDGE_BODY_TOO_LARGE")
		for _, contentType := range []string{"text/plain", "application/x-www-form-urlencoded", "text/json", "application/json, text/plain"} {
			assertRefused(t, u, c.raw(strings.Replace(s.text("X-Gridsigner: 1"), "application/json", contentType, 1)), 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED")
		}
		large.body = large.body[:64<<10]
		if got := c.sendSample(large); got.status != 200 {
			t.Errorf("64 KiB = %d %s, want 200", got.status, got.body)
		}
		if sent := u.tap.received(); !strings.HasSuffix(sent, large.body) {
			t.Error("upstream did not receive the body as it was sent")
		}
	})
}

// TestOtherWaysToSignIn tries those that Grid had, and mixtures of those that it
// has.
func TestOtherWaysToSignIn(t *testing.T) {
	u := newUpstream(t, nil)
	c := newClient(t, u.URL)
	for _, body := range []string{
		`{"type":"EMAIL_OTP","otp":"000000","clientPublicKey":"` + clientKey + `"}`, `{"type":"OAUTH","oidcToken":"h.p.s"}`, `{"type":"EMAIL_OTP","encryptedOtpBundle":{}}`,
		strings.Replace(verifyBody, `"OAUTH"`, `"PASSKEY"`, 1), strings.Replace(assertion("c"), `"PASSKEY"`, `"EMAIL_OTP"`, 1), strings.Replace(verifyBody, `"OAUTH"`, `"oauth"`, 1),
		codeBody("OAUTH", bundle), codeBody("PASSKEY", bundle), codeBody("EMAIL_OTP", `""`), strings.Replace(assertion("c"), `"c"`, `"c","userHandle":null`, 1),
	} {
		assertRefused(t, u, c.send("POST", "/auth/credentials/"+method+"/verify", body), 400, "BRIDGE_INPUT_INVALID")
	}
	for _, body := range []string{`{"type":"EMAIL_OTP"}`, `{"x":{}}`, `{"clientPublicKey":""}`, `[]`, `null`, `""`, `{}{}`, `{},`, "\ufeff{}"} {
		assertRefused(t, u, c.send("POST", "/auth/credentials/"+email+"/challenge", body), 400, "BRIDGE_INPUT_INVALID")
	}
	for _, lines := range [][]string{nil, {"Content-Length: 0"}} { // which Grid would take
		assertRefused(t, u, c.send("POST", "/auth/credentials/"+email+"/challenge", "", lines...), 415, "BRIDGE_CONTENT_TYPE_UNSUPPORTED")
	}
}

// TestOwnershipEverywhere puts ids of another user's, and such as nobody has, in
// every place of every request: both get the same answer after the same look-ups.
func TestOwnershipEverywhere(t *testing.T) {
	ids := map[string][2]string{"InternalAccount": {mallory, nobodys("InternalAccount")}, "Session": {foreign, nobodys("Session")}, "AuthMethod": {foreignMethod, nobodys("AuthMethod")}}
	u := newUpstream(t, respondJSON(200, ofAlice))
	c := newClient(t, u.URL)
	see := func(s sample, lines ...string) (answer, asked string) {
		got := c.sendSample(s, lines...)
		var requests []string
		for text := range strings.SplitSeq(u.tap.received(), "\r\n") {
			if request, ok := strings.CutSuffix(text, " HTTP/1.1"); ok {
				requests = append(requests, request)
			}
		}
		return fmt.Sprint(got.status, strings.ReplaceAll(got.body, got.header.Get("X-Correlation-Id"), "")), strings.Join(requests, "\n")
	}
	everySample(t, func(t *testing.T, s sample) {
		c.t = t
		compare := func(where string, a, b sample, lines ...string) {
			answerA, askedA := see(a, lines...)
			answerB, askedB := see(b, lines...)
			if answerA != answerB || askedA != askedB || !strings.HasPrefix(answerA, "404") && !strings.HasPrefix(answerA, "400") {
				t.Errorf("%s: another user's = %s after\n%s\nnobody's = %s after\n%s", where, answerA, askedA, answerB, askedB)
			}
			if strings.Contains(askedA, "POST") || strings.Contains(askedA, "DELETE") || where != "path" && askedA != "" {
				t.Errorf("%s: upstream received\n%s", where, askedA)
			}
		}
		if kind, _, ok := strings.Cut(s.id, ":"); ok {
			a, b := s, s
			a.id, b.id = ids[kind][0], ids[kind][1]
			where := "path"
			compare(where, a, b)
			compare(where, a, b, "Grid-Wallet-Signature: "+signature, "Request-Id: "+requestID)
		}
		// Every text of the body, one after the other, is replaced.
		for i, part := range strings.Split(s.body, `"`) {
			if i%2 == 0 || strings.HasPrefix(strings.Split(s.body, `"`)[i+1], ":") {
				continue
			}
			for kind, pair := range ids {
				var changed [2]sample
				for j := range pair {
					parts := strings.Split(s.body, `"`)
					parts[i] = pair[j]
					changed[j] = s
					changed[j].body = strings.Join(parts, `"`)
				}
				compare(kind+" for "+part, changed[0], changed[1])
			}
		}
	})
}

// nobodys is an id that nobody has.
func nobodys(kind string) string { return kind + ":00000000-0000-0000-0000-000000000000" }

// TestEveryIDHasAList checks that whose an id is can be found out, whatever the
// table may get.
func TestEveryIDHasAList(t *testing.T) {
	for _, op := range signer.Operations() {
		if kind := bridge.KindWithoutList(op); kind != "" {
			t.Errorf("%s takes the id of %s, and no list has those", op, kind)
		}
	}
}
