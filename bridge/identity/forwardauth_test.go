package identity_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/identity"
)

func TestForwardAuth(t *testing.T) {
	both := alice + ", " + aliceToo
	answer := func(status int, body string, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Add(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	many := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("InternalAccount:019542f5-b3e7-1d02-0000-%012d", i))
		}
		return strings.Join(list, ",")
	}
	tests := []struct {
		name        string
		app         http.HandlerFunc
		user        bridge.User
		reason      bridge.Reason
		unavailable bool
	}{
		{"headers", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", both), bridge.User{ID: "u", Accounts: []string{alice, aliceToo}}, "", false},
		{"204", answer(204, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", alice), bridge.User{ID: "u", Accounts: []string{alice}}, "", false},
		{"no accounts", answer(200, "", "X-Gridsigner-User", "u"), bridge.User{ID: "u"}, "", false},
		{"accounts repeated", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", alice+","+both+","+alice), bridge.User{ID: "u", Accounts: []string{alice, aliceToo}}, "", false},
		{"JSON", answer(200, `{"user":"u","accounts":["`+alice+`"]}`, "Content-Type", "application/json"), bridge.User{ID: "u", Accounts: []string{alice}}, "", false},
		{"JSON, accounts repeated", answer(200, `{"user":"u","accounts":["`+alice+`","`+alice+`"]}`, "Content-Type", "application/json"), bridge.User{ID: "u", Accounts: []string{alice}}, "", false},
		{"JSON, another user in capitals", answer(200, `{"user":"u","USER":"v"}`, "Content-Type", "application/json"), bridge.User{ID: "u"}, "", false},
		{"401", answer(401, "", "X-Gridsigner-User", "u"), bridge.User{}, bridge.ReasonAppRefused, false},
		{"403", answer(403, ""), bridge.User{}, bridge.ReasonAppRefused, false},
		{"login page", answer(302, "", "Location", "/login?"+canaryPart, "X-Gridsigner-User", "u"), bridge.User{}, bridge.ReasonAppRefused, false},
		{"17 accounts", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", many(17)), bridge.User{}, bridge.ReasonTooManyAccounts, true},
		{"long id", answer(200, "", "X-Gridsigner-User", strings.Repeat("u", 256)), bridge.User{}, bridge.ReasonUserID, true},
		{"account that is none", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", "alice"), bridge.User{}, bridge.ReasonClaimForm, true},
		{"moved", answer(301, "", "Location", "/whoami/"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"moved for good", answer(308, "", "Location", "https://app.example/"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"500", answer(500, canary, "X-Gridsigner-User", "u"), bridge.User{}, bridge.ReasonAppStatus, true},
		{"404", answer(404, ""), bridge.User{}, bridge.ReasonAppStatus, true},
		{"nobody named", answer(200, ""), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"HTML", answer(200, `{"user":"u"}`, "Content-Type", "text/html"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"not JSON", answer(200, canary, "Content-Type", "application/json"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"JSON, user twice", answer(200, `{"user":"u","user":"v"}`, "Content-Type", "application/json"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"two users", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-User", "v"), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"accounts twice", answer(200, "", "X-Gridsigner-User", "u", "X-Gridsigner-Accounts", alice, "X-Gridsigner-Accounts", mallory), bridge.User{}, bridge.ReasonAppAnswer, true},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"user":"u"}`)
			for range 1000 {
				io.WriteString(w, strings.Repeat(" ", 1<<10))
			}
		}, bridge.User{}, bridge.ReasonAppAnswer, true},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, bridge.User{}, bridge.ReasonHungUp, true},
		{"hangs up within the answer", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, canary)
		}, bridge.User{}, bridge.ReasonHungUp, true},
		{"garbage", func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(err)
			}
			io.WriteString(conn, "HTTP/1.1 "+canary+"\r\n\r\n")
			conn.Close()
		}, bridge.User{}, bridge.ReasonUnknown, true},
	}
	for _, v := range tests {
		t.Run(v.name, func(t *testing.T) {
			app := httptest.NewServer(v.app)
			defer app.Close()
			authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: app.URL + "/?" + canaryPart})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Cookie", "sid="+canaryPart)
			user, err := authenticate(r)
			assertReason(t, err, v.reason)
			if user.ID != v.user.ID || !slices.Equal(user.Accounts, v.user.Accounts) || errors.Is(err, bridge.ErrAuthUnavailable) != v.unavailable {
				t.Errorf("user = %+v, %v; want %+v, unavailable %t", user, err, v.user, v.unavailable)
			}
			want := string(v.reason)
			if v.unavailable {
				want = bridge.ErrAuthUnavailable.Error() + ": " + want
			}
			if err != nil && err.Error() != want {
				t.Errorf("error = %v, want nothing but %q", err, want)
			}
		})
	}
}

func TestForwardAuthAsks(t *testing.T) {
	var now clock
	var asked atomic.Int32
	told := http.Header{}
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		told = r.Header
		for name := range r.Header {
			if !slices.Contains([]string{
				"Cookie", "Authorization", "Accept", "User-Agent", "X-Forwarded-Method", "X-Forwarded-Uri", "X-Forwarded-Host", "X-Forwarded-For",
			}, name) {
				t.Errorf("the app received %s", name)
			}
		}
		if r.Header.Get("Cookie") == "sid=1" || r.Header.Get("Authorization") == "sid=1" {
			w.Header().Set("X-Gridsigner-User", "u-"+r.Header.Get("Cookie"))
			return
		}
		w.WriteHeader(401)
	}))
	defer app.Close()
	authenticate, err := identity.NewForwardAuthFrom(identity.ForwardAuth{URL: app.URL, Now: now.time}, addressOf)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name    string
		headers map[string]string
		ok      bool
		asked   int32
		address string
	}{
		{"nothing to show", map[string]string{"X-Gridsigner-User": "u"}, false, 0, ""},
		{"cookie", map[string]string{"Cookie": "sid=1", "X-Gridsigner-User": "admin", "Referer": "x"}, true, 1, ""},
		{"cookie again", map[string]string{"Cookie": "sid=1"}, true, 0, ""},
		{"the same as Authorization", map[string]string{"Authorization": "sid=1"}, true, 1, ""},
		{"both", map[string]string{"Cookie": "sid=1", "Authorization": "sid=1"}, true, 1, ""},
		{"wrong cookie", map[string]string{"Cookie": "sid=2"}, false, 1, ""},
		{"wrong cookie again", map[string]string{"Cookie": "sid=2"}, false, 1, ""},
		{"later", map[string]string{"Cookie": "sid=1"}, true, 1, "192.0.2.7"},
	} {
		if v.name == "later" {
			now.advance(5 * time.Second)
		}
		r := httptest.NewRequest("DELETE", "https://app.example/api/grid/a%2Fb?c=d", nil)
		r.Header.Set("X-Forwarded-For", "1.1.1.1")
		r.Header.Set("X-Forwarded-Uri", "/elsewhere")
		for name, value := range v.headers {
			r.Header.Set(name, value)
		}
		if v.address != "" {
			r = from(r, v.address)
		}
		before := asked.Load()
		user, err := authenticate(r)
		if (err == nil) != v.ok || asked.Load()-before != v.asked || v.ok && user.ID == "admin" {
			t.Errorf("%s: user = %+v, %v, asked %d times; want ok %t, asked %d times", v.name, user, err, asked.Load()-before, v.ok, v.asked)
		}
		if v.asked == 0 {
			continue
		}
		want := http.Header{"X-Forwarded-Method": {"DELETE"}, "X-Forwarded-Uri": {"/api/grid/a%2Fb?c=d"}, "X-Forwarded-Host": {"app.example"}, "X-Forwarded-For": nil}
		if v.address != "" {
			want["X-Forwarded-For"] = []string{v.address}
		}
		for name, value := range want {
			if !slices.Equal(told[name], value) {
				t.Errorf("%s: the app received %s %q, want %q", v.name, name, told[name], value)
			}
		}
	}
}

