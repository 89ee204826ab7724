package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
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
)

// ErrAuthUnavailable reports that nobody can say at the moment who is calling.
// The bridge answers an error that wraps it with 503 and not 401, which would
// make apps sign their users out.
var ErrAuthUnavailable = errors.New("bridge: the users cannot be asked for")

// ForwardAuth says which app to ask who is calling.
type ForwardAuth struct {
	// URL is asked with GET, and with the Cookie and Authorization headers of
	// the request. The app answers 2xx with the user's id and accounts, in
	// headers (X-Gridsigner-User: id, X-Gridsigner-Accounts: ids with commas
	// between them) or in a JSON body {"user":"id","accounts":["id"]}; or 401,
	// 403 or a redirect for a request that is nobody's. https, or http on
	// loopback.
	URL string

	Now func() time.Time // nil = time.Now
}

// NewForwardAuth returns a function for [Config.Authenticate] that asks an app
// in any language, as nginx's auth_request and Traefik's ForwardAuth do.
//
// An answer with a user is kept for five seconds, under a hash of the two
// headers. A request with neither is refused without asking.
func NewForwardAuth(f ForwardAuth) (func(*http.Request) (User, error), error) {
	if _, err := parseURL(f.URL); err != nil {
		return nil, fmt.Errorf("bridge: forward-auth URL: %w", err)
	}
	if f.Now == nil {
		f.Now = time.Now
	}
	a := &forwardAuth{ForwardAuth: f, transport: newTransport(forwardAuthTimeout), known: knownUsers{now: f.Now}}
	return a.authenticate, nil
}

type forwardAuth struct {
	ForwardAuth
	transport *http.Transport
	known     knownUsers
}

func (f *forwardAuth) authenticate(r *http.Request) (User, error) {
	cookies, authorization := r.Header["Cookie"], r.Header["Authorization"]
	if len(cookies)+len(authorization) == 0 {
		return User{}, errors.New("bridge: neither a cookie nor Authorization")
	}
	key := digest(digest(cookies...), digest(authorization...))
	if user, ok := f.known.get(key); ok {
		return user, nil
	}
	user, err := f.ask(r.Context(), cookies, authorization)
	if err != nil {
		return User{}, err
	}
	f.known.put(key, user, f.Now().Add(forwardAuthLife))
	return user, nil
}

// ask makes the request to the app. It follows no redirect: that is the app's
// way to its login page, and the answer there would be a 200.
func (f *forwardAuth) ask(ctx context.Context, cookies, authorization []string) (User, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardAuthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL, nil)
	if err != nil {
		return User{}, ErrAuthUnavailable
	}
	req.Header["Cookie"], req.Header["Authorization"] = cookies, authorization
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gridbridge")
	resp, err := f.transport.RoundTrip(req)
	if err != nil {
		return User{}, ErrAuthUnavailable // its text may quote the URL
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode >= 200 && resp.StatusCode < 300:
	case resp.StatusCode >= 300 && resp.StatusCode < 400,
		resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return User{}, errors.New("bridge: the app does not know the user")
	default:
		return User{}, ErrAuthUnavailable
	}
	if id := resp.Header[HeaderUser]; len(id) > 0 {
		return userFromHeaders(id, resp.Header[HeaderAccounts])
	}
	var user struct {
		User     string   `json:"user"`
		Accounts []string `json:"accounts"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardAuth))
	if err != nil || !isJSON(resp.Header["Content-Type"]) || json.Unmarshal(body, &user) != nil || user.User == "" {
		return User{}, ErrAuthUnavailable // such an app is set up wrongly
	}
	return User{ID: user.User, Accounts: user.Accounts}, nil
}

// userFromHeaders wants each header at most once: of two values, one may come
// from a client whose header the app let through.
func userFromHeaders(id, accounts []string) (User, error) {
	if len(id) != 1 || len(accounts) > 1 {
		return User{}, ErrAuthUnavailable
	}
	user := User{ID: id[0]}
	for account := range strings.SplitSeq(strings.Join(accounts, ""), ",") {
		if account = strings.TrimSpace(account); account != "" {
			user.Accounts = append(user.Accounts, account)
		}
	}
	return user, nil
}
