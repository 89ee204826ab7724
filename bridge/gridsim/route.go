package gridsim

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxBody is the largest request body that is read. The largest legitimate one
// carries an OIDC token of a few kilobytes.
const maxBody = 64 << 10

// controlPath exists only with Config.Control.
const controlPath = "/_sim/clock"

// routes is everything that is served. {id} stands for one path segment.
var routes = []struct {
	method, path string
	serve        func(*Sim, request) (reply, error)
}{
	{http.MethodGet, "/auth/sessions", (*Sim).listSessions},
	{http.MethodDelete, "/auth/sessions/{id}", (*Sim).revokeSession},
	{http.MethodGet, "/auth/credentials", (*Sim).listCredentials},
	{http.MethodPost, "/auth/credentials/{id}/verify", (*Sim).verifyCredential},
	{http.MethodPost, controlPath, (*Sim).advanceClock},
}

// request is an authenticated request as the routes see it: read in full, at
// one moment, with the lock of the Sim held.
type request struct {
	now    time.Time
	id     string // decoded {id} of the path, any grammar
	query  string
	header http.Header
	body   []byte
	out    http.Header // headers of the response
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
	serve, id, err := s.route(out, r)
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
	now := s.now()
	s.dropExpired(now)
	return serve(s, request{now: now, id: id, query: r.URL.RawQuery, header: r.Header, body: body, out: out})
}

// route finds the route and the decoded id in the path.
func (s *Sim) route(out http.Header, r *http.Request) (serve func(*Sim, request) (reply, error), id string, err error) {
	var allowed []string
	for _, route := range routes {
		if route.path == controlPath && !s.cfg.Control {
			continue
		}
		routeID, ok := matchPath(route.path, r.URL.EscapedPath())
		if !ok {
			continue
		}
		if route.method == r.Method {
			return route.serve, routeID, nil
		}
		allowed = append(allowed, route.method)
	}
	if allowed == nil {
		return nil, "", pathUnknown
	}
	out.Set("Allow", strings.Join(allowed, ", "))
	return nil, "", methodNotAllowed
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
