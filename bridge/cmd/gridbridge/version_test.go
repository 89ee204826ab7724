package main

import (
	"encoding/json"
	"io"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestVersion(t *testing.T) {
	for _, command := range []string{"version", "--version", "-version"} {
		var out strings.Builder
		err := run(t.Context(), []string{command}, func(string) string { return "" }, &out, io.Discard)
		if err != nil || !regexp.MustCompile(`^gridbridge \S+, revision \S+, go1\.\S+\n$`).MatchString(out.String()) {
			t.Errorf("%s = %q, %v", command, out.String(), err)
		}
	}
}

// TestStartIsTold wants one line of the log that says what has started, and no secret in it.
func TestStartIsTold(t *testing.T) {
	env := map[string]string{"GRIDBRIDGE_REDIS_URL": "redis://:canary-password@127.0.0.1:1"}
	for name, value := range serveEnv {
		env[name] = value
	}
	p := start(t, env, "serve", "--listen", "127.0.0.1:0", "--admin-listen", "unix:"+t.TempDir()+"/admin", "--drain-delay", "0s", "--forward-auth", "https://app.example/?canary-query", "--trusted-proxy", "10.0.0.1",
		"--prefix", "/p", "--timeout", "3s")
	at := strings.TrimPrefix(p.line(), "bridge listening on ")
	admin := strings.TrimPrefix(p.line(), "metrics and health on ")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(p.stderr.String(), `"listening"`) && time.Now().Before(deadline); runtime.Gosched() { // it is written beside
	}
	log := p.stderr.String()
	var told map[string]any
	for line := range strings.Lines(log) {
		if strings.Contains(line, `"msg":"listening"`) {
			if err := json.Unmarshal([]byte(line), &told); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range map[string]any{
		"address": strings.TrimSuffix(at, "/p"), "prefix": "/p", "tls": false, "admin": admin, "users": "forward-auth", "shared": true, "trustedProxies": 1.0, "trustUnix": false, "timeout": 3e9,
	} {
		if told[name] != want {
			t.Errorf("%s = %v, want %v", name, told[name], want)
		}
	}
	if strings.Contains(log, "canary") || strings.Count(log, `"listening"`) != 1 {
		t.Errorf("log = %s", log)
	}
}
