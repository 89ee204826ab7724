package bridge_test

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/redistest"
	"gridsigner/signer"
)

// passkeySample is the answer of a passkey.
var passkeySample = samples[slices.IndexFunc(samples, func(s sample) bool { return s.issued != "" })]

// ask has a challenge for [passkey] issued by c.
func (c *client) ask(u *upstream) { c.t.Helper(); c.begin(u, passkeySample) }

// answer sends an assertion of a credential with header lines.
func (c *client) answer(credential, body string, lines ...string) reply {
	c.t.Helper()
	return c.send("POST", "/auth/credentials/"+credential+"/verify", body, lines...)
}

// TestHeadersFollowTheBody sends every combination of the two headers with every
// sample.
func TestHeadersFollowTheBody(t *testing.T) {
	u := newUpstream(t, respondJSON(200, `{"status":"PROCESSING"}`))
	signed, named := "Grid-Wallet-Signature: "+signature, "Request-Id: "+requestID
	everySample(t, func(t *testing.T, s sample) {
		c := newClient(t, u.URL)
		c.begin(u, s)
		alone := s
		alone.issued = "" // its header is said below
		for _, lines := range [][]string{nil, {signed}, {named}, {signed, named}} {
			got := c.sendSample(alone, lines...)
			sent := u.tap.received()
			sent = sent[strings.LastIndex(sent, s.op.Route().Method+" /")+1:]
			var want string
			switch n := len(lines); {
			case s.issued != "" && (n != 1 || lines[0] != named), s.payload != "" && n == 1:
				want = "BRIDGE_HEADERS_INCOMPLETE"
			case s.payload != "" && n == 2:
				want = "BRIDGE_SIGNATURE_MALFORMED" // with both it is a signed leg
			}
			if got.code != want || want == "" && got.status != 200 || want != "" && sent != "" {
				t.Errorf("with %q: answer = %d %s after\n%s\nwant %s", lines, got.status, got.code, sent, want)
			}
			if relayed := strings.Contains(sent, "Request-Id"); relayed != (s.issued != "" && want == "") || strings.Contains(sent, "Wallet") {
				t.Errorf("with %q: upstream received\n%s", lines, sent)
			}
		}
		c.server.Close()
		if audited := len(c.audit()) > 0; audited != (s.payload != "" || s.issued != "") {
			t.Errorf("audited %t: %s", audited, c.audit())
		}
	})
}

// TestPasskeyAnswersItsChallenge lets an assertion pass only with a challenge that
// was issued to that user for that credential.
func TestPasskeyAnswersItsChallenge(t *testing.T) {
	id := "Request-Id: " + requestID
	var now clock
	for _, v := range []struct {
		name, credential string
		lines            []string
		before           func(*client, *upstream) // asks is what comes before, if it is not nil
		ok               bool
	}{
		{"its own", passkey, []string{id}, nil, true},
		{"another user", passkey, []string{id, "X-User: mallory"}, nil, false},
		{"another credential", method, []string{id}, nil, false},
		{"another request id", passkey, []string{strings.Replace(id, "7c4a", "0000", 1)}, nil, false},
		{"in another case", passkey, []string{strings.Replace(id, "7c4a", "7C4A", 1)}, nil, false},
		{"never asked", passkey, []string{id}, func(*client, *upstream) {}, false},
		{"of a revocation", passkey, []string{id}, func(c *client, u *upstream) { c.firstLeg(u, requestID) }, false},
		{"too late", passkey, []string{id}, func(c *client, u *upstream) { c.ask(u); now.advance(15 * time.Minute) }, false},
		{"late", passkey, []string{id}, func(c *client, u *upstream) { c.ask(u); now.advance(15*time.Minute - 1) }, true},
	} {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, respondJSON(200, ofAlice))
			c := newClient(t, u.URL, twoUsers, func(config *bridge.Config) { config.Now = now.time })
			c.answer(method, verifyBody) // its owner is known, too
			if v.before == nil {
				v.before = (*client).ask
			}
			v.before(c, u)
			u.tap.received()
			got := c.answer(v.credential, passkeySample.body, v.lines...)
			if !v.ok {
				if got.status != 401 || got.code != "BRIDGE_CHALLENGE_UNKNOWN" {
					t.Errorf("answer = %d %s, want 401 BRIDGE_CHALLENGE_UNKNOWN", got.status, got.code)
				}
				if sent := u.tap.received(); strings.Contains(sent, "POST") {
					t.Errorf("upstream received\n%s", sent)
				}
			} else if got.status != 200 {
				t.Errorf("answer = %d %s, want 200", got.status, got.body)
			}
		})
	}
	t.Run("signed leg of a revocation", func(t *testing.T) {
		u := newUpstream(t, nil)
		c := newClient(t, u.URL)
		c.send("DELETE", "/auth/sessions/"+missing, "") // a look-up
		c.ask(u)
		got := c.send("DELETE", "/auth/sessions/"+session, "", sign(t, challengeOf(payload, requestID), signer.FormatAuto)...)
		if got.code != "BRIDGE_CHALLENGE_UNKNOWN" {
			t.Errorf("answer = %d %s, want BRIDGE_CHALLENGE_UNKNOWN", got.status, got.code)
		}
	})
}

