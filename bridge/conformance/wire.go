package conformance

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	answerTimeout = 30 * time.Second
	maxAnswer     = 1 << 20
	maxWait       = 15 * time.Second // that a Retry-After is obeyed
)

// errStaysOpen reports a connection that goes on although the body of its
// request never came.
var errStaysOpen = errors.New("answered, but went on waiting for the body")

// errHungUp reports a connection that the other side ended without an answer.
// It is no such end that nothing was said for as long as [answerTimeout].
var errHungUp = errors.New("the connection ended")

// reply is an answer read whole.
type reply struct {
	status int
	header http.Header
	head   string // all header lines
	body   string
}

// code is the code of an error envelope, "" if the body is none.
func (r reply) code() string {
	var e struct{ Code string }
	json.Unmarshal([]byte(r.body), &e)
	return e.Code
}

// isEnvelope reports whether the body is Grid's error envelope.
func (r reply) isEnvelope() bool {
	var e struct {
		Status        int
		Code, Message string
	}
	return strings.HasPrefix(r.header.Get("Content-Type"), "application/json") &&
		json.Unmarshal([]byte(r.body), &e) == nil && e.Status == r.status && e.Code != "" && e.Message != ""
}

// basicHeader is the credential of HTTP Basic (RFC 7617) of some length.
var basicHeader = regexp.MustCompile(`Basic [A-Za-z0-9+/]{16,}`)

// forms are the spellings in which a secret might come out. Without padding
// base64 is found in a text with padding, too.
func forms(secret string) []string {
	b := []byte(secret)
	return []string{secret, url.QueryEscape(secret), url.PathEscape(secret),
		base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), hex.EncodeToString(b)}
}

// address is where the target listens.
func (t *target) address() string {
	port := t.base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[t.base.Scheme]
	}
	return net.JoinHostPort(t.base.Hostname(), port)
}

// connect opens a connection to the target.
func (t *target) connect(ctx context.Context) (net.Conn, error) {
	tcp := &net.Dialer{Timeout: t.answerTimeout}
	if t.base.Scheme == "https" {
		// HTTP/1.1, because only there a request can be malformed at will.
		dialer := &tls.Dialer{NetDialer: tcp, Config: &tls.Config{NextProtos: []string{"http/1.1"}}}
		return dialer.DialContext(ctx, "tcp", t.address())
	}
	return tcp.DialContext(ctx, "tcp", t.address())
}

// send sends a whole request as it is, and waits out a rate limit.
func (t *target) send(ctx context.Context, text string) (reply, error) {
	return patiently(ctx, func() (reply, error) { return t.once(ctx, text, t.answerTimeout, false) })
}

// sendPromise sends a request without the body that it announces: the answer
// must not wait for that, and must be the last on its connection. The client
// itself does not ask for an end, which would have spared the bridge the question.
func (t *target) sendPromise(ctx context.Context, text string) (reply, error) {
	text = strings.Replace(text, "Connection: close\r\n", "", 1)
	return patiently(ctx, func() (reply, error) { return t.once(ctx, text, t.prompt(), true) })
}

// prompt is how long an answer may take that waits for nobody.
func (t *target) prompt() time.Duration { return t.Patience / 10 }

// patiently asks again while the answer is that of a rate limit, later each time: what is
// asked may cost more than one token.
func patiently(ctx context.Context, ask func() (reply, error)) (reply, error) {
	for attempt := 1; ; attempt++ {
		got, err := ask()
		wait, errWait := strconv.Atoi(got.header.Get("Retry-After"))
		if err != nil || got.status != http.StatusTooManyRequests || errWait != nil || attempt == 4 {
			return got, err
		}
		select {
		case <-ctx.Done():
			return got, ctx.Err()
		case <-time.After(min(time.Duration(attempt*wait)*time.Second, maxWait)):
		}
	}
}

func (t *target) once(ctx context.Context, text string, timeout time.Duration, last bool) (r reply, err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := t.connect(ctx)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// A bridge may refuse and hang up before it has read everything.
	go io.WriteString(conn, text)
	method, _, _ := strings.Cut(text, " ")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, &http.Request{Method: method})
	for err == nil && resp.StatusCode == http.StatusContinue { // of a server in front, perhaps
		resp, err = http.ReadResponse(reader, &http.Request{Method: method})
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return r, fmt.Errorf("neither an answer nor a hang-up within %s", timeout)
	case err != nil:
		return r, errHungUp
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // what is there is judged
	var head strings.Builder
	resp.Header.Write(&head)
	r = reply{resp.StatusCode, resp.Header, head.String(), string(body)}
	if last && !resp.Close {
		if _, err := reader.ReadByte(); err == nil || ctx.Err() != nil {
			return r, errStaysOpen
		}
	}
	return r, nil
}

// root is an HTTP/1.1 request of the host that the base URL is on.
func (t *target) root(method, path string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", method, path, t.base.Host)
}

// request is an HTTP/1.1 request below the base URL.
func (t *target) request(method, path, body string, lines ...string) string {
	text := strings.TrimSuffix(t.root(method, t.base.EscapedPath()+path), "\r\n")
	for _, line := range lines {
		text += line + "\r\n"
	}
	if body != "" {
		text += "Content-Length: " + strconv.Itoa(len(body)) + "\r\n"
	}
	return text + "\r\n" + body
}

// list asks for the sessions of the user's own account.
func (t *target) list(lines ...string) string {
	return t.request("GET", "/auth/sessions?accountId="+t.Account, "", lines...)
}
