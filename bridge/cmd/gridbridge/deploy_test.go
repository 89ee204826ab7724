package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Where the files are that others run the program by.
const (
	repository = "../../.."
	deployDir  = repository + "/bridge/deploy"
)

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t *testing.T, name, text string, mode fs.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode)); err != nil {
		t.Fatal(err)
	}
}

// longestStop is how long serve may take to end after SIGTERM. Whoever waits for less
// kills it, and what it was doing.
func longestStop(s settings) time.Duration {
	return s.drainDelay + s.timeout + shutdownMargin + otlpPatience
}

// configured makes of a file's arguments and variables what serve makes of them before it
// listens, and returns its settings. Whom they name does not answer here.
func configured(t *testing.T, args []string, env map[string]string) (s settings) {
	t.Helper()
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("arguments = %q, want serve", args)
	}
	sys := system{getenv: func(name string) string { return env[name] }, stdout: io.Discard, stderr: io.Discard, sleep: time.Sleep, now: time.Now}
	for name, value := range env {
		sys.environ = append(sys.environ, name+"="+value)
	}
	flags := s.flags()
	err := errors.Join(flags.Parse(args[1:]), fromEnv(flags, sys.getenv), s.check(), s.checkSettings(flags, sys))
	v, errBuild := s.build(t.Context(), sys)
	if err := errors.Join(err, errBuild, v.close()); err != nil {
		t.Fatal(err)
	}
	return s
}
