package gridsim

import (
	"strings"
	"testing"
	"time"
)

func TestPaths(t *testing.T) {
	w := newWorld(t, Config{})
	session := w.signIn(credential1, newP256(t))
	uuid := strings.TrimPrefix(session, "Session:")
	tests := []struct {
		method, path string
		status       int
		code         string
	}{
		{"DELETE", "/auth/sessions/Session:" + uuid, 202, ""},
		{"DELETE", "/auth/sessions/Session%3A" + uuid, 202, ""},
		{"DELETE", "/auth/sessions/Session%3a" + uuid, 202, ""},
		{"DELETE", "/auth/sessions/" + uuid, 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/session:" + uuid, 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/AuthMethod:" + uuid, 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/Session:" + uuid + "%0A", 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/Session:" + uuid + "%00", 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/%2e%2e%2fsessions", 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/Session:" + strings.ToUpper(uuid[:35]) + "G", 400, "INVALID_INPUT"},
		{"DELETE", "/auth/sessions/", 404, "REFERENCE_NOT_FOUND"},
		{"DELETE", "/auth/sessions/Session:" + uuid + "/", 404, "REFERENCE_NOT_FOUND"},
		{"DELETE", "/auth//sessions/Session:" + uuid, 404, "REFERENCE_NOT_FOUND"},
		{"DELETE", "/x/../auth/sessions/Session:" + uuid, 404, "REFERENCE_NOT_FOUND"},
		{"DELETE", "/%61uth/sessions/Session:" + uuid, 404, "REFERENCE_NOT_FOUND"},
		{"GET", "/auth/sessions/Session:" + uuid, 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/auth/sessions", 405, "METHOD_NOT_ALLOWED"},
		{"GET", refreshOf("Session:" + uuid), 405, "METHOD_NOT_ALLOWED"},
		{"DELETE", "/auth/credentials", 405, "METHOD_NOT_ALLOWED"},
		{"PATCH", removePath(credential1), 405, "METHOD_NOT_ALLOWED"}, // Grid had it for two days of May 2026
		{"GET", verifyPath(credential1), 405, "METHOD_NOT_ALLOWED"},
		{"POST", controlPath, 404, "REFERENCE_NOT_FOUND"},
		{"GET", inboxPath, 404, "REFERENCE_NOT_FOUND"},
		{"DELETE", "/auth/credentials/" + credential1 + "/challenge", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/auth/delegated-keys", 501, "NOT_IMPLEMENTED"},
		{"DELETE", "/auth/delegated-keys/DelegatedKey:" + uuid, 501, "NOT_IMPLEMENTED"},
		{"GET", "/internal-accounts/" + seedAccountID + "/export", 405, "METHOD_NOT_ALLOWED"},
		{"PATCH", "/internal-accounts/" + seedAccountID, 501, "NOT_IMPLEMENTED"},
		{"PATCH", "/customers/Customer:" + uuid, 501, "NOT_IMPLEMENTED"},
		{"GET", "/customers", 501, "NOT_IMPLEMENTED"},
		{"POST", "/quotes/Quote:" + uuid + "/execute", 501, "NOT_IMPLEMENTED"},
		{"GET", "/agents/me/transactions", 501, "NOT_IMPLEMENTED"},
		{"GET", "/transaction", 404, "REFERENCE_NOT_FOUND"},
		{"GET", "//customers", 404, "REFERENCE_NOT_FOUND"},
		{"GET", "/", 404, "REFERENCE_NOT_FOUND"},
	}
	for _, test := range tests {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			a := w.send(test.method, test.path, "")
			a.want(t, test.status, test.code)
			if allow := a.header.Get("Allow"); (allow != "") != (test.status == 405) {
				t.Errorf("Allow = %q", allow)
			}
		})
	}
}

