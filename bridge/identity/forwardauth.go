package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"gridsigner/bridge"
	"gridsigner/bridge/internal/bounded"
	"gridsigner/bridge/internal/outbound"
)

// Headers of an app's answer to a forward-auth request.
const (
	HeaderUser     = "X-Gridsigner-User"
	HeaderAccounts = "X-Gridsigner-Accounts"
)

const (
	forwardAuthTimeout = 5 * time.Second
	forwardAuthLife    = 5 * time.Second // how long a user who signed out is still let in
	maxForwardAuth     = 64 << 10

	// Each made-up cookie is a question to the app. While it hangs they would take
	// all that the bridge has for requests, from a single client.
	maxQuestions      = 256 // under way at once
	maxQuestionsOfOne = 32  // of them, of one client address
)

// ForwardAuth says which app to ask who is calling.
type ForwardAuth struct {
	// URL is asked with GET, and with the Cookie and Authorization headers of the
	// request. The app answers 2xx with the user's id and accounts, in headers
	// (X-Gridsigner-User: id, X-Gridsigner-Accounts: ids with commas between them) or
	// in a JSON body {"user":"id","accounts":["id"]}; or 401, 403 or a redirect for a
	// request that is nobody's. https, or http on loopback and where HTTP allows it.
	//
	// For its log, and for limits of its own, the app is also told
	// X-Forwarded-Method, X-Forwarded-Uri (path and query), X-Forwarded-Host and, if
	// it is known, X-Forwarded-For (the client's address). The answer must not
	// depend on them: it counts for other requests with the same two headers.
	URL string

	HTTP HTTP             // how it is called
	Now  func() time.Time // nil = time.Now
}

// NewForwardAuth returns a function for [bridge.Config] that asks an app in any
// language, as nginx's auth_request and Traefik's ForwardAuth do.
//
// An answer with a user is kept for five seconds, under a hash of the two headers.
// A request with neither is refused without asking, and requests with the same ask
// once. At most 256 questions are under way at a time, and at most 32 of one client
// address (IPv6: of one /64); beyond that, a request that would have to ask fails at
// once with [bridge.ErrAuthUnavailable].
func NewForwardAuth(f ForwardAuth) (func(*http.Request) (bridge.User, error), error) {
	return newForwardAuth(f, bridge.ClientAddress)
}

func newForwardAuth(f ForwardAuth, address func(context.Context) netip.Addr) (func(*http.Request) (bridge.User, error), error) {
	if _, err := outbound.ParseURL(f.URL, f.HTTP.InsecureHosts...); err != nil {
		return nil, fmt.Errorf("identity: forward-auth URL: %w", err)
	}
	transport, err := f.HTTP.transport(forwardAuthTimeout)
	if err != nil {
		return nil, err
	}
	if f.Now == nil {
		f.Now = time.Now
	}
	a := &forwardAuth{
		ForwardAuth: f, transport: transport, address: address, known: newKnownUsers(f.Now),
		questions: map[string]*question{}, asking: map[netip.Prefix]int{},
	}
	return a.authenticate, nil
}

// CheckForwardAuth asks the app of f once, with nothing to know anybody by, and reports why it
// could not say who is calling: it does not answer, or neither refuses nor names a user, as
// where a page is shown for every path. The error is in words that do not quote the URL.
func CheckForwardAuth(ctx context.Context, f ForwardAuth) error {
	const what = "identity: forward-auth URL: "
	if _, err := outbound.ParseURL(f.URL, f.HTTP.InsecureHosts...); err != nil {
		return fmt.Errorf(what+"%w", err)
	}
	transport, err := f.HTTP.transport(forwardAuthTimeout)
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, forwardAuthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return errors.New(what + "not one that can be asked")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gridbridge")
	_, err = (&forwardAuth{ForwardAuth: f, transport: transport}).answer(req)
	reason, _ := errors.AsType[bridge.Reason](err)
	switch reason {
	case "", bridge.ReasonAppRefused:
		return nil
	case bridge.ReasonAppStatus:
		return errors.New(what + "the app answers with a status that says of nobody who it is: want 401 or 403 for who is not signed in")
	case bridge.ReasonAppAnswer, bridge.ReasonUserID, bridge.ReasonClaimForm, bridge.ReasonTooManyAccounts:
		return errors.New(what + "the app's answer names no user, or says that its URL is another: want 401 or 403 for who is not signed in")
	}
	return fmt.Errorf(what+"the app does not answer: %w", reason)
}

type forwardAuth struct {
	ForwardAuth
	transport *http.Transport
	address   func(context.Context) netip.Addr
	known     *knownUsers

	mu        sync.Mutex
	questions map[string]*question // under way, by a hash of the headers
	asking    map[netip.Prefix]int // how many of them are whose
}

// question is one to the app, for which requests wait.
type question struct {
	of      netip.Prefix // who asked it first, zero if not known
	waiting int
	cancel  context.CancelFunc

	done chan struct{} // closed when the answer is there:
	user bridge.User
	err  error
}

func (f *forwardAuth) authenticate(r *http.Request) (bridge.User, error) {
	cookies, authorization := r.Header["Cookie"], r.Header["Authorization"]
	if len(cookies)+len(authorization) == 0 {
		return bridge.User{}, bridge.ReasonNoToken
	}
	key := bounded.Key(bounded.Key(cookies...), bounded.Key(authorization...))
	q, err := f.join(key, r)
	if err != nil {
		return bridge.User{}, err
	}
	select {
	case <-q.done:
		return q.user, q.err
	case <-r.Context().Done():
		f.leave(key, q)
		return bridge.User{}, unavailable(reasonOf(r.Context().Err()))
	}
}

