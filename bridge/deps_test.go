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
