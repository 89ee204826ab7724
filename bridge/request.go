package bridge

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gridsigner/bridge/internal/outbound"
	"gridsigner/signer"
)

// maxBody bounds a body. The largest is a passkey's attestation, of a few
// kilobytes.
const maxBody = 64 << 10

// maxSignature bounds Grid-Wallet-Signature. A stamp takes about 360 bytes; the
// limit is that of [signer.ParseStamp].
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
	id      string // decoded, "" where the route takes none
	headers http.Header
	body    []byte
	intent  signer.Intent // of its challenge, with what the body submits
	account string        // that it is about: as it says, or else as authorize finds
	named   string        // that it says its id is on, "" if it says none
	sentAs  Secret        // the credentials that it was sent to Grid with
}

// proves reports whether the call carries something of the user's that Grid
// may refuse with 401: a signature, or a body with a credential in it. To ask for
// a challenge proves nothing.
func (c *call) proves() bool {
	return len(c.headers) > 0 || len(c.body) > 0 && c.route.op != signer.OpChallengeCredential
}

// parse checks r against rt. Its errors are refusals.
func (rt *route) parse(w http.ResponseWriter, r *http.Request, rawID string) (*call, error) {
	c := &call{route: rt}
	var err error
	if c.id, err = rt.parseID(rawID, r.URL.RawQuery); err != nil {
		return nil, err
	}
	if c.headers, err = rt.parseHeaders(r.Header); err != nil {
		return nil, err
	}
	if c.named, err = parseNamed(r.Header[HeaderAccount]); err != nil {
		return nil, err
	}
	if c.body, err = rt.parseBody(w, r); err != nil {
		return nil, err
	}
	// Grid might read a body that two readers can read differently, or a field
	// that is not known here, as what nobody checked.
	said, err := rt.op.Judge(string(c.body))
	if err != nil {
		return nil, errInputInvalid
	}
	if err := c.fitHeaders(said); err != nil {
		return nil, err
	}
	c.intent, c.account = said.Intent, said.Account
	if rt.idKind == "InternalAccount" {
		c.account = c.id
	}
	return c, nil
}

// parseID returns the id that the route takes, decoded once: what is still
// escaped afterwards (%253A) is malformed, and so are a dot segment, a slash, a
// NUL and a line break.
//
// It wants the route's parameter once and no other: of two values the bridge
// might check one and Grid use the other.
func (rt *route) parseID(raw, rawQuery string) (string, error) {
	id, errPath := url.PathUnescape(raw)
	query, errQuery := url.ParseQuery(rawQuery)
	want := 0
	if rt.query != "" {
		id, want = query.Get(rt.query), 1
	}
	switch {
	case errQuery != nil || len(query) != want || len(query[rt.query]) != want:
		return "", errInputInvalid.because(reasonQuery)
	case errPath != nil || rt.idKind != "" && !signer.ValidID(rt.idKind, id):
		return "", errInputInvalid.because(reasonID)
	}
	return id, nil
}

// parseHeaders picks the route's headers and leaves all others behind. Which of
// them go together [call.fitHeaders] knows, which has read the body.
func (rt *route) parseHeaders(in http.Header) (http.Header, error) {
	out := make(http.Header)
	if rt.Intent == "" {
		return out, nil
	}
	for _, name := range walletHeaders {
		switch v := in[name]; {
		case len(v) == 0:
		case len(v) == 1 && headerGrammar[name](v[0]):
			out[name] = []string{v[0]}
		default:
			return nil, errInputInvalid.because(reasonHeaders)
		}
	}
	return out, nil
}

// parseNamed reads [HeaderAccount]: one id, if it is there.
func parseNamed(named []string) (string, error) {
	switch {
	case len(named) == 0:
		return "", nil
	case len(named) > 1 || !signer.ValidID("InternalAccount", named[0]):
		return "", errInputInvalid.because(reasonHeaders)
	}
	return named[0], nil
}

// fitHeaders holds the headers against the body that they came with: both or
// neither where a challenge follows it, Request-Id alone where it answers one, and
// otherwise none, which are left behind. Half of a pair is refused here, before it
// costs anything: Grid would refuse it too.
func (c *call) fitHeaders(said signer.Submission) error {
	_, signed := c.headers[signer.HeaderSignature]
	_, named := c.headers[signer.HeaderRequestID]
	switch {
	case said.Answers && (signed || !named), !said.Answers && said.Intent.Name != "" && signed != named:
		return errHeadersIncomplete
	case !said.Answers && said.Intent.Name == "":
		clear(c.headers)
	}
	return nil
}

// hasBody reports whether r announces a body. Chunks of nothing count as one: they may
// hide a length that a proxy in front went by (RFC 9112, 6.1).
func hasBody(r *http.Request) bool { return r.ContentLength != 0 || len(r.TransferEncoding) > 0 }

// parseBody reads the body whole, so that a client that sends it slowly or not
// at all holds no connection to Grid. The bytes are forwarded as they are.
//
// Where none is taken none is waited for: one that is announced and never sent would
// hold a place in flight for as long as reading may take.
func (rt *route) parseBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if !rt.Body {
		if hasBody(r) {
			return nil, errInputInvalid
		}
		return nil, nil
	}
	if !outbound.IsJSON(r.Header["Content-Type"]) {
		return nil, errContentType
	}
	// The server that the handler is mounted on may have no limit of its own. Where none can be set it has to have one.
	http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge:
		return nil, errBodyTooLarge
	case err != nil:
		return nil, errInputInvalid
	}
	return body, nil
}
