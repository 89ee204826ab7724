package conformance

import (
	"context"
	"fmt"
	"regexp"
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
