package identity_test

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestImports keeps what an embedder takes with this package small.
func TestImports(t *testing.T) {
	allowed := []string{"gridsigner/bridge", "github.com/go-jose/go-jose/v4"}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range source.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(path, "/")
			ours := slices.Contains(allowed, path) || strings.HasPrefix(path, allowed[0]+"/internal/") || strings.HasPrefix(path, allowed[1]+"/")
			if standard := !strings.Contains(first, ".") && !strings.HasPrefix(allowed[0], first+"/"); !standard && !ours {
				t.Errorf("%s imports %s", file.Name(), path)
			}
		}
	}
}
