package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestContributorsCommands runs each block of commands of CONTRIBUTING.md.
func TestContributorsCommands(t *testing.T) {
	ways := map[string]func(*testing.T, string){", of which it holds the names": byName, ", as a release": byRelease}
	all := commands(t, repository+"/CONTRIBUTING.md")
	for i, c := range all {
		run := ways[c.how]
		if run == nil {
			t.Errorf("it is not known how to run\n%s", c.script)
			continue
		}
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			t.Parallel()
			run(t, c.script)
		})
	}
	if len(all) != 3 {
		t.Errorf("%d blocks of commands, want 3", len(all))
	}
}

// byName stands in for programs that would take minutes, or install something, and wants the
// targets, tests and files to be there that they are called with.
func byName(t *testing.T, script string) {
	root := t.TempDir()
	project, err := filepath.Abs(repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(project+"/web", root+"/web"); err != nil {
		t.Fatal(err)
	}
	for name, does := range map[string]string{
		"make": "", "go": "", "npm": "", "sudo": `exec "$@"`,
		"node": `for file; do case $file in -*) ;; *) test -e "$file" || { echo "there is no $file" >&2; exit 1; } ;; esac; done`,
	} {
		standIn(t, root, name, does)
	}
	asReader(t, root, "", script)
	targets, makefile := makeTargets(t), readFile(t, repository+"/Makefile")
	var npm struct{ Scripts map[string]string }
	if err := json.Unmarshal([]byte(readFile(t, repository+"/web/package.json")), &npm); err != nil {
		t.Fatal(err)
	}
	for call := range strings.Lines(readFile(t, root+"/calls")) {
		words := strings.Fields(call)
		switch words[0] {
		case "make":
			for _, target := range words[1:] {
				if !targets[target] && !strings.Contains(makefile, "\n"+target+": ") {
					t.Errorf("%sthere is no %s", call, target)
				}
			}
		case "npm":
			if len(words) != 3 || words[1] != "run" || npm.Scripts[words[2]] == "" {
				t.Errorf("%sthere is no such script", call)
			}
		case "go":
			tests := ""
			files, _ := filepath.Glob(filepath.Join(repository, words[len(words)-1], "*_test.go"))
			for _, file := range files {
				tests += readFile(t, file)
			}
			for i, word := range words {
				if (word == "-run" || word == "-fuzz") && words[i+1] != "^$" && !strings.Contains(tests, "\nfunc "+words[i+1]+"(") {
					t.Errorf("%sthere is no %s", call, words[i+1])
				}
			}
		}
	}
}

// byRelease makes a release of what says which version it is, and of nothing else, up to the
// push: the tag has to arrive.
func byRelease(t *testing.T, script string) {
	tool(t, "npm", "npm")
	version := regexp.MustCompile(`git tag v(\S+)`).FindStringSubmatch(script)[1]
	origin, root := t.TempDir(), t.TempDir()
	versioned(t, root, "0.0.1", "0.0.1", "## "+version+" - 2030-01-01")
	writeFile(t, root+"/.gitignore", "/bin/\n/bridge/\n/calls\n", 0o600)
	git(t, origin, "init --quiet --bare")
	git(t, root, "init --quiet --initial-branch=main", "remote add origin "+origin, "add .", "commit --quiet -m x")
	standIn(t, root, "make", `test "$*" = release && exec `+tool(t, "make", "make")+` --no-print-directory tagged`)
	asReader(t, root, "", script, slices.DeleteFunc(asReleaser(), func(v string) bool { return strings.HasPrefix(v, "PATH=") })...)
	if got, err := inRelease(t, origin, "git", "for-each-ref", "--format=%(refname)"); got != "refs/heads/main\nrefs/tags/v"+version+"\n" {
		t.Errorf("pushed were %q, %v", got, err)
	}
	if calls := readFile(t, root+"/calls"); calls != "make release\n" {
		t.Errorf("called were %q", calls)
	}
}
