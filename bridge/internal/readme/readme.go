// Package readme is for tests: it holds what the README lists against what it is
// made from.
package readme

import (
	"os"
	"strings"
	"testing"
)

// Hold holds the section of file between the lines begin and end against want. With
// UPDATE_README=1 it writes it.
func Hold(t *testing.T, file, begin, end, want string) {
	t.Helper()
	text, err := os.ReadFile(file)
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if err != nil || !ok || !ok2 {
		t.Fatalf("the README has no section between %q and %q", begin, end)
	}
	if os.Getenv("UPDATE_README") != "" {
		got = want
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != want {
		t.Errorf("the README lists\n%s\nwant\n%s\nUPDATE_README=1 go test ./bridge/... writes it", got, want)
	}
}
