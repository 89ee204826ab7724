package bridge

import (
	"net/http"
	"strings"

	"gridsigner/signer"
)

// route is one line of the allow-list.
type route struct {
	method   string
	template string            // path below the prefix; {id} stands for one id
	idKind   string            // LSID type of {id}, "" where the template has none
	query    []string          // the query parameters: each exactly once, each an account's id
	body     int64             // the most bytes of JSON body, 0 where no body is taken
	headers  []string          // request headers that pass: all of them or none
	intent   signer.IntentName // what a challenge of this route may ask for, "" where none is relayed
	signIn   bool              // limited more tightly: a guess at a credential
}

// walletHeaders turn a request into the signed leg of Grid's signed retry.
var walletHeaders = []string{signer.HeaderSignature, signer.HeaderRequestID}

// routes is everything that the bridge forwards. What is not here does not
// reach Grid, whatever Grid may add.
//
// Of the ways to sign in only OAUTH passes, which is one request: Grid answers a
// one-time password with a challenge (contract 2.8), and that is refused.
var routes = []route{
	{method: http.MethodGet, template: "/auth/sessions", query: []string{"accountId"}},
	{method: http.MethodDelete, template: "/auth/sessions/{id}", idKind: "Session", headers: walletHeaders, intent: signer.RevokeSession},
	{method: http.MethodGet, template: "/auth/credentials", query: []string{"accountId"}},
	{method: http.MethodPost, template: "/auth/credentials/{id}/verify", idKind: "AuthMethod", body: 64 << 10, signIn: true},
}

// match finds the route of a method and of a path that is still escaped, and
// the escaped text in the place of {id}. Literal segments are compared as they
// were sent, so neither an escape nor a dot segment can spell one differently.
// On [errMethodNotAllowed] allow lists the methods that the path has.
func match(method, path string) (rt *route, rawID string, allow []string, err error) {
	for i := range routes {
		id, ok := routes[i].cut(path)
		switch {
		case !ok:
		case routes[i].method == method:
			return &routes[i], id, nil, nil
		default:
			allow = append(allow, routes[i].method)
		}
	}
	if allow != nil {
		return nil, "", allow, errMethodNotAllowed
	}
	return nil, "", nil, errRouteNotFound
}

// cut holds path against the template and returns the segment that is {id}.
func (rt *route) cut(path string) (id string, ok bool) {
	before, after, hasID := strings.Cut(rt.template, "{id}")
	if !hasID {
		return "", path == rt.template
	}
	if id, ok = strings.CutPrefix(path, before); !ok {
		return "", false
	}
	if id, ok = strings.CutSuffix(id, after); !ok || strings.Contains(id, "/") {
		return "", false
	}
	return id, true
}

// collection is the path that lists the things which {id} is one of.
func (rt *route) collection() string {
	path, _, _ := strings.Cut(rt.template, "/{id}")
	return path
}
