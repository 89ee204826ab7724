package gridsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxBody is the largest request body that is read. The largest legitimate one
// carries an OIDC token of a few kilobytes.
const maxBody = 64 << 10

const (
	controlPath = "/_sim/clock"                 // exists only with Config.Control
	inboxPath   = "/_sim/inbox"                 // and so does this
	refreshPath = "/auth/sessions/{id}/refresh" // is of May 2026
)

// handler serves a route.
type handler func(*Sim, request) (reply, error)

// routes is what Grid has below /auth, its export, and the simulator's own paths.
// {id} stands for one path segment. A route without a handler is not simulated.
var routes = []struct {
	method, path string
	serve        handler
}{
	{http.MethodGet, "/auth/sessions", (*Sim).listSessions},
	{http.MethodDelete, "/auth/sessions/{id}", signed((*Sim).revokeSession)},
	{http.MethodPost, refreshPath, signed((*Sim).refreshSession)},
	{http.MethodGet, "/auth/credentials", (*Sim).listCredentials},
	{http.MethodPost, "/auth/credentials", signed((*Sim).addCredential)},
	{http.MethodDelete, "/auth/credentials/{id}", signed((*Sim).removeCredential)},
	{http.MethodPost, "/auth/credentials/{id}/challenge", (*Sim).challengeCredential},
	{http.MethodPost, verifyRoute, (*Sim).verifyCredential},
	{http.MethodGet, "/auth/delegated-keys", nil},
	{http.MethodPost, "/auth/delegated-keys", nil},
	{http.MethodGet, "/auth/delegated-keys/{id}", nil},
	{http.MethodDelete, "/auth/delegated-keys/{id}", nil},
	{http.MethodPost, "/internal-accounts/{id}/export", signed((*Sim).exportWallet)},
	{http.MethodPost, controlPath, (*Sim).advanceClock},
	{http.MethodGet, inboxPath, (*Sim).readInbox},
}

// unservedRoots are the first segments of Grid's other paths. What is below them
// is answered with 501: to a client 404 means that a thing is gone.
var unservedRoots = []string{
	"agents", "beneficial-owners", "cards", "care", "config", "crypto", "customers", "discoveries", "documents",
	"exchange-rates", "internal-accounts", "invitations", "platform", "quotes", "receiver", "sandbox", "sca",
	"stablecoin-operations", "stablecoin-provider-accounts", "stablecoins", "tokens", "transactions", "transfer-in",
	"transfer-out", "verifications",
}

// request is an authenticated request as the routes see it: read in full, at
// one moment, with the lock of the Sim held.
type request struct {
	now      time.Time
	target   string // method and path, with the id decoded
	id       string // decoded {id} of the path, any grammar
	query    string
	header   http.Header
	body     []byte
	firstLeg bool // of a signed operation: it has neither signature header
}

// reply is an answer. A nil body is no body, as a 204 demands.
type reply struct {
	status int
	body   any
}

// ServeHTTP answers one request.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := s.answer(w.Header(), r)
	if err != nil {
		if later, ok := errors.AsType[retryLater](err); ok {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(later.wait.Seconds()))))
		}
		answer = s.envelope(err)
	}
	if answer.body == nil {
		w.WriteHeader(answer.status)
		return
	}
	body, err := json.Marshal(answer.body)
	if err != nil {
		panic("gridsim: a reply does not marshal: " + err.Error())
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(answer.status)
	w.Write(body) // a client that went away has nobody to tell
}

// answer does the checks that all routes share, then asks the route.
func (s *Sim) answer(out http.Header, r *http.Request) (reply, error) {
	serve, req, err := s.route(out, r)
	if err != nil {
		return reply{}, err
	}
	if err := s.authenticate(r); err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return reply{}, bodyUnreadable
	}
	if len(body) > maxBody {
		return reply{}, bodyTooLarge
	}

	// One request at a time, from lookup to effect. It makes two equal signed
	// requests end in exactly one success, and a simulator has no better use for
	// the parallelism.
	s.mu.Lock()
	defer s.mu.Unlock()
	req.now, req.query, req.header, req.body = s.now(), r.URL.RawQuery, r.Header, body
	s.settleDue(req.now)
	s.dropExpired(req.now)
	return serve(s, req)
}

