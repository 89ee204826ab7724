package bridge_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
)

func TestOwnership(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL)
	trace := func() (lines []string) {
		for text := range strings.SplitSeq(u.tap.received(), "\r\n") {
			if request, ok := strings.CutSuffix(text, " HTTP/1.1"); ok {
				lines = append(lines, strings.ReplaceAll(request, version+"/auth/", ""))
			}
		}
		return lines
	}
	lookups := []string{"GET sessions?accountId=" + alice, "GET sessions?accountId=" + aliceToo}

	var refusals [2]reply
	for i, id := range []string{foreign, missing} {
		for range 2 { // the second time tells whether a negative answer was kept
			refusals[i] = c.send("DELETE", "/auth/sessions/"+id, "")
			if got := trace(); !slices.Equal(got, lookups) {
				t.Errorf("upstream received %q, want %q", got, lookups)
			}
		}
	}
	for i := range refusals {
		refusals[i].body = strings.ReplaceAll(refusals[i].body, refusals[i].header.Get("X-Correlation-Id"), "")
	}
	if refusals[0].status != 404 || refusals[0].code != "BRIDGE_NOT_FOUND" || refusals[0].body != refusals[1].body {
		t.Errorf("another user's session = %+v\nno session = %+v\nwant the same 404", refusals[0], refusals[1])
	}

	// Whatever was on a list was seen on its account.
	if got := c.send("DELETE", "/auth/sessions/"+secondary, ""); got.status != 204 {
		t.Errorf("own session: answer = %d, want 204", got.status)
	}
	if got, want := trace(), []string{"DELETE sessions/" + secondary}; !slices.Equal(got, want) {
		t.Errorf("upstream received %q, want %q", got, want)
	}
}

// TestOwnershipIsPerUser checks that what was learnt for one user is of no use
// to another.
func TestOwnershipIsPerUser(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(r *http.Request) (bridge.User, error) {
			if r.Header.Get("X-User") == "mallory" {
				return bridge.User{ID: "user-mallory", Accounts: []string{mallory}}, nil
			}
			return bridge.User{ID: "user-alice", Accounts: []string{alice}}, nil
		}
	})
	if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 204 {
		t.Errorf("alice: answer = %d %s, want 204", got.status, got.body)
	}
	if got := c.send("DELETE", "/auth/sessions/"+session, "", "X-User: mallory"); got.status != 404 || got.code != "BRIDGE_NOT_FOUND" {
		t.Errorf("mallory: answer = %d %s, want 404 BRIDGE_NOT_FOUND", got.status, got.code)
	}
}

func TestOwnershipInBody(t *testing.T) {
	tests := []struct {
		name, nickname string
		ok             bool
	}{
		{"own account", alice, true},
		{"own second account", aliceToo, true},
		{"text about an account", "see " + mallory, true},
		{"another user's account", mallory, false},
		{"by escape", `\u0049` + mallory[1:], false},
		{"own session", session, false}, // of an account, but nobody has looked which
		{"own credential", method, false},
	}
	u := newUpstream(t, respondJSON(200, ofAlice))
	c := newClient(t, u.URL)
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			c.t = t
			got := c.send("POST", "/auth/credentials", passkeyBody(v.nickname))
			if v.ok && got.status != 200 || !v.ok && (got.status != 404 || got.code != "BRIDGE_NOT_FOUND") {
				t.Errorf("answer = %d %s, want ok %t", got.status, got.code, v.ok)
			}
			if sent := u.tap.received(); strings.Contains(sent, "POST") != v.ok {
				t.Errorf("upstream received\n%s", sent)
			}
		})
	}
}

// TestNoAccounts has the operator mistype the claim that names the accounts. A
// 404 would tell every user who signs out that their session is over.
func TestNoAccounts(t *testing.T) {
	u := newUpstream(t, nil)
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{ID: "u"}, nil }
	})
	everySample(t, func(t *testing.T, s sample) {
		c.t = t
		assertRefused(t, u, c.raw(s.text("X-Gridsigner: 1")), 403, "BRIDGE_NO_ACCOUNTS")
	})
}