type addressKey struct{}

// from is r from a client of that address.
func from(r *http.Request, address string) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), addressKey{}, netip.MustParseAddr(address)))
}

func addressOf(ctx context.Context) netip.Addr {
	address, _ := ctx.Value(addressKey{}).(netip.Addr)
	return address
}

// hanging is an app that knows the holders of cookies that begin with "good", and
// does not answer others before it ends.
type hanging struct {
	*httptest.Server
	asked chan string // the cookies
}

func newHanging(t *testing.T) (*hanging, func(*http.Request) (bridge.User, error)) {
	t.Helper()
	h := &hanging{asked: make(chan string, 1000)}
	ended := make(chan struct{})
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		cookie := r.Header.Get("Cookie")
		h.asked <- cookie
		if !strings.HasPrefix(cookie, "good") {
			select {
			case <-ended:
			case <-r.Context().Done():
			}
		}
		w.Header().Set("X-Gridsigner-User", cookie)
	}))
	t.Cleanup(func() { close(ended); h.Close() })
	authenticate, err := identity.NewForwardAuthFrom(identity.ForwardAuth{URL: h.URL}, addressOf)
	if err != nil {
		t.Fatal(err)
	}
	return h, authenticate
}

func cookieRequest(cookie, address string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("Cookie", cookie)
	return from(r, address)
}

