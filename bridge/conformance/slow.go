package conformance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

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

// promises lists requests that are to be refused whatever their body is, announce
// one and send nothing of it. A bridge that waits for it lets anybody hold a place
// for as long as reading may take; one that does not, and goes on with the
// connection, takes what comes next for a request.
func (t *target) promises() (list []probe) {
	path := "/auth/sessions/Session:" + nowhere + "/refresh" // not to sign in, which may be limited more strictly
	with := func(lines ...string) []string { return append(lines, t.headers...) }
	for how, lines := range map[string][]string{
		"a length":            {"Content-Length: 100"},
		"chunks":              {"Transfer-Encoding: chunked"},
		"a length and Expect": {"Content-Length: 100", "Expect: 100-continue"},
	} {
		for name, request := range map[string]string{
			"nobody":        t.request("POST", path, "", append(lines, app, isJSON)...),
			"no such route": t.request("POST", "/"+marker, "", with(append(lines, app, isJSON)...)...),
			"text/plain":    t.request("POST", path, "", with(append(lines, app, "Content-Type: text/plain")...)...),
			"another site":  t.request("POST", path, "", with(append(lines, app, isJSON, "Sec-Fetch-Site: cross-site", "Origin: "+evil)...)...),
		} {
			list = append(list, probe{group: "promised body", name: name + ", " + how, request: request, want: refused(), promised: true})
		}
	}
	for name, request := range map[string]string{
		"GET":    t.list(with("Content-Length: 100")...),
		"DELETE": t.request("DELETE", "/auth/sessions/Session:"+nowhere, "", with(app, "Content-Length: 100")...),
	} {
		list = append(list, probe{group: "promised body", name: name, request: request, want: bodiless, promised: true})
	}
	return list
}
