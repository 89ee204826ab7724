package bridge_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/signer"
)

// still is a clock that stands still: what is spent does not come back.
func still(change func(*bridge.Limits)) func(*bridge.Config) {
	return func(c *bridge.Config) { change(&c.Limits); c.Now = new(clock).time }
}

// from sends a request of nobody's from address, and returns the status of the answer.
func (c *client) from(address, path string) int {
	r := httptest.NewRequest("GET", "/api/grid"+path, nil)
	r.RemoteAddr = address
	w := httptest.NewRecorder()
	c.server.Config.Handler.ServeHTTP(w, r)
	return w.Code
}

// TestFloodMeetsTheLimitFirst has one address send what the bridge refuses for other
// reasons: that, too, is answered and logged no more often than the limit says.
func TestFloodMeetsTheLimitFirst(t *testing.T) {
	c := newClient(t, newUpstream(t, nil).URL, still(func(l *bridge.Limits) { l.Address = few }))
	passed := 0
	for i := range 1000 {
		if c.from("192.0.2.1:1", []string{"/nowhere", anyGet, "/auth/sessions/x"}[i%3]) != 429 {
			passed++
		}
	}
	if passed != 3 {
		t.Errorf("%d of 1000 requests were answered for another reason, want 3", passed)
	}
	if lines := strings.Count(c.log.String(), "\n"); lines > 3+50 {
		t.Errorf("%d log lines, want no more than 53", lines)
	}
	if c.from("192.0.2.2:1", anyGet) != 401 {
		t.Error("another address is limited, too")
	}
}

// TestNetworkOfIPv6 has a flood use many /64 of one /48.
func TestNetworkOfIPv6(t *testing.T) {
	c := newClient(t, newUpstream(t, nil).URL, still(func(l *bridge.Limits) { l.Network = few }))
	passed := 0
	for i := range 10 {
		if c.from(fmt.Sprintf("[2001:db8:1:%x::1]:1", i), anyGet) != 429 {
			passed++
		}
	}
	if passed != 3 || c.from("[2001:db8:2::1]:1", anyGet) != 401 {
		t.Errorf("%d requests of one /48 passed, want 3, and those of another", passed)
	}
	for i := range 10 {
		if c.from(fmt.Sprintf("192.0.2.%d:1", i), anyGet) == 429 {
			t.Error("IPv4 has a network")
		}
	}
}

// TestOtherSitesSpendNothing has a page of another site send requests from a user's own
// browser, with the user's cookie.
func TestOtherSitesSpendNothing(t *testing.T) {
	for _, method := range []string{"GET", "DELETE"} {
		c := newClient(t, newUpstream(t, nil).URL, still(func(l *bridge.Limits) { l.Address, l.Network, l.User = few, few, few }), func(c *bridge.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		})
		for range 9 {
			path := anyGet
			if method == "DELETE" {
				path = "/auth/sessions/" + session
			}
			if got := c.send(method, path, "", "Sec-Fetch-Site: cross-site", "X-Forwarded-For: 2001:db8::1"); got.status != 403 && got.status != 429 {
				t.Errorf("%s of another site = %d", method, got.status)
			}
		}
		if got := c.passes(3, "GET", anyGet, "", "X-Forwarded-For: 2001:db8::1"); got != 3 {
			t.Errorf("after the %ss of another site %d requests of the user passed, want 3", method, got)
		}
	}
}

// TestPendingChallenges has a user ask for challenges and answer none.
func TestPendingChallenges(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, twoUsers, still(func(l *bridge.Limits) { l.Pending = few }))
	signed := c.firstLeg(u, requestID)
	challenge := challengeOf(payload, strings.Replace(requestID, "7c4a", "0000", 1))
	u.challenge.Store(&challenge)
	if got := c.passes(5, "DELETE", "/auth/sessions/"+session, ""); got != 2 {
		t.Errorf("%d more challenges, want 2", got)
	}
	u.challenge.Store(nil)
	if got := c.send("DELETE", "/auth/sessions/"+foreign, "", "X-User: mallory"); got.status == 429 {
		t.Error("another user is limited, too")
	}
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("the answer to the first challenge = %d %s, want 204: it costs no challenge", got.status, got.code)
	}
}

