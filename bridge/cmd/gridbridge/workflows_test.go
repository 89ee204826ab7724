package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"
)

// makeTargets are what make can be asked for.
func makeTargets(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindAllStringSubmatch(readFile(t, repository+"/Makefile"), -1) {
		for name := range strings.FieldsSeq(m[1]) {
			all[name] = true
		}
	}
	return all
}

// workflow is what is looked at of a file in .github/workflows.
type workflow struct {
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses        string
		Container   struct{ Image string }
		Permissions map[string]string
		Timeout     any `yaml:"timeout-minutes"`
		Steps       []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

// TestWorkflows holds the workflows to what a reader relies on: they run what can be run by hand,
// somebody else's code only as it was when it was pinned, and no job may do more than it is for.
func TestWorkflows(t *testing.T) {
	mayWrite := map[string]map[string]string{
		"release.yml github": {"contents": "write"},
		"release.yml npm":    {"contents": "read", "id-token": "write"},
	}
	targets := makeTargets(t)
	pinned := regexp.MustCompile(`(?m)uses: (actions/[a-z-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$`)
	pins := map[string]string{}
	compilers := map[string][]string{} // by version
	files, err := filepath.Glob(repository + "/.github/workflows/*")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %q, %v", files, err)
	}
	for _, file := range files {
		text := readFile(t, file)
		var w workflow
		if err := yaml.Unmarshal([]byte(text), &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if !maps.Equal(w.Permissions, map[string]string{"contents": "read"}) {
			t.Errorf("%s: permissions = %v, want to read contents and no more", file, w.Permissions)
		}
		if strings.Contains(text, "secrets") || strings.Contains(text, "pull_request_target") {
			t.Errorf("%s takes a secret, or runs a stranger's code where there are some", file)
		}
		uses := 0
		for name, job := range w.Jobs {
			name = filepath.Base(file) + " " + name
			if !maps.Equal(job.Permissions, mayWrite[name]) {
				t.Errorf("%s: permissions = %v, want %v", name, job.Permissions, mayWrite[name])
			}
			if job.Timeout == nil && !strings.HasPrefix(job.Uses, "./") {
				t.Errorf("%s has no timeout-minutes: it could hang for six hours", name)
			}
			if version, ok := strings.CutPrefix(job.Container.Image, "golang:"); ok {
				version, _, _ = strings.Cut(version, "-")
				compilers[version] = append(compilers[version], name)
			}
			for _, step := range job.Steps {
				if strings.HasPrefix(step.Uses, "actions/setup-go@") {
					version := fmt.Sprint(step.With["go-version"])
					compilers[version] = append(compilers[version], name)
					if step.With["check-latest"] != nil {
						t.Errorf("%s takes another Go than it names", name)
					}
				}
				if step.Uses != "" {
					uses++
				}
				if target, ok := strings.CutPrefix(step.Run, "make "); step.Run != "" && !(ok && targets[target]) {
					t.Errorf("%s runs %q, want make and one of its targets", name, step.Run)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: checkout leaves its token in .git, where every later step finds it", name)
				}
			}
		}
		all := pinned.FindAllStringSubmatch(text, -1)
		if len(all) != uses {
			t.Errorf("%s: %d of %d uses are of GitHub's own actions and pinned, as actions/name@commit # v1.2.3", file, len(all), uses)
		}
		for _, pin := range all {
			if pins[pin[1]] == "" {
				pins[pin[1]] = pin[2] + pin[3]
			}
			if pins[pin[1]] != pin[2]+pin[3] {
				t.Errorf("%s: %s is pinned in two ways", file, pin[1])
			}
		}
	}
	// What is released is compiled by the Go that it was tested with.
	for version, jobs := range compilers {
		if len(compilers) != 1 || !regexp.MustCompile(`^1\.\d+\.\d+$`).MatchString(version) {
			t.Errorf("%q take Go %s, want one exact version in all", jobs, version)
		}
	}
	if len(compilers) == 0 {
		t.Error("no job names its Go")
	}
}