// TestOrderOfChecks takes one wrong thing away at a time: what is left decides.
func TestOrderOfChecks(t *testing.T) {
	w := newWorld(t, Config{})
	wrong := "Basic eDp4"
	w.send("PUT", "/nowhere", "{", "Authorization", wrong).want(t, 404, "REFERENCE_NOT_FOUND")
	w.send("PUT", verifyPath("x"), "{", "Authorization", wrong).want(t, 405, "METHOD_NOT_ALLOWED")
	w.send("POST", verifyPath("x"), "{", "Authorization", wrong).want(t, 401, "UNAUTHORIZED")
	steps := []struct {
		credential, body string
		want             reason
	}{
		{"x", `{`, bodyNotObject},
		{"x", `{"type":"OAUTH","oidcToken":"x","clientPublicKey":"x"}`, clientKeyMalformed},
		{"AuthMethod:00000000-0000-0000-0000-000000000000", `{"type":"PASSKEY"}`, assertionMalformed},
		{"x", verifyBody("x", newP256(t).public), credentialIDMalformed},
		{"AuthMethod:00000000-0000-0000-0000-000000000000", verifyBody("x", newP256(t).public), credentialUnknown},
		{credential1, verifyBody("x", newP256(t).public), tokenMalformed},
	}
	for _, step := range steps {
		if got := w.send("POST", verifyPath(step.credential), step.body).reason(); got != step.want {
			t.Errorf("%s %s: %s, want %s", step.credential, step.body, got, step.want)
		}
	}

	// The signature headers come last, and among them the Request-Id after the
	// form of the signature.
	session := w.signIn(credential1, newP256(t))
	pair := []string{headerSignature, "x", headerRequestID, "x"}
	for path, want := range map[string]reason{
		sessionPath("x"): sessionIDMalformed,
		sessionPath("Session:00000000-0000-0000-0000-000000000000"): sessionNotActive,
		sessionPath(session): stampNotBase64,
	} {
		if got := w.send("DELETE", path, "", pair...).reason(); got != want {
			t.Errorf("DELETE %s: %s, want %s", path, got, want)
		}
	}
	if got := w.send("DELETE", sessionPath("x"), "{}").reason(); got != bodyUnexpected {
		t.Errorf("leg 1 with a body and a malformed id: %s, want %s", got, bodyUnexpected)
	}

	// What stands in the way of an operation comes after the Request-Id, and before
	// the body.
	for _, step := range []struct {
		body, signature, id string
		want                reason
	}{
		{"", "", "", lastCredential},
		{"{}", "", "x", signatureMissing},
		{"{}", newP256(t).stamp(""), "x", challengeUnknown},
	} {
		a := w.send("DELETE", removePath(credentialX), step.body, headerSignature, step.signature, headerRequestID, step.id)
		if a.reason() != step.want {
			t.Errorf("removing the last credential: %s, want %s", a.reason(), step.want)
		}
	}
	removal, removalID := w.leg1("DELETE", removePath(credential2), "")
	w.sim.dropCredential(w.sim.credentials[credential1])
	a := w.send("DELETE", removePath(credential2), "{}", headerSignature, newP256(t).stamp(removal), headerRequestID, removalID)
	if a.reason() != lastCredential {
		t.Errorf("removing what became the last credential, with a body and a foreign signer: %s", a.reason())
	}

	// Of the challenge first its time, then its body, then its signer.
	session = w.signIn(credential2, newP256(t))
	payload, id := w.challenge(session)
	foreign := []string{headerSignature, newP256(t).stamp(payload), headerRequestID, id}
	for _, step := range []struct {
		wait time.Duration
		body string
		want reason
	}{
		{0, "", signerNotEligible},
		{0, "{}", boundBodyDiffers},
		{5 * time.Minute, "{}", challengeExpired},
	} {
		w.clock.advance(step.wait)
		if got := w.send("DELETE", sessionPath(session), step.body, foreign...).reason(); got != step.want {
			t.Errorf("a foreign signer, the body %q, %v after the challenge: %s, want %s", step.body, step.wait, got, step.want)
		}
	}
}

func TestBasicAuth(t *testing.T) {
	w := newWorld(t, Config{})
	const path = "/auth/credentials?accountId=" + seedAccountID
	good := "Y2xpZW50OnMzY3JldDp3aXRoIGNvbG9u" // client:s3cret:with colon
	for header, status := range map[string]int{
		"Basic " + good:        200,
		"basic " + good:        200,
		"Bearer " + good:       401,
		"Basic":                401,
		"Basic  " + good:       401,
		"Basic Y2xpZW50":       401, // no colon
		"Basic Y2xpZW50Og==":   401, // no secret
		"Basic OnMzY3JldA==":   401, // no id
		"Basic " + good + "YQ": 401,
	} {
		if a := w.send("GET", path, "", "Authorization", header); a.status != status {
			t.Errorf("%q: %d, want %d", header, a.status, status)
		}
	}
	w.send("GET", path, "", "Authorization", "Basic "+good, "Authorization", "Basic "+good).want(t, 401, "UNAUTHORIZED")
}