// TestLookUpsAreShared sends forty requests for one thing at once: its owner is looked up
// once. An account that is named many times is one account.
func TestLookUpsAreShared(t *testing.T) {
	const n = 40
	var arrived sync.WaitGroup
	var lists atomic.Int32
	u := newUpstream(t, nil)
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		lists.Add(1)
		arrived.Wait()
		respondJSON(200, `{"data":[{"id":"`+session+`","accountId":"`+alice+`"}]}`)(w, r)
	})
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(*http.Request) (bridge.User, error) {
			arrived.Done()
			return bridge.User{ID: "user-alice", Accounts: slices.Repeat([]string{alice}, 16)}, nil
		}
	})
	arrived.Add(n)
	var all sync.WaitGroup
	for range n {
		all.Go(func() {
			if got := c.send("DELETE", "/auth/sessions/"+missing, ""); got.status != 404 {
				t.Errorf("answer = %d %s, want 404", got.status, got.code)
			}
		})
	}
	all.Wait()
	// Those that come when the first is answered share one of their own.
	if got := lists.Load(); got > n/4 {
		t.Errorf("%d look-ups, want about 1", got)
	}
}

// TestLookUpsAreCharged has a user name what is not theirs: each look-up costs as much as
// a request.
func TestLookUpsAreCharged(t *testing.T) {
	c := newClient(t, newUpstream(t, nil).URL, still(func(l *bridge.Limits) { l.User = bridge.Limit{Rate: 1, Per: time.Minute, Burst: 7} }))
	if got := c.passes(5, "DELETE", "/auth/sessions/"+missing, ""); got != 2 { // of two accounts: three calls each
		t.Errorf("%d requests passed, want 2", got)
	}
}

// TestCeilingOfGrid lets all users together make three calls.
func TestCeilingOfGrid(t *testing.T) {
	u := newUpstream(t, respondJSON(200, ofAlice))
	c := newClient(t, u.URL, still(func(l *bridge.Limits) { l.Grid = few }))
	for i := range 5 {
		got := c.send("GET", anyGet, "")
		if want := map[bool]int{true: 200, false: 503}[i < 3]; got.status != want || want == 503 && (got.code != "BRIDGE_OVERLOADED" || got.header.Get("Retry-After") == "") {
			t.Errorf("request %d = %d %s, want %d", i, got.status, got.code, want)
		}
	}
	if calls := strings.Count(u.tap.received(), "GET "); calls != 3 {
		t.Errorf("%d calls reached Grid, want 3", calls)
	}
}

// TestUnreadBodiesHoldNothingUp announces a body with what is refused before it is read,
// and never sends it.
func TestUnreadBodiesHoldNothingUp(t *testing.T) {
	u := newUpstream(t, nil)
	c := newClient(t, u.URL)
	for name, head := range map[string]string{
		"no route":    "POST /api/grid/nowhere HTTP/1.1\r\nX-Gridsigner: 1\r\n",
		"nobody":      "POST /api/grid/auth/credentials HTTP/1.1\r\nX-Gridsigner: 1\r\n",
		"no header":   "POST /api/grid/auth/credentials HTTP/1.1\r\nAuthorization: Bearer alice\r\n",
		"other site":  "POST /api/grid/auth/credentials HTTP/1.1\r\nX-Gridsigner: 1\r\nSec-Fetch-Site: cross-site\r\n",
		"no such id":  "POST /api/grid/auth/credentials/x/verify HTTP/1.1\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1\r\n",
		"other media": "POST /api/grid/auth/credentials HTTP/1.1\r\nAuthorization: Bearer alice\r\nX-Gridsigner: 1\r\nContent-Type: text/plain\r\n",
	} {
		for _, length := range []string{"Content-Length: 100", "Transfer-Encoding: chunked", "Content-Length: 100\r\nExpect: 100-continue"} {
			if got := c.raw(head + "Host: app.example\r\n" + length + "\r\n\r\n"); got.status < 400 || got.status >= 500 {
				t.Errorf("%s, %s: answer = %d, want a 4xx", name, length, got.status)
			} else if !got.closed {
				t.Errorf("%s, %s: the connection stays open", name, length)
			}
		}
	}
}