// unavailable is the error of an app that does not say who is calling.
func unavailable(why bridge.Reason) error {
	return fmt.Errorf("%w: %w", bridge.ErrAuthUnavailable, why)
}

// join returns the question that r has to wait for: one that is answered if the user
// is known, or the one that is under way, or one that it asks.
func (f *forwardAuth) join(key string, r *http.Request) (*question, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if user, ok := f.known.get(key); ok {
		q := &question{done: make(chan struct{}), user: user}
		close(q.done)
		return q, nil
	}
	if q := f.questions[key]; q != nil {
		q.waiting++
		return q, nil
	}
	address := f.address(r.Context()).Unmap()
	bits := address.BitLen()
	if address.Is6() {
		bits = 64 // a household or a machine has all of it to choose from
	}
	of, _ := address.Prefix(bits) // zero if the address is not known, which no client can bring about
	if len(f.questions) >= maxQuestions || of.IsValid() && f.asking[of] >= maxQuestionsOfOne {
		return nil, unavailable(bridge.ReasonAppBusy)
	}
	// It outlives a request that goes away while others wait for the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), forwardAuthTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		cancel()
		return nil, unavailable(bridge.ReasonUnknown)
	}
	req.Header["Cookie"], req.Header["Authorization"] = r.Header["Cookie"], r.Header["Authorization"]
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gridbridge")
	req.Header.Set("X-Forwarded-Method", r.Method)
	req.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
	req.Header.Set("X-Forwarded-Host", r.Host)
	if address.IsValid() {
		req.Header.Set("X-Forwarded-For", address.String())
	}
	q := &question{of: of, waiting: 1, cancel: cancel, done: make(chan struct{})}
	f.questions[key] = q
	f.asking[of]++
	go f.ask(key, q, req)
	return q, nil
}

// leave is for who waits no longer. With the last of them the question ends.
func (f *forwardAuth) leave(key string, q *question) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.waiting--; q.waiting == 0 {
		q.cancel()
		f.end(key, q)
	}
}

// end frees what q holds, if it still does. f.mu is held.
func (f *forwardAuth) end(key string, q *question) {
	if f.questions[key] != q {
		return
	}
	delete(f.questions, key)
	if f.asking[q.of]--; f.asking[q.of] == 0 {
		delete(f.asking, q.of)
	}
}

func (f *forwardAuth) ask(key string, q *question, req *http.Request) {
	defer q.cancel()
	user, err := f.answer(req)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.known.put(key, user, f.Now().Add(forwardAuthLife))
	}
	q.user, q.err = user, err
	close(q.done)
	f.end(key, q)
}

// answer makes the request to the app. It follows no redirect: that is the app's
// way to its login page, and the answer there would be a 200.
func (f *forwardAuth) answer(req *http.Request) (bridge.User, error) {
	resp, err := f.transport.RoundTrip(req)
	if err != nil {
		return bridge.User{}, unavailable(reasonOf(err)) // its text may quote the URL
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
	case resp.StatusCode == http.StatusMovedPermanently, resp.StatusCode == http.StatusPermanentRedirect:
		return bridge.User{}, unavailable(bridge.ReasonAppAnswer) // which is for everybody: the URL is another
	case resp.StatusCode >= 300 && resp.StatusCode < 400,
		resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return bridge.User{}, refusedBy(resp)
	default:
		return bridge.User{}, unavailable(bridge.ReasonAppStatus)
	}
	if id := resp.Header[HeaderUser]; len(id) > 0 {
		return userFromHeaders(id, resp.Header[HeaderAccounts])
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardAuth+1))
	if err != nil {
		return bridge.User{}, unavailable(reasonOf(err))
	}
	var user struct {
		User     string   `json:"user"`
		Accounts []string `json:"accounts"`
	}
	if len(body) > maxForwardAuth || !outbound.IsJSON(resp.Header["Content-Type"]) || decode(body, &user) != nil || user.User == "" {
		return bridge.User{}, unavailable(bridge.ReasonAppAnswer) // such an app is set up wrongly
	}
	return newUser(user.User, user.Accounts)
}

// refusedBy is the refusal of the app's, which may say how to authenticate.
func refusedBy(resp *http.Response) error {
	if v := resp.Header["Www-Authenticate"]; len(v) == 1 {
		return fmt.Errorf("%w: %w", bridge.ReasonAppRefused, bridge.WWWAuthenticate(v[0]))
	}
	return bridge.ReasonAppRefused
}

// userFromHeaders wants each header at most once: of two values, one may come
// from a client whose header the app let through.
func userFromHeaders(id, accounts []string) (bridge.User, error) {
	if len(id) != 1 || len(accounts) > 1 {
		return bridge.User{}, unavailable(bridge.ReasonAppAnswer)
	}
	var list []string
	for account := range strings.SplitSeq(strings.Join(accounts, ""), ",") {
		if account = strings.TrimSpace(account); account != "" {
			list = append(list, account)
		}
	}
	return newUser(id[0], list)
}

// newUser refuses what no user is: it is a fault of the app's, and signs nobody out.
func newUser(id string, accounts []string) (bridge.User, error) {
	user := bridge.User{ID: id, Accounts: distinct(accounts)}
	if reason, ok := errors.AsType[bridge.Reason](user.Check()); ok {
		return bridge.User{}, unavailable(reason)
	}
	return user, nil
}