// TestPasskeyPassesOnce sends an assertion again after each thing that can become
// of it, and then another one for the same challenge.
func TestPasskeyPassesOnce(t *testing.T) {
	for _, v := range []struct {
		name   string
		answer http.HandlerFunc
		status int // of the first
		again  bool
	}{
		{"done", respondJSON(200, ofAlice), 200, false},
		{"refused", respondJSON(401, `{"status":401,"code":"UNAUTHORIZED","message":"m"}`), 401, false},
		{"too often", respondJSON(429, `{"status":429,"code":"RATE_LIMITED","message":"m"}`), 429, false},
		{"busy", respondJSON(503, `{"status":503,"code":"X","message":"m"}`), 503, false},
		{"lost", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 502, false},
		{"processing", respondJSON(200, `{"status":"PROCESSING","message":"m"}`), 200, true},
		{"somebody else's", respondJSON(200, strings.Replace(ofAlice, alice, mallory, 1)), 502, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, v.answer)
			c := newClient(t, u.URL)
			c.ask(u)
			for i := range 3 {
				got := c.sendSample(passkeySample)
				if i > 0 && !v.again {
					assertRefused(t, u, got, 409, "BRIDGE_SIGNATURE_REPLAYED")
					continue
				}
				if got.status != v.status {
					t.Errorf("answer %d = %d %s, want %d", i+1, got.status, got.body, v.status)
				}
				u.tap.received()
			}
			other := passkeySample
			other.body = other.other
			assertRefused(t, u, c.sendSample(other), 409, "BRIDGE_SIGNATURE_REPLAYED")
		})
	}
}

// TestPasskeyProcessing has Grid ask for the identical assertion until it is done,
// through a fault and a lost answer, and puts another one in between.
func TestPasskeyProcessing(t *testing.T) {
	processing := respondJSON(200, `{"status":"PROCESSING"}`)
	busy := respondJSON(503, `{"status":503,"code":"X","message":"m"}`)
	lost := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	script := []http.HandlerFunc{processing, busy, lost, processing, respondJSON(200, ofAlice)}
	var next atomic.Int32
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { script[next.Add(1)-1](w, r) })
	c := newClient(t, u.URL)
	c.ask(u)
	other := passkeySample
	other.body = other.other
	for i, want := range []int{200, 503, 502, 200, 200} {
		if got := c.sendSample(passkeySample); got.status != want {
			t.Errorf("answer %d = %d %s, want %d", i+1, got.status, got.body, want)
		}
		if sent, want := u.tap.received(), u.wire("POST", passkeySample.path(passkey), passkeySample.body, "Request-Id: "+requestID); sent != want {
			t.Errorf("upstream received\n%q\nwant\n%q", sent, want)
		}
		assertRefused(t, u, c.sendSample(other), 409, "BRIDGE_SIGNATURE_REPLAYED")
	}
	assertRefused(t, u, c.sendSample(passkeySample), 409, "BRIDGE_SIGNATURE_REPLAYED")
	c.server.Close()
	who := " account=" + alice + " intent=sign-in payloadSha256= format=passkey"
	var want []string
	for _, answered := range []string{"200 processing=true", "503 processing=false", "502 processing=false", "200 processing=true", "200 processing=false"} {
		want = append(want, "stage=sent"+who, "stage=answered"+who+" status="+answered)
	}
	got := slices.DeleteFunc(c.audit("account", "intent", "payloadSha256", "format", "status", "processing"), func(line string) bool {
		return line == "stage=refused"+who+" status=409"
	})
	holdAudit(t, got, want...)
}