func TestTrustedProxiesAreNotEverybody(t *testing.T) {
	for text, ok := range map[string]bool{
		"0.0.0.0/0": false, "::/0": false, "128.0.0.0/1": false, "10.0.0.0/7": false, "2000::/3": false,
		"10.0.0.0/8": true, "fc00::/7": true, "192.0.2.1/32": true, "::1/128": true,
		"::ffff:0.0.0.0/96": false, "::ffff:10.0.0.0/103": false, "::ffff:10.0.0.0/104": true,
	} {
		_, err := bridge.New(bridge.Config{
			ClientID: clientID, ClientSecret: bridge.NewSecret(canary), Authenticate: func(*http.Request) (bridge.User, error) { return bridge.User{}, nil },
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix(text)},
		})
		if (err == nil) != ok {
			t.Errorf("%s: error = %v, want ok %t", text, err, ok)
		}
	}
}

// TestSharedLookUpsAreNotOlder has a request join a look-up that began before its session
// was made: not to be on that list does not say that it is over.
func TestSharedLookUpsAreNotOlder(t *testing.T) {
	asked, proceed := make(chan struct{}), make(chan struct{})
	var lists atomic.Int32
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	answer := u.Config.Handler
	u.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "GET" && lists.Add(1) == 1 {
			close(asked)
			<-proceed
			respondJSON(200, `{"data":[]}`)(w, r)
			return
		}
		answer.ServeHTTP(w, r)
	})
	late := make(chan struct{}, 2)
	c := newClient(t, u.URL, func(config *bridge.Config) {
		config.Authenticate = func(*http.Request) (bridge.User, error) {
			late <- struct{}{}
			return bridge.User{ID: "user-alice", Accounts: []string{alice}}, nil
		}
	})
	var all sync.WaitGroup
	all.Go(func() { c.send("DELETE", "/auth/sessions/"+missing, "") })
	<-asked
	<-late
	all.Go(func() {
		if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 204 {
			t.Errorf("answer = %d %s, want 204", got.status, got.code)
		}
	})
	<-late
	for range 1000 {
		runtime.Gosched() // so that it has most likely joined
	}
	close(proceed)
	all.Wait()
}

// TestPreflightsHoldNothingUp announces a body with what is answered without reading it.
func TestPreflightsHoldNothingUp(t *testing.T) {
	c := newClient(t, newUpstream(t, nil).URL, func(c *bridge.Config) { c.AllowOrigins = []string{"https://friend.example"} })
	got := c.raw("OPTIONS /api/grid/auth/sessions/" + session + " HTTP/1.1\r\nHost: app.example\r\nOrigin: https://friend.example\r\n" +
		"Access-Control-Request-Method: DELETE\r\nContent-Length: 10\r\n\r\n")
	if got.status != 204 || !got.closed {
		t.Errorf("answer = %d, closed %t, want 204 at once and the connection closed", got.status, got.closed)
	}
}

// TestPagesCanReadThatTheyAreLimited has an allowed origin meet the limit of its address.
func TestPagesCanReadThatTheyAreLimited(t *testing.T) {
	c := newClient(t, newUpstream(t, nil).URL, still(func(l *bridge.Limits) { l.Address = few }), func(c *bridge.Config) { c.AllowOrigins = []string{"https://friend.example"} })
	var got reply
	for range 4 {
		got = c.send("GET", anyGet, "", "Origin: https://friend.example")
	}
	if got.status != 429 || got.header.Get("Access-Control-Allow-Origin") != "https://friend.example" {
		t.Errorf("answer = %d with Access-Control-Allow-Origin %q, want 429 that the page can read", got.status, got.header.Get("Access-Control-Allow-Origin"))
	}
}