func TestOwnershipLookupFails(t *testing.T) {
	tests := []struct {
		name, body string
		upstream   int
		status     int
		code       string
	}{
		{"wrong credentials", `{"status":401,"code":"UNAUTHORIZED"}`, 401, 502, "BRIDGE_UPSTREAM_CREDENTIALS"},
		{"rate limit", `{"status":429,"code":"RATE_LIMITED"}`, 429, 429, "RATE_LIMITED"},
		{"fault", `{"status":503,"code":"INTERNAL_ERROR"}`, 503, 503, "INTERNAL_ERROR"},
		{"other refusal", `{"status":403,"code":"FORBIDDEN"}`, 403, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"other success", `{"data":[]}`, 202, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"no list", `{"data":{}}`, 200, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"filter ignored", `{"data":[{"id":"` + session + `","accountId":"` + mallory + `"}]}`, 200, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"no account", `{"data":[{"id":"` + foreign + `"}]}`, 200, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"id spelled otherwise", `{"data":[{"id":"` + strings.ToUpper(session) + `","accountId":"` + alice + `"}]}`, 200, 502, "BRIDGE_UPSTREAM_INVALID"},
		{"id without its type", `{"data":[{"id":"` + session[8:] + `","accountId":"` + alice + `"}]}`, 200, 502, "BRIDGE_UPSTREAM_INVALID"},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			u := newUpstream(t, nil)
			u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Retry-After", "3")
				w.WriteHeader(v.upstream)
				io.WriteString(w, v.body)
			})
			got := newClient(t, u.URL).send("DELETE", "/auth/sessions/"+session, "",
				"Grid-Wallet-Signature: "+signature, "Request-Id: "+requestID)
			if got.status != v.status || got.code != v.code {
				t.Errorf("answer = %d %s, want %d %s", got.status, got.code, v.status, v.code)
			}
			if relayed := !strings.HasPrefix(v.code, "BRIDGE_"); relayed != (got.header.Get("Retry-After") == "3") {
				t.Errorf("Retry-After = %q", got.header.Get("Retry-After"))
			}
			if sent := u.tap.received(); strings.Contains(sent, "DELETE") {
				t.Errorf("upstream received\n%s", sent)
			}
		})
	}
}

// TestListsAreOfTheAccount asks for a list of a Grid that ignores its filter.
func TestListsAreOfTheAccount(t *testing.T) {
	own, other := `{"id":"`+session+`","accountId":"`+alice+`"}`, `{"id":"`+foreign+`","accountId":"`+mallory+`"}`
	for body, ok := range map[string]bool{
		`{"data":[]}`: true, `{"data":[` + own + `],"more":1}`: true, `{"data":[` + own + `,` + other + `]}`: false, `{"data":[{"id":"` + foreign + `"}]}`: false,
		`{"rows":[` + other + `]}`: false, `[` + other + `]`: false, `{"data":{}}`: false,
	} {
		u := newUpstream(t, nil)
		u.Config.Handler = respondJSON(200, body)
		got := newClient(t, u.URL).send("GET", anyGet, "")
		if ok && (got.status != 200 || got.body != body) || !ok && (got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID") {
			t.Errorf("%s: answer = %d %s, want it relayed: %t", body, got.status, got.body, ok)
		}
	}
}

// TestCredentialsRefusedLater has Grid refuse the bridge's credentials once the
// owners of all ids are known, so that nothing is looked up before the user's
// own request: that must not look like the user's fault.
func TestCredentialsRefusedLater(t *testing.T) {
	refused := respondJSON(401, `{"status":401,"code":"UNAUTHORIZED","message":"m"}`)
	for name, later := range map[string]struct {
		listing http.HandlerFunc // of the lists, later
		status  int
		code    string
	}{
		"the bridge's": {refused, 502, "BRIDGE_UPSTREAM_CREDENTIALS"},
		"the user's":   {nil, 401, "UNAUTHORIZED"},
		"nobody knows": {respondJSON(503, `{"status":503,"code":"X"}`), 503, "X"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream(t, refused)
			c := newClient(t, u.URL)
			signed := c.firstLeg(u, requestID)
			c.send("POST", "/auth/credentials/"+method+"/verify", verifyBody)
			if handler := u.Config.Handler; later.listing != nil {
				u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method == "GET" {
						later.listing(w, r)
						return
					}
					handler.ServeHTTP(w, r)
				})
			}
			for _, got := range []reply{
				c.send("POST", "/auth/credentials/"+method+"/verify", verifyBody), c.send("DELETE", "/auth/sessions/"+session, "", signed...),
			} {
				if got.status != later.status || got.code != later.code {
					t.Errorf("answer = %d %s, want %d %s", got.status, got.code, later.status, later.code)
				}
			}
			if sent := u.tap.received(); strings.Count(sent, "DELETE ") != 1 {
				t.Errorf("upstream received\n%s\nwant one DELETE", sent)
			}
		})
	}
}

