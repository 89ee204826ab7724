package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
)

// correlation is what differs between any two answers: ids made for them.
var correlation = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{16,}`)

// sameAnswers asks for two ids that are none of the user's: an answer that tells
// one from the other tells what exists.
func (t *target) sameAnswers(ctx context.Context) []Result {
	name, first := "ids that nobody has are answered alike", "Session:11111111-1111-4111-8111-111111111111"
	if t.Foreign != "" {
		name, first = "another user's session is answered like one that nobody has", t.Foreign
	}
	headers := append([]string{app}, t.headers...)
	return []Result{
		t.sameAnswer(ctx, name, first, func(id string) string { return t.request("DELETE", "/auth/sessions/"+id, "", headers...) }),
		t.sameAnswer(ctx, name+", refreshing", first, func(id string) string {
			return t.request("POST", "/auth/sessions/"+id+"/refresh", refresh, append([]string{isJSON}, headers...)...)
		}),
	}
}

func (t *target) sameAnswer(ctx context.Context, name, first string, request func(id string) string) Result {
	r := Result{Group: "ownership", Name: name, OK: true}
	var shapes []string
	for _, id := range []string{first, "Session:" + nowhere} {
		got, err := t.send(ctx, request(id))
		if err != nil {
			r.OK, r.Detail = false, "no answer: "+err.Error()
			return r
		}
		t.observe("an id that is not the user's", got, false)
		shapes = append(shapes, fmt.Sprint(got.status, " ", correlation.ReplaceAllString(got.body, "id")))
	}
	if shapes[0] != shapes[1] {
		r.OK, r.Detail = false, shapes[0]+" and "+shapes[1]
	}
	return r
}

// slowClients opens connections that never finish their request, and wants each
// of them ended within the patience.
func (t *target) slowClients(ctx context.Context) <-chan []Result {
	whole := t.request("POST", "/auth/credentials/AuthMethod:"+nowhere+"/verify", "{}", append([]string{app, isJSON}, t.headers...)...)
	tests := []struct {
		name, text string
		drips      bool
	}{
		{"connects and says nothing", "", false},
		{"half of a header", whole[:strings.Index(whole, "\r\n")+8], false},
		{"a header that drips", whole[:strings.Index(whole, "\r\n")+8], true},
		{"half of a body", whole[:len(whole)-1], false},
		{"a body that drips", strings.Replace(whole[:len(whole)-1], "Content-Length: 2", "Content-Length: 999", 1), true},
	}
	results := make([]Result, len(tests))
	done := make(chan int, len(tests))
	for i, v := range tests {
		go func() {
			results[i] = Result{Group: "slow client", Name: v.name, OK: true}
			if detail := t.outlasts(ctx, v.text, v.drips); detail != "" {
				results[i].OK, results[i].Detail = false, detail
			}
			done <- i
		}()
	}
	all := make(chan []Result, 1)
	go func() {
		for range tests {
			<-done
		}
		all <- results
	}()
	return all
}

// outlasts sends text and waits for the other side to end the connection. One
// that drips sends a byte now and then, which keeps alive what only looks at the
// time since the last one.
func (t *target) outlasts(ctx context.Context, text string, drips bool) string {
	conn, err := t.connect(ctx)
	if err != nil {
		return "no connection"
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for end := time.Now().Add(t.Patience); ; text = "a" {
		tick := end
		if drips {
			tick = time.Now().Add(t.Patience / 20)
		}
		conn.SetDeadline(tick)
		io.WriteString(conn, text) // if it fails, so does reading
		if _, err := io.Copy(io.Discard, conn); !errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if !time.Now().Before(end) {
			return fmt.Sprintf("still connected after %s", t.Patience)
		}
	}
}