// TestLimitOfAnotherUser has two users of one account look up one thing at once, the first
// of whom has no tokens left.
func TestLimitOfAnotherUser(t *testing.T) {
	store := &slowStore{Store: bridge.NewLocalStore(new(clock).time), refusing: make(chan struct{}), proceed: make(chan struct{})}
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, twoUsers, still(func(l *bridge.Limits) { l.User = bridge.Limit{Rate: 1, Per: time.Hour, Burst: 2} }), func(c *bridge.Config) { c.Store = store })
	c.send("GET", anyGet, "") // leaves Alice one token: for the request, and none for the look-up
	var all sync.WaitGroup
	all.Go(func() {
		if got := c.send("DELETE", "/auth/sessions/"+session, ""); got.status != 429 {
			t.Errorf("Alice's answer = %d, want 429", got.status)
		}
	})
	<-store.refusing
	all.Go(func() {
		if got := c.send("DELETE", "/auth/sessions/"+session, "", "X-User: mallory"); got.status != 204 {
			t.Errorf("the answer of somebody who has tokens = %d %s, want 204", got.status, got.code)
		}
	})
	for range 1000 {
		runtime.Gosched() // so that they have most likely joined
	}
	close(store.proceed)
	all.Wait()
}

// slowStore waits, when it first refuses a token, until it is told to proceed.
type slowStore struct {
	bridge.Store
	once              sync.Once
	refusing, proceed chan struct{}
}

func (s *slowStore) Consult(ctx context.Context, takes []bridge.Take, keys []bridge.Key) bridge.Consulted {
	got := s.Store.Consult(ctx, takes, keys)
	if got.Refused >= 0 {
		s.once.Do(func() { close(s.refusing); <-s.proceed })
	}
	return got
}

// TestClockIsPutBack empties a bucket, and puts the clock back by a day: it is full again
// after no more than its own time.
func TestClockIsPutBack(t *testing.T) {
	var now clock
	c := newClient(t, newUpstream(t, nil).URL, func(c *bridge.Config) { c.Limits.Address, c.Now = few, now.time })
	for range 4 {
		c.from("192.0.2.1:1", anyGet)
	}
	now.advance(-24 * time.Hour)
	c.from("192.0.2.1:1", anyGet)
	now.advance(time.Minute)
	if c.from("192.0.2.1:1", anyGet) == 429 {
		t.Error("the address has no token a minute later")
	}
}

// TestRefusedLegsCostGridNothing replays a signed leg more often than Grid's ceiling allows
// calls: each is refused for what it is, and the ceiling is not touched.
func TestRefusedLegsCostGridNothing(t *testing.T) {
	u := newUpstream(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	c := newClient(t, u.URL, still(func(l *bridge.Limits) { l.Grid = bridge.Limit{Rate: 1, Per: time.Hour, Burst: 3} }))
	signed := c.firstLeg(u, requestID) // with its look-up, two calls
	wrong := sign(t, challengeOf(otherPayload, requestID), signer.FormatStamp)
	for range 5 {
		if got := c.send("DELETE", "/auth/sessions/"+session, "", wrong...); got.code != "BRIDGE_SIGNATURE_INVALID" {
			t.Errorf("answer = %d %s, want BRIDGE_SIGNATURE_INVALID", got.status, got.code)
		}
	}
	if got := c.send("DELETE", "/auth/sessions/"+session, "", signed...); got.status != 204 {
		t.Errorf("answer = %d %s, want 204: there is a call left", got.status, got.code)
	}
}

// TestUnauthorizedLegsAreCharged has Grid refuse signatures, after each of which a list
// tells whether it was the bridge's credentials.
func TestUnauthorizedLegsAreCharged(t *testing.T) {
	u := newUpstream(t, respondJSON(401, `{"status":401,"code":"UNAUTHORIZED"}`))
	c := newClient(t, u.URL, still(func(l *bridge.Limits) { l.User = bridge.Limit{Rate: 1, Per: time.Hour, Burst: 6} }))
	for range 9 {
		c.send("POST", "/auth/credentials/"+method+"/verify", verifyBody)
	}
	if calls := strings.Count(u.tap.received(), " HTTP/1.1"); calls > 6 {
		t.Errorf("%d calls reached Grid for six tokens", calls)
	}
}
