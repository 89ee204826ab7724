package bridge

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestReadmeListsEveryRefusal holds the README's table of codes against the
// one list. With UPDATE_README=1 it writes the table.
func TestReadmeListsEveryRefusal(t *testing.T) {
	const file, begin, end = "../README.md", "<!-- refusals: made by the tests -->\n", "<!-- end of refusals -->"
	list := slices.Clone(refusals)
	slices.SortStableFunc(list, func(a, b *refusal) int { return cmp.Compare(a.status, b.status) })
	table := "| Status | Code | Meaning |\n|---|---|---|\n"
	for i, e := range list {
		table += fmt.Sprintf("| %d | `%s` | %s |\n", e.status, e.code, e.message)
		if !strings.HasPrefix(e.code, "BRIDGE_") || slices.ContainsFunc(list[:i], func(other *refusal) bool { return other.code == e.code }) {
			t.Errorf("code %q is not a code of its own", e.code)
		}
	}
	text, err := os.ReadFile(file)
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if err != nil || !ok || !ok2 {
		t.Fatalf("README.md has no section between %q and %q", begin, end)
	}
	if os.Getenv("UPDATE_README") != "" {
		got = table
		if err := os.WriteFile(file, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got != table {
		t.Errorf("README.md lists\n%s\nwant\n%s\nUPDATE_README=1 go test ./bridge/... writes it", got, table)
	}
}
