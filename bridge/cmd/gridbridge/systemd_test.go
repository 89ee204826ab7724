package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestSystemd reads the unit as systemd does, and starts the program as the unit does.
func TestSystemd(t *testing.T) {
	t.Parallel()
	analyze := tool(t, "systemd-analyze", "systemd")
	text := readFile(t, deployDir+"/gridbridge@.service")
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "gridbridge@.service")
	writeFile(t, unit, strings.ReplaceAll(text, "/usr/local/bin/gridbridge", program), 0o644)
	if out, err := exec.Command(analyze, "verify", strings.Replace(unit, "@", "@1", 1)).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("verify: %v\n%s", err, out)
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--threshold=15", unit).CombinedOutput(); err != nil { // of 100
		t.Errorf("security: %v\n%s", err, out)
	}

	for instance := 1; instance <= 2; instance++ {
		credentials, logs := t.TempDir(), t.TempDir()
		specifiers := strings.NewReplacer("%i", strconv.Itoa(instance), "%d", credentials, "%L", logs)
		env := map[string]string{ // which are the operator's: /etc/gridbridge/environment
			"GRIDBRIDGE_FORWARD_AUTH": "http://127.0.0.1:3000/whoami", "GRIDBRIDGE_TRUSTED_PROXY": "127.0.0.1", "GRIDBRIDGE_REDIS_URL": "redis://gridbridge:password@127.0.0.1:6379/0",
		}
		var start []string
		var timeout time.Duration
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			value = specifiers.Replace(value)
			switch key {
			case "Environment":
				for _, setting := range strings.Fields(value) {
					name, value, _ := strings.Cut(setting, "=")
					env[name] = value
				}
			case "LoadCredential":
				name, _, _ := strings.Cut(value, ":")
				writeFile(t, filepath.Join(credentials, name), strings.Repeat(name, 5)+"\n", 0o400)
			case "LogsDirectory":
				if err := os.MkdirAll(filepath.Join(logs, value), 0o700); err != nil {
					t.Fatal(err)
				}
			case "ExecStart":
				start = strings.Fields(value)[1:]
			case "TimeoutStopSec":
				seconds, err := strconv.Atoi(value)
				if err != nil {
					t.Fatal(err)
				}
				timeout = time.Duration(seconds) * time.Second
			}
		}
		if s := configured(t, start, env); timeout < longestStop(s) {
			t.Errorf("TimeoutStopSec = %s, want %s", timeout, longestStop(s))
		}
	}
}
