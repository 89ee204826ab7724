package bridge

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gridsigner/bridge/internal/outbound"
)

const maxResponse = 1 << 20 // Grid's largest answer is a list of a few kilobytes

// answer is what of Grid's response is relayed.
type answer struct {
	status     int
	retryAfter string // "" if Grid sent none
	body       []byte // nil with 204

	said content // what the bridge reads of body; of a success alone, and of no challenge
	fits bool    // whether body has the form of that
}

// Error makes an answer of Grid's to a look-up one that ends the request for which that
// was made.
func (a *answer) Error() string {
	return "bridge: answer of Grid's with status " + strconv.Itoa(a.status)
}

// send sends c to Grid as a request made from nothing but the parts of c and the
// bridge's credentials, and reads the answer whole before anything is relayed.
// Its errors are refusals. It never sends twice, but for a list whose credentials
// have been changed meanwhile.
func (b *bridge) send(ctx context.Context, v *visit, c *call) (*answer, error) {
	c.sentAs = b.credentials.header()
	a, err := b.sendAs(ctx, v, c, c.sentAs)
	switch {
	case !errors.Is(err, errUpstreamCredential):
	case c.route.Method != http.MethodGet:
		b.credentials.renew(ended(ctx), c.sentAs)
	case b.credentials.renew(ctx, c.sentAs):
		c.sentAs = b.credentials.header()
		return b.sendAs(ctx, v, c, c.sentAs)
	}
	return a, err
}

// ended is a context that has ended: for what is to begin, and not to be waited for.
func ended(ctx context.Context) context.Context {
	ctx, end := context.WithCancel(ctx)
	end()
	return ctx
}

// sendAs sends c once, with authorization as the credentials.
func (b *bridge) sendAs(ctx context.Context, v *visit, c *call, authorization Secret) (a *answer, err error) {
	var body io.Reader
	if c.body != nil {
		body = bytes.NewReader(c.body)
	}
	req, err := http.NewRequestWithContext(ctx, c.route.Method, b.Upstream+c.route.path(c.id), body)
	if err != nil {
		return nil, errInternal
	}
	for name, values := range c.headers {
		req.Header[name] = values
	}
	if c.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "gridbridge")
	req.Header.Set("Authorization", authorization.reveal())
	trace := http.Header{}
	end := b.Observer.Call(ctx, c.route.Method, c.route.template, trace)
	for _, name := range []string{"Traceparent", "Tracestate"} {
		if value := trace.Get(name); value != "" {
			req.Header.Set(name, value)
		}
	}

	start, status := time.Now(), 0
	defer func() {
		called := Called{Status: status, Took: time.Since(start)}
		if ref, ok := errors.AsType[*refusal](err); ok {
			called.Reason = ref.reason
		}
		v.Calls, v.CallsTook = v.Calls+1, v.CallsTook+called.Took
		end(called)
	}()
	resp, err := b.transport.RoundTrip(req)
	if err != nil {
		return nil, upstreamError(ctx, err)
	}
	defer resp.Body.Close()
	status = resp.StatusCode
	a = &answer{status: status, retryAfter: retryAfter(resp.Header["Retry-After"])}
	v.note(c, status, resp.Header["X-Request-Id"])
	switch {
	case a.status == http.StatusUnauthorized && !c.proves():
		// The user showed Grid nothing that could be wrong, so the refusal is
		// for the bridge's credentials. Relayed, it would log users out for a
		// fault of the operator. Where the call does carry proof a 401 may be
		// either (Grid's schema Error401): see judgeUnauthorized.
		return nil, errUpstreamCredential
	case a.status == http.StatusNoContent:
		return a, nil
	case a.status < 200, a.status >= 300 && a.status < 400, a.status >= 600:
		return nil, errUpstreamInvalid.because(ReasonStatus)
	}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	switch {
	case err != nil:
		return nil, upstreamError(ctx, err)
	case len(a.body) > maxResponse:
		return nil, errUpstreamInvalid.because(reasonTooLarge)
	case !outbound.IsJSON(resp.Header["Content-Type"]), !a.read():
		return nil, errUpstreamInvalid.because(ReasonNotJSON)
	case a.status >= 400 && echoes(a.body, authorization):
		return nil, errUpstreamInvalid.because(reasonEcho)
	case a.status >= 400:
		var said struct{ Details struct{ RequestID string } }
		json.Unmarshal(a.body, &said) // whatever else it says
		v.note(c, status, []string{said.Details.RequestID})
	}
	return a, nil
}

// echoes reports whether a text in body, which is JSON, repeats what is secret in
// authorization: an error of Grid's, or of a proxy's before it, may quote the request.
func echoes(body []byte, authorization Secret) bool {
	encoded := strings.TrimPrefix(authorization.reveal(), "Basic ")
	decoded, _ := base64.StdEncoding.DecodeString(encoded)
	_, secret, _ := strings.Cut(string(decoded), ":")
	if len(secret) < 8 { // which may be any word
		secret = encoded
	}
	tokens := json.NewDecoder(bytes.NewReader(body))
	for {
		token, err := tokens.Token()
		if err != nil {
			return err != io.EOF
		}
		if text, ok := token.(string); ok && (strings.Contains(text, encoded) || strings.Contains(text, secret)) {
			return true
		}
	}
}

// upstreamError names the failure of a round trip. The error's own text may
// quote what the upstream sent, so it goes nowhere.
func upstreamError(ctx context.Context, err error) error {
	failure := outbound.FailureOf(err)
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, context.Canceled):
		return errClientGone
	case cause != nil, failure == outbound.Timeout:
		return errUpstreamTimeout
	}
	return errUpstreamFailed.because(Reason(failure))
}

// retryAfter returns the value of a Retry-After header if it has one of its two
// forms (RFC 9110, 10.2.3), else "".
func retryAfter(values []string) string {
	if len(values) != 1 {
		return ""
	}
	if _, err := strconv.ParseUint(values[0], 10, 32); err == nil {
		return values[0]
	}
	if _, err := http.ParseTime(values[0]); err == nil {
		return values[0]
	}
	return ""
}

// write relays a with the headers of the allow-list and no others.
func (a *answer) write(w http.ResponseWriter) {
	if a.retryAfter != "" {
		w.Header().Set("Retry-After", a.retryAfter)
	}
	if a.body != nil {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	w.Write(a.body) // the client may be gone: nothing to do about it
}
