package main

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// inRelease runs a program in a copy of the repository, where git knows nobody and no time but
// these: what is committed twice is the same commit.
func inRelease(t *testing.T, dir, name string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") || strings.HasPrefix(v, "GIT_")
	})
	cmd.Env = append(cmd.Env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		cmd.Env = append(cmd.Env, "GIT_"+who+"_NAME=A", "GIT_"+who+"_EMAIL=a@app.example", "GIT_"+who+"_DATE=2030-01-01T00:00:00Z")
	}
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// git does what each of the lines says.
func git(t *testing.T, dir string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if out, err := inRelease(t, dir, "git", strings.Fields(line)...); err != nil {
			t.Fatalf("git %s: %v\n%s", line, err, out)
		}
	}
}

// TestWhatIsNoRelease has "make tagged" refuse to release what does not say of itself, in every
// place that does, that it is this version.
func TestWhatIsNoRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want       string // what it is refused with, "" where it is not
		changelog, lock  string // "" for what is right
		tag, uncommitted string
		home             string // the field that says where the project is, if it is another
	}{
		{name: "all-of-one-version"},
		{name: "two-tags", tag: "v9.8.7\ntag v9.8.7-beta"},
		{name: "no-tag", tag: "other", want: "the commit has no tag v9.8.7"},
		{name: "tag-of-another-version", tag: "v9.8.70", want: "the commit has no tag v9.8.7"},
		{name: "no-date", changelog: "## 9.8.7 - Unreleased", want: "web/CHANGELOG.md does not begin with 9.8.7 and its date"},
		{name: "changelog-of-another-version", changelog: "## 9.8.8 - 2030-01-01\n\n## 9.8.7 - 2029-01-01", want: "web/CHANGELOG.md does not begin with 9.8.7 and its date"},
		{name: "lock-of-another-version", lock: "9.8.6", want: "web/package-lock.json is of another version than web/package.json, 9.8.7"},
		{name: "no-home", home: "type", want: "make module-path"},
		{name: "not-committed", uncommitted: "web/CHANGELOG.md", want: "the tree is not clean"},
		{name: "not-added", uncommitted: "new.go", want: "the tree is not clean"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{
				"Makefile":              readFile(t, repository+"/Makefile"),
				"web/package.json":      "{\n  \"name\": \"x\",\n  \"version\": \"9.8.7\",\n  \"" + cmp.Or(tt.home, "repository") + "\": \"x\"\n}\n",
				"web/package-lock.json": "{\n  \"name\": \"x\",\n  \"version\": \"" + cmp.Or(tt.lock, "9.8.7") + "\",\n  \"packages\": {\n  \"version\": \"1.2.3\",\n}\n",
				"web/CHANGELOG.md":      "# Changelog\n\n" + cmp.Or(tt.changelog, "## 9.8.7 - 2030-01-01") + "\n\n- News.\n",
			} {
				writeFile(t, filepath.Join(dir, name), text, 0o600)
			}
			git(t, dir, "init --quiet", "add .", "commit --quiet -m x")
			git(t, dir, strings.Split("tag "+cmp.Or(tt.tag, "v9.8.7"), "\n")...)
			if tt.uncommitted != "" {
				writeFile(t, filepath.Join(dir, tt.uncommitted), "## 9.8.7 - 2030-01-01\n", 0o600)
			}
			out, err := inRelease(t, dir, "make", "--no-print-directory", "tagged")
			if refused := err != nil; refused != (tt.want != "") || !strings.Contains(out, tt.want) {
				t.Errorf("%v: %s\nwant %q", err, out, tt.want)
			}
		})
	}
}

// TestReleasedProgram builds the program of a release twice, in two places: it is the same, byte
// for byte, and tells the version and the commit that it is of.
func TestReleasedProgram(t *testing.T) {
	t.Parallel()
	const version = "0.9.8"
	platform := runtime.GOOS + "-" + runtime.GOARCH
	var built [2][]byte
	for i, where := range []string{"here", "there/deeper"} {
		dir := filepath.Join(t.TempDir(), where)
		for _, name := range []string{"signer", "bridge"} {
			if err := os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(repository, name))); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"go.mod", "go.sum", "Makefile", ".gitignore"} {
			writeFile(t, filepath.Join(dir, name), readFile(t, filepath.Join(repository, name)), 0o600)
		}
		writeFile(t, filepath.Join(dir, "web/package.json"), "{\n  \"version\": \""+version+"\",\n}\n", 0o600)
		git(t, dir, "init --quiet", "add .", "commit --quiet -m x", "tag v"+version)
		out, err := inRelease(t, dir, "make", "programs", "PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		file := filepath.Join(dir, ".build/release/gridbridge-"+version+"-"+platform)
		told, errTold := inRelease(t, dir, file, "version")
		revision, errRevision := inRelease(t, dir, "git", "rev-parse", "HEAD")
		if err := errors.Join(errTold, errRevision); err != nil || told != "gridbridge v"+version+", revision "+strings.TrimSpace(revision)+", "+runtime.Version()+"\n" {
			t.Errorf("it is %q, %v", told, err)
		}
		built[i] = []byte(readFile(t, file))
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds of one commit differ")
	}
}
