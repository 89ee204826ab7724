// Package conformance tests from outside whether a bridge to Grid is safe to
// put on the internet. It knows nothing of the bridge's inside, so it can test
// any: it sends a request that should work, then the same one spoilt in one
// way at a time, and judges the answers.
//
// It changes nothing: what it asks to change is of an id that nobody has.
// It ends with some hundred quick requests of nobody, to see a limit: who shares
// the tester's address may be refused for as long as that limit lasts.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what to test and as whom.
type Options struct {
	URL     string   // the bridge's base URL, below which Grid's paths are
	Headers []string // "Name: value" lines that make a request a known user's; a bearer token should soon run out: it is sent in a query, too
	Account string   // InternalAccount id of that user
	Foreign string   // Session id of another user's, "" if none is known: it must be answered like one that nobody has

	// Secrets must appear in no answer: the API credentials, if the caller
	// knows them. The usual forms of each are searched for.
	Secrets []string

	// Patience is how long a client may be slow before the bridge must have
	// hung up, 0 for 30 seconds. What need not wait for a client must be
	// answered in a tenth of it.
	Patience time.Duration
}

// Result is the outcome of one check.
type Result struct {
	Group  string `json:"group"`
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"` // what was seen instead, if not OK, or why it proves little
}

// Run runs all checks. Its error says that they could not be run: a wrong URL,
// or a request that should work and does not, without which no refusal proves
// anything.
func Run(ctx context.Context, o Options) ([]Result, error) {
	t, err := newTarget(o)
	if err != nil {
		return nil, err
	}
	baseline, err := t.send(ctx, t.list(t.headers...))
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	if baseline.status != 200 {
		return nil, fmt.Errorf("conformance: GET /auth/sessions of the user's own account = %d, want 200: no check would prove anything", baseline.status)
	}
	t.observe("own sessions", baseline, false)
	slow := t.slowClients(ctx) // these mostly wait: beside the others

	var results []Result
	for _, p := range sorted(append(t.probes(), t.spoiltTokens()...)) {
		r, err := t.try(ctx, p)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	promised, err := t.tryAtOnce(ctx, sorted(t.promises())) // each failure is a wait
	if err != nil {
		return nil, err
	}
	results = append(results, promised...)
	results = append(results, t.sameAnswers(ctx)...)
	results = append(results, t.atOnce(ctx), t.besideSilence(ctx))
	results = append(results, <-slow...)
	results = append(results, t.madeUpAddresses(ctx)) // last: it leaves no request to the tester's address
	return append(results, t.observed()...), nil
}

// try makes one check. Its error is that of ctx.
func (t *target) try(ctx context.Context, p probe) (Result, error) {
	r := Result{Group: p.group, Name: p.name}
	send := t.send
	if p.promised {
		send = t.sendPromise
	}
	got, err := send(ctx, p.request)
	switch {
	case err != nil && ctx.Err() != nil:
		return r, ctx.Err()
	case p.mayHangUp && errors.Is(err, errHungUp):
	case errors.Is(err, errStaysOpen):
		r.Detail = err.Error()
	case err != nil:
		r.Detail = "no answer: " + err.Error()
	default:
		t.observe(p.name, got, p.elsewhere)
		if r.Detail = p.want(got); got.status == http.StatusTooManyRequests {
			r.Detail = "answered 429 each time: nothing is known"
		}
	}
	r.OK = r.Detail == ""
	return r, nil
}

// tryAtOnce makes checks side by side.
func (t *target) tryAtOnce(ctx context.Context, list []probe) ([]Result, error) {
	results, errs := make([]Result, len(list)), make([]error, len(list))
	var all sync.WaitGroup
	for i, p := range list {
		all.Go(func() { results[i], errs[i] = t.try(ctx, p) })
	}
	all.Wait()
	return results, errors.Join(errs...)
}

// target is what is tested, and what was seen in all its answers.
type target struct {
	Options
	base    *url.URL
	headers []string
	secrets []string // every form of each
	mu      sync.Mutex
	seen    map[string][]string

	answerTimeout time.Duration
}

func newTarget(o Options) (*target, error) {
	base, err := url.Parse(strings.TrimSuffix(o.URL, "/"))
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("conformance: not an http(s) URL")
	}
	for _, line := range o.Headers {
		if name, _, ok := strings.Cut(line, ": "); !ok || name == "" || strings.ContainsAny(line, "\r\n") {
			return nil, errors.New("conformance: a header is not of the form Name: value")
		}
	}
	if !strings.HasPrefix(o.Account, "InternalAccount:") {
		return nil, errors.New("conformance: the account is not InternalAccount:<uuid>")
	}
	if o.Foreign != "" && !strings.HasPrefix(o.Foreign, "Session:") {
		return nil, errors.New("conformance: the other user's session is not Session:<uuid>")
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	t := &target{Options: o, base: base, headers: o.Headers, seen: map[string][]string{}, answerTimeout: answerTimeout}
	secrets := o.Secrets
	if token, _, ok := t.bearer(); ok {
		secrets = append(slices.Clone(secrets), token)
	}
	for _, secret := range secrets {
		t.secrets = append(t.secrets, forms(secret)...)
	}
	return t, nil
}

// Properties of every answer, judged over all of them.
const (
	noSecret   = "no answer holds a credential"
	noEcho     = "no answer repeats what a client made up"
	noRedirect = "no answer redirects"
	noStore    = "every answer has Cache-Control: no-store"
	noSniff    = "every answer has X-Content-Type-Options: nosniff"
	noEmbed    = "every answer has Cross-Origin-Resource-Policy: same-origin or same-site"
	noVersion  = "no answer names the version of a server"
	dated      = "every answer has a Date"
	envelope   = "every refusal is an error envelope with its status, a code and a message"
)

// version is one behind a product's name, as in Server: nginx/1.22.1.
var version = regexp.MustCompile(`/v?[0-9]`)

// observe looks at what every answer must have: every one, or every one of the
// bridge's own.
func (t *target) observe(name string, got reply, elsewhere bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fails := func(property string, fail bool) {
		if fail {
			t.seen[property] = append(t.seen[property], name)
		}
	}
	text := got.head + got.body
	fails(noSecret, slices.ContainsFunc(t.secrets, func(s string) bool { return strings.Contains(text, s) }) || basicHeader.MatchString(text))
	fails(noEcho, strings.Contains(text, marker))
	if elsewhere {
		return
	}
	fails(noRedirect, got.status >= 300 && got.status < 400)
	fails(noStore, !strings.Contains(got.header.Get("Cache-Control"), "no-store"))
	fails(noSniff, got.header.Get("X-Content-Type-Options") != "nosniff")
	fails(noEmbed, !slices.Contains([]string{"same-origin", "same-site"}, got.header.Get("Cross-Origin-Resource-Policy")))
	fails(noVersion, version.MatchString(got.header.Get("Server")+" "+got.header.Get("X-Powered-By")))
	fails(dated, got.header.Get("Date") == "") // RFC 9110, 6.6.1; clients tell the time of expiry by it
	fails(envelope, got.status >= 400 && !got.isEnvelope())
}

// observed returns the results of what observe saw.
func (t *target) observed() (results []Result) {
	for _, property := range []string{noSecret, noEcho, noRedirect, noStore, noSniff, noEmbed, noVersion, dated, envelope} {
		r := Result{Group: "every answer", Name: property, OK: len(t.seen[property]) == 0}
		if !r.OK {
			r.Detail = "not: " + strings.Join(t.seen[property][:min(3, len(t.seen[property]))], "; ")
			if more := len(t.seen[property]) - 3; more > 0 {
				r.Detail += fmt.Sprintf("; and %d more", more)
			}
		}
		results = append(results, r)
	}
	return results
}
