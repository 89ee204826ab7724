//go:build !js

package signer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSources wants what every comment and page of the repository cites to be open to
// its reader: Grid's documentation or an RFC, and not the sections of notes of our own.
func TestSources(t *testing.T) {
	notes := regexp.MustCompile(`(?i)\bcontract[\s/*]+\(?[0-9]|[0-9] of the contract\b`)
	read := 0
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone since
		}
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			if name != ".." && strings.HasPrefix(name, ".") || name == "node_modules" || name == "dist" {
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(name) {
		case ".go", ".ts", ".tsx", ".js", ".mjs", ".md", ".json", ".yaml":
		default:
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		for _, found := range notes.FindAllString(string(text), -1) {
			t.Errorf("%s cites %q", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 100 {
		t.Errorf("read %d files: the test looks at nothing", read)
	}
}