// TestMadeUpCookies has one household make up cookies while the app hangs: users
// from elsewhere are still asked for, and so are users whom the bridge knows.
func TestMadeUpCookies(t *testing.T) {
	app, authenticate := newHanging(t)
	assert := func(step, cookie, address string, reason bridge.Reason) {
		t.Helper()
		user, err := authenticate(cookieRequest(cookie, address))
		assertReason(t, err, reason)
		if reason == "" && user.ID != cookie || reason != "" && !errors.Is(err, bridge.ErrAuthUnavailable) {
			t.Errorf("%s: user = %+v, %v", step, user, err)
		}
	}
	household := func(i int) string { return fmt.Sprintf("2001:db8:0:1::%x", i+1) }
	assert("before", "good-known", household(0), "")
	<-app.asked
	ctx, hangUp := context.WithCancel(t.Context())
	answers := make(chan error)
	for i := range 300 {
		go func() {
			r := cookieRequest(fmt.Sprint("made-up-", i), household(i))
			_, err := authenticate(r.WithContext(context.WithValue(ctx, addressKey{}, addressOf(r.Context()))))
			answers <- err
		}()
	}
	for range 268 { // at once: nothing else ends before the app does
		err := <-answers
		assertReason(t, err, bridge.ReasonAppBusy)
		if !errors.Is(err, bridge.ErrAuthUnavailable) {
			t.Errorf("error = %v, want that users cannot be asked for", err)
		}
	}
	assert("elsewhere", "good-elsewhere", "2001:db8:0:2::1", "")
	assert("known", "good-known", household(0), "")
	assert("not known", "good-neighbour", household(1), bridge.ReasonAppBusy)
	hangUp()
	for range 32 {
		assertReason(t, <-answers, bridge.ReasonCanceled)
	}
	assert("after they hung up", "good-neighbour", household(1), "")
}

// TestQuestionsAltogether has the clients of many addresses ask an app that hangs.
func TestQuestionsAltogether(t *testing.T) {
	app, authenticate := newHanging(t)
	ctx, hangUp := context.WithCancel(t.Context())
	answers := make(chan error)
	for i := range 256 {
		go func() {
			r := cookieRequest(fmt.Sprint("made-up-", i), fmt.Sprintf("192.0.2.%d", i/32))
			_, err := authenticate(r.WithContext(context.WithValue(ctx, addressKey{}, addressOf(r.Context()))))
			answers <- err
		}()
	}
	for range 256 {
		<-app.asked
	}
	_, err := authenticate(cookieRequest("good", "198.51.100.1"))
	assertReason(t, err, bridge.ReasonAppBusy)
	hangUp()
	for range 256 {
		assertReason(t, <-answers, bridge.ReasonCanceled)
	}
	_, err = authenticate(cookieRequest("good", "198.51.100.1"))
	assertReason(t, err, "")
}

// TestUnknownAddress has more than 32 users whose addresses are not known, which
// are not one client.
func TestUnknownAddress(t *testing.T) {
	app, authenticate := newHanging(t)
	ctx, hangUp := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 33 {
		r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
		r.Header.Set("Cookie", fmt.Sprint("made-up-", i))
		all.Go(func() { authenticate(r) })
	}
	for range 33 {
		<-app.asked
	}
	hangUp()
	all.Wait()
}

// watched is a context that tells when somebody begins to wait for its end.
type watched struct {
	context.Context
	waiting chan<- struct{}
}

func (w watched) Done() <-chan struct{} {
	w.waiting <- struct{}{}
	return w.Context.Done()
}

