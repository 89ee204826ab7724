package bridge

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"gridsigner/signer"
)

// maxSignature bounds Grid-Wallet-Signature. A stamp takes about 360 bytes; the
// limit is the one that the contract gives for a parser of stamps (3.2).
const maxSignature = 4 << 10

// headerGrammar says what a request header that passes may hold. Characters
// and length only: neither value can smuggle a line, a list or a second header.
var headerGrammar = map[string]func(string) bool{
	signer.HeaderSignature: validSignature,
	signer.HeaderRequestID: signer.ValidRequestID,
}

// base64Alphabets are the characters of base64 and base64url (RFC 4648), which
// the two generations of the signature header use.
const base64Alphabets = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

// validSignature checks characters and length. Whether it is a signature is
// for Grid to say.
func validSignature(v string) bool {
	return v != "" && len(v) <= maxSignature && strings.Trim(v, base64Alphabets) == ""
}

// call is an inbound request reduced to parts that have each been checked.
// Nothing but these parts reaches Grid.
type call struct {
	route   *route
	id      string     // decoded path id, "" where the route has none
	query   url.Values // the route's query parameters
	headers http.Header
	body    []byte
	account string // the user's, that the call is about: set by authorize
}

// path is where the call goes, below the base URL. An id is ASCII of a fixed
// grammar, so there is nothing in it to escape.
func (c *call) path() string {
	path := strings.Replace(c.route.template, "{id}", c.id, 1)
	if len(c.query) > 0 {
		path += "?" + c.query.Encode()
	}
	return path
}

// proves reports whether the call carries something of the user's that Grid
// may refuse with 401: a signature, or a body with a credential in it.
func (c *call) proves() bool { return len(c.headers) > 0 || len(c.body) > 0 }

// parse checks r against rt. Its errors are refusals.
func (rt *route) parse(w http.ResponseWriter, r *http.Request, rawID string) (*call, error) {
	c := &call{route: rt}
	var err error
	if rt.idKind != "" {
		// Decoded once: what is still escaped afterwards (%253A) is malformed,
		// and so are a dot segment, a slash, a NUL and a line break.
		if c.id, err = url.PathUnescape(rawID); err != nil || !signer.ValidID(rt.idKind, c.id) {
			return nil, errInputInvalid
		}
	}
	if c.query, err = rt.parseQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	if c.headers, err = rt.parseHeaders(r.Header); err != nil {
		return nil, err
	}
	if c.body, err = rt.parseBody(w, r); err != nil {
		return nil, err
	}
	return c, nil
}

// parseQuery wants exactly the route's parameters, once each: of two values the
// bridge might check one and Grid use the other.
func (rt *route) parseQuery(raw string) (url.Values, error) {
	query, err := url.ParseQuery(raw)
	if err != nil || len(query) != len(rt.query) {
		return nil, errInputInvalid
	}
	for _, name := range rt.query {
		if v := query[name]; len(v) != 1 || !signer.ValidID("InternalAccount", v[0]) {
			return nil, errInputInvalid
		}
	}
	return query, nil
}

// parseHeaders picks the route's headers and leaves all others behind. Half of
// a pair is refused here, before it costs anything: Grid would refuse it too.
func (rt *route) parseHeaders(in http.Header) (http.Header, error) {
	out := make(http.Header, len(rt.headers))
	for _, name := range rt.headers {
		switch v := in[name]; {
		case len(v) == 0:
		case len(v) == 1 && headerGrammar[name](v[0]):
			out[name] = []string{v[0]}
		default:
			return nil, errInputInvalid
		}
	}
	if len(out) != 0 && len(out) != len(rt.headers) {
		return nil, errHeadersIncomplete
	}
	return out, nil
}

// parseBody reads the body whole, so that a client that sends it slowly or not
// at all holds no connection to Grid. The bytes are forwarded as they are.
//
// Where none is taken none is waited for, here or by net/http after the answer:
// one that is announced and never sent would hold a place in flight for as long
// as reading may take. Chunks of nothing count as a body: they may hide a length
// that a proxy in front went by (RFC 9112, 6.1).
func (rt *route) parseBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if rt.body == 0 {
		if r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
			return nil, errInputInvalid
		}
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rt.body))
	_, tooLarge := errors.AsType[*http.MaxBytesError](err)
	switch {
	case tooLarge:
		return nil, errBodyTooLarge
	case err != nil:
		return nil, errInputInvalid
	case !isJSON(r.Header["Content-Type"]):
		return nil, errContentType
	case !json.Valid(body):
		return nil, errInputInvalid
	}
	return body, nil
}

// isJSON reports whether there is one Content-Type and it is JSON in UTF-8. A
// page on another site cannot send that without asking first (CORS preflight).
func isJSON(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	typ, params, err := mime.ParseMediaType(contentType[0])
	if err != nil || typ != "application/json" {
		return false
	}
	delete(params, "charset") // JSON has one charset (RFC 8259, 8.1), whatever this says
	return len(params) == 0
}
