package gridsim

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImports holds the independence of the simulator. Nothing of this module
// may be imported, so direct imports, of the tests too, are all there is to
// check: no third party imports us.
func TestImports(t *testing.T) {
	forbidden := map[string]string{
		"gridsigner/":   "a mistake shared with the signer or the bridge would pass both sides of every test",
		"encoding/asn1": "the parser of DER is part of what is checked; it must be strict where encoding/asn1 may not be",
	}
	// Test files may use encoding/asn1, to make signatures that parseDER reads; the
	// example imports the simulator, as whoever reads it will.
	allowedInTests := []string{"encoding/asn1", "gridsigner/bridge/gridsim"}

	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	parsed := 0
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		parsed++
		for _, spec := range source.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(allowedInTests, path) && strings.HasSuffix(file.Name(), "_test.go") {
				continue
			}
			for prefix, why := range forbidden {
				if strings.HasPrefix(path, prefix) {
					t.Errorf("%s imports %s: %s", file.Name(), path, why)
				}
			}
		}
	}
	if parsed < 10 {
		t.Errorf("looked at %d files only", parsed)
	}
}
