package main

import (
	"errors"
	"flag"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// configured starts serve as a file does, but for --config-check, and returns its settings.
// Of a variable that is not the program's somebody expects something.
func configured(t *testing.T, args []string, env map[string]string) (s settings) {
	t.Helper()
	known := []string{"GRID_BASE_URL", "GRID_CLIENT_ID", "GRID_CLIENT_ID_FILE", "GRID_CLIENT_SECRET", "GRID_CLIENT_SECRET_FILE", "GRIDBRIDGE_KEY", "GRIDBRIDGE_KEY_FILE", "OTEL_EXPORTER_OTLP_HEADERS"}
	flags := s.flags()
	flags.VisitAll(func(f *flag.Flag) { known = append(known, variable(f.Name)) })
	for name := range env {
		if !slices.Contains(known, name) {
			t.Errorf("the program has no variable %s", name)
		}
	}
	getenv := func(name string) string { return env[name] }
	if len(args) == 0 || args[0] != "serve" {
		t.Fatalf("arguments = %q, want serve", args)
	}
	if err := run(t.Context(), append(slices.Clone(args), "--config-check"), getenv, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if err := errors.Join(flags.Parse(args[1:]), fromEnv(flags, getenv)); err != nil {
		t.Fatal(err)
	}
	return s
}