// TestPasskeyPassesOnceAtATime sends assertions for one challenge from many
// clients at once.
func TestPasskeyPassesOnceAtATime(t *testing.T) {
	u := newUpstream(t, respondJSON(200, ofAlice))
	c := newClient(t, u.URL)
	c.ask(u)
	statuses := make(chan int)
	for i := range 16 {
		s := passkeySample
		if i%2 == 1 {
			s.body = s.other
		}
		go func() { statuses <- c.sendSample(s).status }()
	}
	count := map[int]int{}
	for range 16 {
		count[<-statuses]++
	}
	if count[200] != 1 || count[409] != 15 {
		t.Errorf("answers = %v, want one 200 and fifteen 409", count)
	}
}

// TestHostileIssue answers who asks for a challenge with one for another
// credential, for another account, of another type, and with such as cannot be
// answered. Nothing of it is relayed, and nothing remembered.
func TestHostileIssue(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(ofPasskey, from, to, 1) }
	for name, body := range map[string]string{
		"another credential": change(passkey, method), "another's credential": change(passkey, foreignMethod), "no credential": change(passkey, ""),
		"another account": change(alice, aliceToo), "another's account": change(alice, mallory), "no account": change(`"accountId"`, `"account"`),
		"another type": change(`"PASSKEY"`, `"EMAIL_OTP"`), "no type": change(`"type"`, `"kind"`), "of a session": ofAlice, "a list": `{"data":[` + ofPasskey + `]}`,
		"no request id": change(`"requestId"`, `"request"`), "request id of another form": change(requestID, "1"), "request id not a text": change(`"`+requestID+`"`, "1"),
		"no end": change(`"expiresAt"`, `"expires"`), "end of another form": change("2026-08-22T10:05:00Z", "tomorrow"), "sent by e-mail": sentByEmail,
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, respondJSON(200, body))
			c := newClient(t, u.URL)
			if got := c.send("POST", "/auth/credentials/"+passkey+"/challenge", askPasskey); got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID" {
				t.Errorf("%s\nanswer = %d %s, want 502 BRIDGE_UPSTREAM_INVALID", body, got.status, got.body)
			}
			u.tap.received()
			assertRefused(t, u, c.sendSample(passkeySample), 401, "BRIDGE_CHALLENGE_UNKNOWN")
		})
	}
	t.Run("processing", func(t *testing.T) {
		u := newUpstream(t, respondJSON(200, strings.Replace(ofPasskey, "{", `{"status":"PROCESSING",`, 1)))
		c := newClient(t, u.URL)
		if got := c.send("POST", "/auth/credentials/"+passkey+"/challenge", askPasskey); got.status != 200 {
			t.Errorf("answer = %d %s, want 200", got.status, got.body)
		}
		u.tap.received()
		assertRefused(t, u, c.sendSample(passkeySample), 401, "BRIDGE_CHALLENGE_UNKNOWN")
	})
	t.Run("a signature", func(t *testing.T) {
		u := newUpstream(t, respondJSON(202, challengeOf(payload, requestID)))
		if got := newClient(t, u.URL).send("POST", "/auth/credentials/"+passkey+"/challenge", askPasskey); got.code != "BRIDGE_CHALLENGE_REFUSED" {
			t.Errorf("answer = %d %s, want BRIDGE_CHALLENGE_REFUSED", got.status, got.body)
		}
	})
}

