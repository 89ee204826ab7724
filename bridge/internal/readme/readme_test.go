package readme_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const repository = "../../.."

// pages are the repository's own: what was installed or built has others.
func pages(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(repository, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // another test's, and gone since
		}
		if name := entry.Name(); err == nil && entry.IsDir() && path != repository &&
			(name == "node_modules" || name == "dist" || name == "docs" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" && filepath.Base(path) != "CHANGELOG.md" {
			names = append(names, path)
		}
		return err
	})
	if err != nil || !slices.Contains(names, repository+"/README.md") {
		t.Fatalf("the pages are %q, %v", names, err)
	}
	return names
}

// Code that nothing runs is wrong some day. Blocks without a language are pictures and headers.
func TestEveryBlockIsRunOrGenerated(t *testing.T) {
	block := regexp.MustCompile("(?ms)^ *([^\n]*)\n *```([a-z]+)\n.*?^ *```$")
	marker := regexp.MustCompile(`^<!-- (?:run by (\S+?)(?:, [^>]*)?|[a-z ]+: made by the tests) -->$`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			how := marker.FindStringSubmatch(m[1])
			if how == nil {
				t.Errorf("%s: nothing says what runs\n%s", page, m[0])
				continue
			}
			test, err := os.ReadFile(filepath.Join(repository, how[1]))
			if how[1] != "" && (err != nil || !strings.Contains(string(test), "README.md") && !strings.Contains(string(test), filepath.Base(page))) {
				t.Errorf("%s: %s does not run\n%s", page, how[1], m[0])
			}
		}
	}
}

// TestLinks finds what every page links to, in the repository and within a page.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			path, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(path, ":") {
				continue // of somebody else
			}
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", page, err)
			} else if anchor != "" && !slices.Contains(anchors(t, target), anchor) {
				t.Errorf("%s: %s has no #%s", page, target, anchor)
			}
		}
	}
}

// anchors are the names that a forge gives to the headings of a page.
func anchors(t *testing.T, page string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(text), -1) {
		name := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// TestFrontPage asks make whether it could do what the front page says, which somebody reads in
// one look, and so is short.
func TestFrontPage(t *testing.T) {
	text, err := os.ReadFile(repository + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(text), "\n"); lines >= 150 {
		t.Errorf("it has %d lines", lines)
	}
	blocks := regexp.MustCompile("(?ms)^<!-- run by bridge/internal/readme/readme_test.go, [a-z ]+ -->\n```sh\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Errorf("%d blocks", len(blocks))
	}
	bin := t.TempDir()
	real, err := exec.LookPath("make")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "make"), []byte("#!/bin/sh\nexec "+real+" --dry-run \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks {
		cmd := exec.Command("sh", "-euc", block[1])
		cmd.Dir = repository
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "MAKEFLAGS=", "MAKELEVEL=")
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "go build") {
			t.Errorf("%v\n%s\n%s", err, block[1], out)
		}
	}
}