// TestAccountThatIsNotSeen has the API credentials changed to ones of another environment, to
// whom Grid lists nothing: a session is not over because it is not on an empty list.
func TestAccountThatIsNotSeen(t *testing.T) {
	seen := false
	u := newUpstream(t, nil)
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if seen && strings.Contains(r.URL.Path, "credentials") {
			respondJSON(200, `{"data":[{"id":"`+method+`","accountId":"`+r.URL.Query().Get("accountId")+`","type":"OAUTH"}]}`)(w, r)
			return
		}
		respondJSON(200, `{"data":[]}`)(w, r)
	})
	c := newClient(t, u.URL)
	for _, id := range []string{"sessions/" + session, "credentials/" + email} {
		if got := c.send("DELETE", "/auth/"+id, ""); got.status != 502 || got.code != "BRIDGE_UPSTREAM_INVALID" {
			t.Errorf("%s: answer = %d %s, want 502 BRIDGE_UPSTREAM_INVALID", id, got.status, got.code)
		}
	}
	if got := c.reasons(); strings.Join(got, " ") != "no-credential no-credential" {
		t.Errorf("reasons = %q, want no-credential", got)
	}
	seen = true
	for _, id := range []string{"sessions/" + session, "credentials/" + email} {
		if got := c.send("DELETE", "/auth/"+id, ""); got.status != 404 || got.code != "BRIDGE_NOT_FOUND" {
			t.Errorf("%s: answer = %d %s, want 404: it is not on a list that is seen", id, got.status, got.code)
		}
	}
}

// TestIDsOfEitherCase writes the digits of ids the other way: each is the same thing.
func TestIDsOfEitherCase(t *testing.T) {
	upper := func(id string) string {
		kind, uuid, _ := strings.Cut(id, ":")
		return kind + ":" + strings.ToUpper(uuid)
	}
	u := newUpstream(t, nil)
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "DELETE" {
			w.WriteHeader(204)
			return
		}
		respondJSON(200, `{"data":[{"id":"Session:019542f5-b3e7-1d02-0000-0000000000ab","accountId":"`+alice+`"}]}`)(w, r)
	})
	for _, own := range []string{alice, upper(alice)} {
		c := newClient(t, u.URL, func(config *bridge.Config) {
			config.Authenticate = func(*http.Request) (bridge.User, error) { return bridge.User{ID: "u", Accounts: []string{own}}, nil }
		})
		for _, path := range []string{"/auth/sessions/Session:019542f5-b3e7-1d02-0000-0000000000AB", "/auth/sessions/Session:019542f5-b3e7-1d02-0000-0000000000ab"} {
			if got := c.send("DELETE", path, ""); got.status != 204 {
				t.Errorf("account %s, DELETE %s = %d %s, want 204", own, path, got.status, got.code)
			}
		}
		for _, account := range []string{alice, upper(alice)} {
			if got := c.send("GET", "/auth/sessions?accountId="+account, ""); got.status != 200 {
				t.Errorf("account %s, GET of %s = %d %s, want 200", own, account, got.status, got.code)
			}
		}
	}
}

// TestCredentialsChangeUnderALeg has the credentials be replaced while Grid refuses the old
// ones: what it refused is not what the user showed.
func TestCredentialsChangeUnderALeg(t *testing.T) {
	var now clock
	var old atomic.Bool // no longer good
	basic := func(secret string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(clientID+":"+secret))
	}
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	good := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if old.Load() && r.Header.Get("Authorization") != basic("new-secret") {
			respondJSON(401, `{"status":401,"code":"UNAUTHORIZED"}`)(w, r)
			return
		}
		good.ServeHTTP(w, r)
	})
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Now = now.time
		config.Credentials = func() (string, bridge.Secret, error) {
			if old.Load() {
				return clientID, bridge.NewSecret("new-secret"), nil
			}
			return clientID, bridge.NewSecret("old-secret"), nil
		}
	})
	signed := c.firstLeg(u, requestID)
	now.advance(2 * time.Second) // they may be read again
	old.Store(true)
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 502 || got.code != "BRIDGE_UPSTREAM_CREDENTIALS" {
		t.Errorf("answer = %d %s, want 502 BRIDGE_UPSTREAM_CREDENTIALS", got.status, got.code)
	}
}

// TestAnEmptyAccountHidesNoOther has Grid list nothing of one of the user's accounts, and the
// session of another.
func TestAnEmptyAccountHidesNoOther(t *testing.T) {
	const empty = "InternalAccount:00000000-0000-0000-0000-000000000000" // which is looked at first
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(*http.Request) (bridge.User, error) {
			return bridge.User{ID: "u", Accounts: []string{alice, empty}}, nil
		}
	})
	if got := c.send("DELETE", "/auth/sessions/"+missing, ""); got.status != 502 {
		t.Errorf("answer = %d, want 502: it may be of the account that is not seen", got.status)
	}
	if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 204 {
		t.Errorf("answer = %d, want 204", got.status)
	}
}