func TestLists(t *testing.T) {
	w := newWorld(t, Config{})
	w.clock.advance(1500 * time.Millisecond)
	session := w.signIn(credential1, newP256(t))
	unknown := "InternalAccount:00000000-0000-0000-0000-000000000000"
	for path, want := range map[string]string{
		"/auth/sessions?accountId=" + seedAccountID: `{"data":[{"id":"` + session + `","accountId":"` + seedAccountID +
			`","type":"OAUTH","nickname":"ada@example.com","createdAt":"2026-08-22T10:00:01Z","updatedAt":"2026-08-22T10:00:01Z","expiresAt":"2026-08-22T10:15:02Z"}]}`,
		"/auth/sessions?accountId=" + accountX: `{"data":[]}`,
		"/auth/sessions?accountId=" + unknown:  `{"data":[]}`,
		"/auth/credentials?accountId=" + strings.Replace(accountX, ":", "%3A", 1): `{"data":[{"id":"` + credentialX + `","accountId":"` + accountX +
			`","type":"OAUTH","nickname":"other","createdAt":"2026-08-22T10:00:00Z","updatedAt":"2026-08-22T10:00:00Z"}]}`,
		"/auth/credentials?other=1&accountId=" + unknown: `{"data":[]}`,
	} {
		if a := w.send("GET", path, ""); string(a.raw) != want || a.status != 200 {
			t.Errorf("GET %s: %d\ngot  %s\nwant %s", path, a.status, a.raw, want)
		}
	}
}

func TestClock(t *testing.T) {
	w, k := newWorld(t, Config{Control: true}), newP256(t)
	session := w.signIn(credential1, k)
	payload, id := w.challenge(session)
	w.send("POST", controlPath, `{"advanceSeconds":300}`, "Authorization", "Basic eDp4").want(t, 401, "UNAUTHORIZED")
	for _, body := range []string{`{}`, `{"advanceSeconds":0}`, `{"advanceSeconds":1.5}`, `{"advanceSeconds":"1"}`, `{"advanceSeconds":null}`, `{"advanceSeconds":315360001}`, `{"advanceSeconds":99999999999999999999}`} {
		w.send("POST", controlPath, body).want(t, 400, "INVALID_INPUT")
	}
	w.send("POST", controlPath, `{"advanceSeconds":300}`).want(t, 204, "")
	if got := w.sim.Now().Sub(w.clock.now()); got != 5*time.Minute {
		t.Errorf("the clock went %v ahead", got)
	}
	if a := w.revoke(session, k.stamp(payload), id); a.reason() != challengeExpired {
		t.Errorf("after the advance: %s", a.raw)
	}
	w.send("POST", controlPath, `{"advanceSeconds":315359700}`).want(t, 204, "")
	w.send("POST", controlPath, `{"advanceSeconds":1}`).want(t, 400, "INVALID_INPUT")
}

func TestNew(t *testing.T) {
	for name, cfg := range map[string]Config{
		"profile":    {Profile: "newest"},
		"lifetime":   {ChallengeTTL: -1},
		"session":    {SessionTTL: -1},
		"reason":     {ReasonAt: "nowhere"},
		"processing": {ProcessingReplies: -1},
		"settling":   {ProcessingTime: -1},
		"rate":       {RateLimit: -1},
		"colon":      {ClientID: "a:b"},
		"code":       {OTPTTL: -1},
		"rpId":       {RPID: "127.0.0.1"},
		"origin":     {Origins: []string{""}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: New took %+v", name, cfg)
		}
	}
	a, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	seedA, seedB := a.Seed(), b.Seed()
	if seedA.ClientID == seedB.ClientID || seedA.ClientSecret == seedB.ClientSecret || len(seedA.ClientSecret) < 26 {
		t.Error("credentials that New makes up can be guessed")
	}
	if len(seedA.OTPSigner) != 130 || len(map[string]int{seedA.OTPSigner: 0, seedA.ExportSigner: 0, seedB.OTPSigner: 0, seedB.ExportSigner: 0}) != 4 {
		t.Errorf("the keys that vouch are not four: %+v, %+v", seedA, seedB)
	}
	seedA.ClientID, seedA.ClientSecret = seedB.ClientID, seedB.ClientSecret
	seedA.OTPSigner, seedA.ExportSigner = seedB.OTPSigner, seedB.ExportSigner
	if seedA != seedB {
		t.Errorf("two simulators differ: %+v, %+v", seedA, seedB)
	}
}