// TestExportIsOfTheAccount has Grid, or a cache before it, answer with another
// wallet, or with none.
func TestExportIsOfTheAccount(t *testing.T) {
	s := samples[slices.IndexFunc(samples, func(s sample) bool { return s.op == signer.OpExportWallet })]
	sealed := wallet[strings.Index(wallet, `,"encrypted`):]
	for body, ok := range map[string]bool{
		wallet: true, `{"status":"PROCESSING"}`: true, `{"id":"` + alice + `","accountId":"` + alice + `"` + sealed: true,
		strings.Replace(wallet, alice, mallory, 1): false, strings.Replace(wallet, alice, aliceToo, 1): false, `{"accountId":"` + alice + `"` + sealed: false,
		`{"id":"` + alice + `","accountId":"` + mallory + `"` + sealed: false, `{"id":"` + alice + `"}`: false, ofAlice: false, `{"data":[]}`: false,
		`{"id":"` + alice + `","encryptedWalletCredentials":""}`: false, `{"id":"` + alice + `","encryptedWalletCredentials":{}}`: false,
		`{"id":"` + alice + `","encryptedWalletCredentials":null}`: false, `{"status":"PROCESSING"` + sealed: false, `{"status":"COMPLETED"` + sealed: false,
	} {
		u := newUpstream(t, respondJSON(200, body))
		c := newClient(t, u.URL)
		got := c.sendSample(s, c.begin(u, s)...)
		if ok && (got.status != 200 || got.body != body) || !ok && (got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID") {
			t.Errorf("%s: answer = %d %s, want it relayed: %t", body, got.status, got.body, ok)
		}
	}
}

// TestPasskeyAtReplicas answers a challenge at the replica that did not ask for
// it: with the Redis that they share, without it, and when it has lost its memory.
func TestPasskeyAtReplicas(t *testing.T) {
	shared := redistest.Start(t)
	var now clock
	u := newUpstream(t, respondJSON(200, ofAlice))
	replica := func() *client {
		return newClient(t, u.URL, func(c *bridge.Config) { c.Now = now.time; c.Store = openRedis(t, shared.Addr, c) })
	}
	a, b := replica(), replica()
	verify := func(c *client, status int, code string) {
		t.Helper()
		if got := c.sendSample(passkeySample); got.status != status || got.code != code {
			t.Errorf("answer = %d %s, want %d %s", got.status, got.body, status, code)
		}
	}
	a.ask(u)
	verify(b, 200, "")
	verify(a, 409, "BRIDGE_SIGNATURE_REPLAYED")

	shared.FlushAll(t.Context())
	verify(b, 409, "BRIDGE_SIGNATURE_REPLAYED") // which it keeps itself
	now.advance(2 * time.Hour)
	verify(b, 401, "BRIDGE_CHALLENGE_UNKNOWN")

	shared.Kill()
	b.send("GET", anyGet, "") // by which it learns that Redis is gone
	a.ask(u)
	verify(b, 200, "") // it may be good
	verify(b, 409, "BRIDGE_SIGNATURE_REPLAYED")
	verify(a, 200, "") // and Grid takes it once
	verify(a, 409, "BRIDGE_SIGNATURE_REPLAYED")
}

// TestWhoIsRefused has Grid answer 401: to what proves nothing, that is about the
// bridge's credentials, and to what submits something, about that.
func TestWhoIsRefused(t *testing.T) {
	const wrong = `{"status":401,"code":"UNAUTHORIZED","message":"m","details":{"reason":"Invalid OTP code"}}`
	everySample(t, func(t *testing.T, s sample) {
		if s.op.Route().Method == http.MethodGet || s.op.Route().Status == http.StatusNoContent {
			return // see TestBadUpstream
		}
		u := newUpstream(t, respondJSON(401, wrong))
		c := newClient(t, u.URL)
		c.begin(u, s)
		got := c.sendSample(s)
		if s.op == signer.OpChallengeCredential {
			if got.status != 502 || got.code != "BRIDGE_UPSTREAM_CREDENTIALS" {
				t.Errorf("answer = %d %s, want 502 BRIDGE_UPSTREAM_CREDENTIALS", got.status, got.body)
			}
		} else if got.status != 401 || got.body != wrong {
			t.Errorf("answer = %d %s, want 401 %s", got.status, got.body, wrong)
		}
	})
}
