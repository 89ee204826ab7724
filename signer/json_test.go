package signer

import "testing"

func TestEqual(t *testing.T) {
	different := []string{
		`null`, `true`, `false`, `0`, `0.0`, `""`, `"0"`, `"null"`, `[]`, `[null]`, `[1,2]`, `[2,1]`, `[[1],2]`,
		`{}`, `{"a":1}`, `{"a":2}`, `{"b":1}`, `{"a":1,"b":2}`, `{"a":2,"b":1}`, `{"a":1,"c":2}`, `{"a":null}`, `{"a":{"b":1}}`, `{"a":{"b":[1]}}`,
	}
	read := func(s string) *jsonValue {
		v, err := parseJSON(s)
		if err != nil {
			t.Fatal(err)
		}
		return &v
	}
	for i, a := range different {
		for j, b := range different {
			if got := read(a).equal(read(b)); got != (i == j) {
				t.Errorf("%s and %s: %v", a, b, got)
			}
		}
	}
	if !read(`{"a":1,"b":["\u0061"]}`).equal(read(` {"b" : ["a"], "a" : 1} `)) {
		t.Error("order, blanks and escapes count")
	}
}
