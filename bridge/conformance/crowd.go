package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

const (
	alike  = 20  // requests at once, as a page that was clicked often sends
	silent = 64  // connections that say nothing: an office behind one address has more
	burst  = 400 // requests at most to find a limit: the least that is worth having is lower
)

// atOnce asks for one thing many times at once. No two of them may get in each
// other's way, though a limit may: what all of them meet is waited out, like one's.
func (t *target) atOnce(ctx context.Context) Result {
	r := Result{Group: "crowd", Name: fmt.Sprintf("%d times the same at once", alike)}
	request := t.request("DELETE", "/auth/sessions/Session:"+nowhere, "", append([]string{app}, t.headers...)...)
	var counts map[int]int
	_, err := patiently(ctx, func() (first reply, err error) {
		var answers [alike]reply
		var errs [alike]error
		var all sync.WaitGroup
		for i := range alike {
			all.Go(func() { answers[i], errs[i] = t.once(ctx, request, t.answerTimeout, false) })
		}
		all.Wait()
		counts = map[int]int{}
		for i, got := range answers {
			if counts[got.status]++; errs[i] == nil { // else it is 0
				t.observe(r.Name, got, false)
			}
			if got.status != http.StatusTooManyRequests || i == 0 {
				first = got
			}
		}
		return first, nil
	})
	seen := fmt.Sprintf("answers by status: %v", counts)
	delete(counts, http.StatusTooManyRequests)
	for status := range counts {
		r.Detail = refused(400, 401, 403, 404, 405)(reply{status: status})
	}
	if len(counts) != 1 || err != nil {
		r.Detail = seen
	}
	r.OK = r.Detail == ""
	return r
}

// besideSilence wants a request answered while others hold connections and ask
// for nothing.
func (t *target) besideSilence(ctx context.Context) Result {
	r := Result{Group: "crowd", Name: fmt.Sprintf("a request beside %d silent connections", silent)}
	dialer := net.Dialer{Timeout: t.prompt()}
	for range silent {
		conn, err := dialer.DialContext(ctx, "tcp", t.address())
		if err != nil {
			break // no more are let in, which is not yet wrong
		}
		defer conn.Close()
	}
	got, err := patiently(ctx, func() (reply, error) { return t.once(ctx, t.list(t.headers...), t.prompt(), false) })
	switch {
	case err != nil:
		r.Detail = "no answer: " + err.Error()
	default:
		t.observe(r.Name, got, false)
		r.Detail = answered(got)
	}
	r.OK = r.Detail == ""
	return r
}

// madeUpAddresses looks for the limit of those who are nobody, and then wants it
// to hold for one who says to be somebody else each time. Whoever believes them has
// no limit at all.
//
// Of a bridge with a limit it takes hardly more than that, and nothing of a user's.
// Where there is none it proves nothing.
func (t *target) madeUpAddresses(ctx context.Context) Result {
	r := Result{Group: "crowd", Name: "a limit holds although addresses are made up", OK: true}
	plain := func(*http.Request, int) {}
	n, limited := t.hammer(ctx, plain)
	if !limited {
		r.Detail = fmt.Sprintf("no limit seen at %d requests", n)
		return r
	}
	others, limited := t.hammer(ctx, func(req *http.Request, i int) {
		address := fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250) // of nobody (RFC 2544)
		for _, name := range []string{"X-Forwarded-For", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP"} {
			req.Header.Set(name, address)
		}
		req.Header.Set("Forwarded", "for="+address)
	})
	if limited {
		return r
	}
	// What looked like a limit may have been an accident. Then it is not seen again.
	if again, limited := t.hammer(ctx, plain); !limited || others < max(n, again) {
		r.Detail = fmt.Sprintf("no steady limit seen at %d, %d and %d requests", n, others, again)
		return r
	}
	r.OK, r.Detail = false, fmt.Sprintf("limited at %d requests, but not at %d with made-up addresses", n, others)
	return r
}

// hammer sends requests without credentials, over a few connections, until one is
// refused for being too many: with 429, or 503 as some servers in front do, or no
// answer at all.
func (t *target) hammer(ctx context.Context, spoil func(r *http.Request, i int)) (sent int, limited bool) {
	const connections = 8
	transport := &http.Transport{MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, t.answerTimeout)
	defer cancel()
	var begun, answers atomic.Int32
	var full atomic.Bool
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for i := int(begun.Add(1)); i <= burst && !full.Load(); i = int(begun.Add(1)) {
				req, err := http.NewRequestWithContext(ctx, "GET", t.base.String()+"/auth/sessions?accountId="+t.Account, nil)
				if err != nil {
					return
				}
				spoil(req, i)
				resp, err := transport.RoundTrip(req)
				switch {
				case ctx.Err() != nil: // slow, which is no limit
					return
				case err != nil:
					full.Store(true)
					return
				}
				answers.Add(1)
				io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)) // so that the connection is used again
				resp.Body.Close()
				if resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable {
					full.Store(true)
				}
			}
		})
	}
	all.Wait()
	return int(answers.Load()), full.Load()
}
