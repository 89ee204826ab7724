package bridge

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports holds what an embedder of the bridge gets with it. What needs more is a
// package beside this one.
func TestImports(t *testing.T) {
	allowed := []string{
		"gridsigner/signer", "gridsigner/bridge", "gridsigner/bridge/internal/outbound", "gridsigner/bridge/internal/bounded",
		"github.com/google/uuid",
		"github.com/decred/dcrd/dcrec/secp256k1/v4", "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa", // signer's
	}
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Fields(string(out))
	for _, path := range found {
		if !slices.Contains(allowed, path) {
			t.Errorf("the bridge is linked with %s", path)
		}
	}
	if !slices.Contains(found, "gridsigner/signer") {
		t.Errorf("looked at %q", found)
	}
}

// TestRequirements holds what the module requires that no program of it is linked with.
// Whoever requires it sees it all the same, and so do their scanners: a tool is in a module
// of its own, as those of web/build and bridge/deploy are.
func TestRequirements(t *testing.T) {
	allowed := []string{
		"github.com/santhosh-tekuri/jsonschema/v6", "go.uber.org/goleak", "go.yaml.in/yaml/v2", // tests beside what they test
	}
	list := func(args ...string) []string {
		out, err := exec.Command("go", append([]string{"list"}, args...)...).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	linked := list("-deps", "-f", "{{with .Module}}{{.Path}}{{end}}", "../...")
	required := list("-m", "-f", "{{if not (or .Main .Indirect)}}{{.Path}}{{end}}", "all")
	for _, path := range required {
		if !slices.Contains(linked, path) && !slices.Contains(allowed, path) {
			t.Errorf("the module requires %s, for tests or tools alone", path)
		}
	}
	if len(required) < 10 || !slices.Contains(linked, "github.com/redis/go-redis/v9") {
		t.Errorf("looked at %q, linked with %q", required, linked)
	}
}
