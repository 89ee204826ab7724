package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadmeCommands runs the README's block of commands as a reader would:
// two processes, curl, and signatures made by OpenSSL.
func TestReadmeCommands(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(readme), "<!-- run by bridge/cmd/gridbridge/readme_test.go -->\n```bash\n")
	if !ok {
		t.Fatal("the README has no such block")
	}
	script, _, _ := strings.Cut(after, "```")
	for _, tool := range []string{"bash", "curl", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("this test needs %s: install it", tool)
		}
	}
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "bin"), 0o700), os.Symlink(program(t), filepath.Join(root, "bin", "gridbridge"))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
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
	if got, want := strings.Fields(string(out)), []string{"202", "204", "404"}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("status codes = %v, want %v\n%s", got, want, &stderr)
	}
}