// TestSameHeadersAskOnce has ten requests with the same cookie wait for an app of
// which all but two go away, and then more of which all do.
func TestSameHeadersAskOnce(t *testing.T) {
	asked, proceed, gone := make(chan string, 100), make(chan struct{}), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Cookie")
		select {
		case <-proceed:
			w.Header().Set("X-Gridsigner-User", "u")
		case <-r.Context().Done():
			gone <- struct{}{}
		}
	}))
	defer app.Close()
	var now clock
	authenticate, err := identity.NewForwardAuth(identity.ForwardAuth{URL: app.URL, Now: now.time})
	if err != nil {
		t.Fatal(err)
	}
	waiting, answers := make(chan struct{}), make(chan error)
	ask := func(cookie string) (hangUp context.CancelFunc) {
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequest("GET", "/", nil).WithContext(watched{ctx, waiting})
		r.Header.Set("Cookie", cookie)
		go func() {
			user, err := authenticate(r)
			if err == nil && user.ID != "u" {
				err = fmt.Errorf("user = %+v, want u", user)
			}
			answers <- err
		}()
		<-waiting
		return cancel
	}
	var hangUps []context.CancelFunc
	for range 10 {
		hangUps = append(hangUps, ask("sid=1"))
	}
	defer hangUps[9]()
	defer hangUps[8]()
	for _, hangUp := range hangUps[:8] { // with the one who asked
		hangUp()
		assertReason(t, <-answers, bridge.ReasonCanceled)
	}
	proceed <- struct{}{}
	for range 2 {
		assertReason(t, <-answers, "")
	}
	if n := len(asked); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	one, two := ask("sid=2"), ask("sid=2")
	for <-asked != "sid=2" { // or it would not have to be told
	}
	one()
	two()
	for range 2 {
		assertReason(t, <-answers, bridge.ReasonCanceled)
	}
	<-gone // the app need not answer any more
}

// TestForwardAuthConfig wants errors in words that hold no password.
func TestForwardAuthConfig(t *testing.T) {
	for _, v := range []struct{ name, url, host, want string }{
		{"https", "https://app.example/", "", ""},
		{"loopback", "http://127.0.0.1/", "", ""},
		{"internal-host", "http://app.internal:3000/whoami", "app.internal", ""},
		{"other-internal-host", "http://app.internal:3000/", "other.internal", "must be https"},
		{"subdomain-of-it", "http://x.app.internal/", "app.internal", "must be https"},
		{"plain", "http://app.example/", "", "must be https"},
		{"no-url", "app", "", "not an absolute URL"},
		{"password", "https://user:" + url.QueryEscape(canary) + "@app.example/", "", "credentials"},
	} {
		_, err := identity.NewForwardAuth(identity.ForwardAuth{URL: v.url, HTTP: identity.HTTP{InsecureHosts: []string{v.host}}})
		if (err == nil) != (v.want == "") || err != nil && !strings.Contains(err.Error(), v.want) {
			t.Errorf("%s: error = %v, want %q", v.name, err, v.want)
		}
		if err != nil {
			assertNoCanary(t, "the error", err.Error())
		}
	}
}

// TestCheckForwardAuth wants an app that refuses to be alive, and words of one that is dead.
func TestCheckForwardAuth(t *testing.T) {
	for status, want := range map[int]string{ // "" for one that is alive
		201: "", 302: "", 303: "", 307: "", 401: "", 403: "",
		200: "names no user", 204: "names no user", 301: "its URL is another", 308: "its URL is another",
		400: "a status", 404: "a status", 405: "a status", 429: "a status", 500: "a status", 503: "a status",
	} {
		asked := make(chan *http.Request, 2)
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked <- r
			w.Header().Set("Location", "/"+canaryPart)
			if status == 201 {
				w.Header().Set("X-Gridsigner-User", "everybody")
			}
			w.WriteHeader(status)
			if status != 204 {
				io.WriteString(w, canaryPart)
			}
		}))
		err := identity.CheckForwardAuth(t.Context(), identity.ForwardAuth{URL: app.URL + "/whoami?" + canaryPart})
		app.Close()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("status %d: error = %v, want %q", status, err, want)
		}
		if err != nil {
			assertNoCanary(t, "the error", err.Error())
		}
		if r := <-asked; len(asked) != 0 || r.Method != "GET" || r.URL.Path != "/whoami" || r.Header["Cookie"] != nil || r.Header["Authorization"] != nil {
			t.Errorf("status %d: asked %s %s and %d times more, want one GET of /whoami for nobody", status, r.Method, r.URL.Path, len(asked))
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	hangsUp := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer hangsUp.Close()
	for url, want := range map[string]string{
		gone.URL + "/?" + canaryPart:                          "does not answer: refused",
		hangsUp.URL + "/?" + canaryPart:                       "does not answer: hung-up",
		"http://app.example/?" + canaryPart:                   "must be https",
		"https://user:" + canaryPart + "@app.example/whoami/": "credentials",
	} {
		err := identity.CheckForwardAuth(t.Context(), identity.ForwardAuth{URL: url})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want %q", url, err, want)
			continue
		}
		assertNoCanary(t, "the error", err.Error())
	}
}
