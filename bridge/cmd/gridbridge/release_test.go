package main

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// asReleaser is the environment of a copy of the repository, where git knows nobody and no time but
// these: what is committed twice is the same commit.
func asReleaser() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS=") || strings.HasPrefix(v, "GIT_")
	})
	env = append(env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C")
	for _, who := range []string{"AUTHOR", "COMMITTER"} {
		env = append(env, "GIT_"+who+"_NAME=A", "GIT_"+who+"_EMAIL=a@app.example", "GIT_"+who+"_DATE=2030-01-01T00:00:00Z")
	}
	return env
}

// inRelease runs a program in such a copy.
func inRelease(t *testing.T, dir, name string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, asReleaser()
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

// versioned writes into dir what says which version it is, and the Makefile that reads it.
func versioned(t *testing.T, dir, version, lock, changelog string) {
	t.Helper()
	is := regexp.MustCompile(`"version": "(.*)"`)
	for name, version := range map[string]string{"web/package.json": version, "web/package-lock.json": lock} {
		text := readFile(t, filepath.Join(repository, name))
		if name == "web/package.json" && !strings.Contains(text, `"repository"`) {
			text = strings.Replace(text, "{", `{
  "repository": "https://app.example",
  "homepage": "https://app.example",
  "bugs": "https://app.example",`, 1)
		}
		was := is.FindString(text)
		writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(text, was, is.ReplaceAllString(was, `"version": "`+version+`"`)), 0o600)
	}
	writeFile(t, filepath.Join(dir, "web/CHANGELOG.md"), "# Changelog\n\n"+changelog+"\n\n- News.\n", 0o600)
	writeFile(t, filepath.Join(dir, "Makefile"), readFile(t, repository+"/Makefile"), 0o600)
}

// TestWhatIsNoRelease has "make tagged" refuse to release what does not say of itself, in every
// place that does, that it is this version.
func TestWhatIsNoRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, want       string // what it is refused with, "" where it is not
		changelog, lock  string // "" for what is right
		tag, uncommitted string
		homeless         string // the field that is missing at the top of package.json, and is further down
	}{
		{name: "all-of-one-version"},
		{name: "no-tag", tag: "other", want: "the commit has no tag v9.8.7"},
		{name: "tag-of-another-version", tag: "v9.8.70", want: "the commit has no tag v9.8.7"},
		{name: "no-date", changelog: "## 9.8.7 - Unreleased", want: "web/CHANGELOG.md does not begin with 9.8.7 and its date"},
		{name: "changelog-of-another-version", changelog: "## 9.8.8 - 2030-01-01\n\n## 9.8.7 - 2029-01-01", want: "web/CHANGELOG.md does not begin with 9.8.7 and its date"},
		{name: "lock-of-another-version", lock: "9.8.6", want: "web/package-lock.json is of another version than web/package.json, 9.8.7"},
		{name: "no-repository", homeless: "repository", want: "make module-path"},
		{name: "no-homepage", homeless: "homepage", want: "make module-path"},
		{name: "no-bugs", homeless: "bugs", want: "make module-path"},
		{name: "not-committed", uncommitted: "web/CHANGELOG.md", want: "the tree is not clean"},
		{name: "not-added", uncommitted: "new.go", want: "the tree is not clean"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			versioned(t, dir, "9.8.7", cmp.Or(tt.lock, "9.8.7"), cmp.Or(tt.changelog, "## 9.8.7 - 2030-01-01"))
			if tt.homeless != "" {
				manifest := filepath.Join(dir, "web/package.json")
				writeFile(t, manifest, strings.Replace(readFile(t, manifest), `  "`+tt.homeless+`"`, `  "other": {"`+tt.homeless+`": ""}, "another"`, 1), 0o600)
			}
			git(t, dir, "init --quiet", "add .", "commit --quiet -m x", "tag "+cmp.Or(tt.tag, "v9.8.7"))
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

// TestPublishing has what a release is made of handed to programs that stand in for GitHub's and
// npm's: all of it, with its own entry of the changelog, and nothing of it once a byte is another.
func TestPublishing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	versioned(t, dir, "9.8.7", "9.8.7", "## 9.8.7 - 2030-01-01\n\n- This one.\n\n## 9.8.6 - 2029-01-01\n\n- Another.")
	writeFile(t, dir+"/.gitignore", "/.build/\n/bin/\n/calls\n", 0o600)
	git(t, dir, "init --quiet", "add .", "commit --quiet -m x", "tag v9.8.7")
	const sums = ".build/release/SHA256SUMS"
	writeFile(t, filepath.Join(dir, ".build/release/gridsigner-9.8.7.tgz"), "tarball", 0o600)
	writeFile(t, filepath.Join(dir, sums), fmt.Sprintf("%x  gridsigner-9.8.7.tgz\n", sha256.Sum256([]byte("tarball"))), 0o600)
	standIn(t, dir, "gh", "")
	standIn(t, dir, "npm", "")
	publish := func(target string) (out string) {
		out, _ = inRelease(t, dir, "env", "PATH="+dir+"/bin:"+os.Getenv("PATH"), "make", target)
		return out
	}
	for target, want := range map[string]string{
		"publish-github": "gh release create v9.8.7 --verify-tag --title gridsigner 9.8.7 --notes-file .build/notes.md " + sums + " .build/release/gridsigner-9.8.7.tgz\n",
		"publish-npm":    "npm publish --provenance --access=public ./.build/release/gridsigner-9.8.7.tgz\n",
	} {
		out := publish(target)
		if calls, _ := os.ReadFile(dir + "/calls"); string(calls) != want {
			t.Errorf("%s called %q, want %q:\n%s", target, calls, want, out)
		}
		writeFile(t, dir+"/calls", "", 0o600)
	}
	if notes := readFile(t, dir+"/.build/notes.md"); strings.TrimSpace(notes) != "- This one." {
		t.Errorf("GitHub's release says %q", notes)
	}
	writeFile(t, filepath.Join(dir, ".build/release/gridsigner-9.8.7.tgz"), "another", 0o600)
	for _, target := range []string{"publish-github", "publish-npm"} {
		out := publish(target)
		if calls := readFile(t, dir+"/calls"); calls != "" {
			t.Errorf("%s called %q with what is not what was made:\n%s", target, calls, out)
		}
	}
}

// copyTree copies what is in from to a new directory, without an operator's secrets, which are
// not to be read.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && strings.HasSuffix(filepath.ToSlash(path), "/bridge/deploy/secrets"):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), text, 0o600)
	})
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
			if err := copyTree(filepath.Join(dir, name), filepath.Join(repository, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"go.mod", "go.sum", ".gitignore"} {
			writeFile(t, filepath.Join(dir, name), readFile(t, filepath.Join(repository, name)), 0o600)
		}
		if exists(filepath.Join(dir, "bridge/deploy/secrets")) {
			t.Error("an operator's secrets were copied")
		}
		versioned(t, dir, version, version, "")
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
