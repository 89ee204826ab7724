package bridge

import (
	"slices"
	"strings"

	"gridsigner/signer"
)

// route is one line of the allow-list: an operation of the signer's table, and
// its path taken apart. It takes one id at most.
type route struct {
	signer.Route
	op       signer.Operation
	template string // path below the prefix; {id} stands for the id
	idKind   string // LSID type of the id, "" where none is taken
	query    string // the parameter that takes the id, "" where the path does
}

// walletHeaders turn a request into the signed leg of Grid's signed retry, and the
// second of them alone into the answer of a passkey. They pass where the route has
// an intent, if the body goes with them: see [call.fitHeaders].
var walletHeaders = []string{signer.HeaderSignature, signer.HeaderRequestID}

// routes is everything that the bridge forwards. What is not in the table does
// not reach Grid, whatever Grid may add.
var routes = func() (all []route) {
	for _, op := range signer.Operations() {
		rt := route{Route: op.Route(), op: op}
		_, rest, _ := strings.Cut(rt.Path, "{")
		rt.idKind, _, _ = strings.Cut(rest, "}")
		rt.template, rt.query, _ = strings.Cut(rt.path("{id}"), "?")
		rt.query = strings.TrimSuffix(rt.query, "={id}")
		all = append(all, rt)
	}
	return all
}()

// lists are the routes that list, of an account, the things of a kind.
var lists = map[string]*route{"Session": routeOf(signer.OpListSessions), "AuthMethod": routeOf(signer.OpListCredentials)}

func routeOf(op signer.Operation) *route {
	return &routes[slices.IndexFunc(routes, func(rt route) bool { return rt.op == op })]
}

// path is where a request goes, below the base URL and with its query. An id is
// ASCII of a fixed grammar, so there is nothing in it to escape.
func (rt *route) path(id string) string {
	return strings.Replace(rt.Path, "{"+rt.idKind+"}", id, 1)
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
		case routes[i].Method == method:
			return &routes[i], id, nil, nil
		default:
			allow = append(allow, routes[i].Method)
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