// route finds the handler, and what of a request the path tells.
func (s *Sim) route(out http.Header, r *http.Request) (serve handler, req request, err error) {
	var allowed []string
	for _, route := range routes {
		if (route.path == controlPath || route.path == inboxPath) && !s.cfg.Control {
			continue
		}
		id, ok := matchPath(route.path, r.URL.EscapedPath())
		switch {
		case !ok:
			continue
		case route.method != r.Method:
			allowed = append(allowed, route.method)
			continue
		case route.serve == nil || route.path == refreshPath && s.cfg.Profile == Legacy202604:
			return nil, request{}, pathUnserved
		}
		return route.serve, request{id: id, target: route.method + " " + strings.Replace(route.path, "{id}", id, 1)}, nil
	}
	if allowed != nil {
		out.Set("Allow", strings.Join(allowed, ", "))
		return nil, request{}, methodNotAllowed
	}
	root, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	if slices.Contains(unservedRoots, root) {
		return nil, request{}, pathUnserved
	}
	return nil, request{}, pathUnknown
}

// matchPath matches an escaped path segment by segment. Segments are decoded
// only after the split, so an encoded slash cannot make a new segment, while
// Session%3A<uuid> and Session:<uuid> are the same id. Nothing is cleaned or
// redirected: "..", "//" and a trailing slash are just unknown paths.
func matchPath(template, escaped string) (id string, ok bool) {
	want, got := strings.Split(template, "/"), strings.Split(escaped, "/")
	if len(want) != len(got) {
		return "", false
	}
	for i, segment := range got {
		if want[i] != "{id}" {
			if segment != want[i] {
				return "", false
			}
			continue
		}
		decoded, err := url.PathUnescape(segment)
		if err != nil || decoded == "" {
			return "", false
		}
		id = decoded
	}
	return id, true
}

// authenticate checks the Basic credentials. Both halves are always compared,
// in constant time, so that timing tells nobody which one was wrong.
func (s *Sim) authenticate(r *http.Request) error {
	switch values := r.Header.Values("Authorization"); {
	case len(values) == 0:
		return credentialsMissing
	case len(values) > 1:
		return credentialsMalformed
	}
	id, secret, ok := r.BasicAuth()
	if !ok {
		return credentialsMalformed
	}
	idSum, secretSum := sha256.Sum256([]byte(id)), sha256.Sum256([]byte(secret))
	idEqual := subtle.ConstantTimeCompare(idSum[:], s.clientID[:])
	secretEqual := subtle.ConstantTimeCompare(secretSum[:], s.clientSecret[:])
	if idEqual&secretEqual != 1 {
		return credentialsWrong
	}
	return nil
}

// noBody refuses a body on the first leg. On the second it is one that differs
// from the first's.
func (req request) noBody() error {
	if req.firstLeg && len(req.body) > 0 {
		return bodyUnexpected
	}
	return nil
}

// jsonBody reads the body as a JSON object. Fields that nobody asks for are
// accepted, as Grid promises to add optional ones.
func (req request) jsonBody() (map[string]json.RawMessage, error) {
	mediaType, _, err := mime.ParseMediaType(req.header.Get("Content-Type"))
	if err != nil || mediaType != "application/json" {
		return nil, contentTypeWrong
	}
	return parseObject(req.body, bodyNotObject, bodyFieldDuplicate)
}

// accountID reads the one query parameter of the lists.
func (req request) accountID() (string, error) {
	query, err := url.ParseQuery(req.query)
	if err != nil {
		return "", queryMalformed
	}
	values := query["accountId"]
	switch {
	case !slices.ContainsFunc(values, func(v string) bool { return v != "" }):
		return "", accountIDMissing
	case len(values) > 1:
		return "", accountIDRepeated
	case !isID("InternalAccount", values[0]):
		return "", accountIDMalformed
	}
	return values[0], nil
}

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// isID tells whether id reads kind:<uuid>. Versions and variants of the UUID
// are not looked at: Grid's own examples get them wrong.
func isID(kind, id string) bool {
	uuid, ok := strings.CutPrefix(id, kind+":")
	return ok && uuidForm.MatchString(uuid)
}
