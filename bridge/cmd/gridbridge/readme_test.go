package main

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is the block of commands after the marker in a README.
func block(t *testing.T, file string) string {
	t.Helper()
	readme, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "<!-- run by bridge/cmd/gridbridge/readme_test.go -->\n```bash\n")
	if !ok {
		t.Fatalf("%s has no such block", file)
	}
	script, _, _ := strings.Cut(after, "```")
	return script
}

// asReader runs a block as a reader would, in the project's root, and returns what it prints.
func asReader(t *testing.T, script string) string {
	t.Helper()
	root := t.TempDir()
	project, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(root, "bin"), 0o700), os.Symlink(program(t), filepath.Join(root, "bin", "gridbridge")),
		os.Symlink(filepath.Join(project, "bridge"), filepath.Join(root, "bridge"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that its trap ends what it started
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "RUN_AS_GRIDBRIDGE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &stderr)
	}
	return string(out)
}

// TestReadmeCommands runs the README's block of commands: two processes, curl, and
// signatures made by OpenSSL.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("this test needs %s: install it", name)
		}
	}
	out := asReader(t, block(t, "../../../README.md"))
	if got, want := strings.Fields(out), []string{"202", "204", "404"}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("status codes = %v, want %v", got, want)
	}
}

// TestOperatorsCommands runs the block by which the operators' page begins: Redis, nginx and
// two replicas, which the conformance suite passes on. Its ports are others, as somebody else
// may have them.
func TestOperatorsCommands(t *testing.T) {
	t.Parallel()
	tool(t, "nginx", "nginx-light")
	tool(t, "redis-server", "redis-server")
	script := block(t, "../../README.md")
	ports := []string{"3000", "8080", "8443", "6379"}
	for i, address := range freeAddresses(t, len(ports)) {
		_, free, _ := net.SplitHostPort(address)
		script = regexp.MustCompile(`(127\.0\.0\.1[:/]|port |localhost:)`+ports[i]).ReplaceAllString(script, "${1}"+free)
	}
	out := asReader(t, script)
	for _, want := range []string{"the configuration is good\n", "ok\nok\n", "gridbridge_shared_up 1\n", `"msg":"listening"`} {
		if !strings.Contains(out, want) {
			t.Errorf("printed %q, want %q in it", out, want)
		}
	}
}
