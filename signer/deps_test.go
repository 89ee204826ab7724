//go:build !js

package signer

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestModuleDependencies keeps what is compiled into signer.wasm small, and
// what decides about a signature free of I/O.
func TestModuleDependencies(t *testing.T) {
	forbidden := map[string]string{
		"compress/zlib":          "decompresses dcrd's table, which is left out",
		"crypto/ecdsa":           "with crypto/elliptic it adds 100 kB after brotli; WebCrypto has P-256",
		"crypto/elliptic":        "WebCrypto has P-256",
		"crypto/rand":            "adds 20 kB after brotli; the browser has crypto.getRandomValues",
		"encoding/hex":           "imports fmt; hex.go is enough",
		"fmt":                    "brings reflect and os, and prints secrets if it is let",
		"math/big":               "brings fmt, and is not constant-time",
		"os":                     "there are no files",
		"reflect":                "keeps what the linker would leave out",
		"net/http":               "adds 1.4 MB after brotli; the browser has fetch",
		"net":                    "the browser has fetch",
		"encoding/json":          "adds 100 kB after brotli, and is too lenient to judge a payload",
		"crypto/aes":             "WebCrypto has it",
		"crypto/cipher":          "adds 50 kB after brotli, and os with it: see overlay.json in the Makefile",
		"crypto/hkdf":            "WebCrypto has it",
		"crypto/hmac":            "WebCrypto has HKDF, which is all that needs it",
		"crypto/hpke":            "adds 800 kB after brotli; hpke.go puts WebCrypto's pieces together",
		"crypto/tls":             "the browser has TLS",
		"crypto/x509":            "adds a root store; nothing here has certificates",
		"github.com/google/uuid": "pulls in encoding/json and database/sql/driver",
		"log":                    "a module that logs can leak",
		"testing":                "belongs in tests",
	}
	const mod = "../.build/wasm.mod" // what the module is built of
	if _, err := os.Stat(mod); err != nil {
		t.Skip("make wasm first")
	}
	cmd := exec.Command("go", "list", "-modfile="+mod, "-overlay=../.build/overlay.json", "-tags=tinygo", "-deps", "../wasm")
	cmd.Env = append(cmd.Environ(), "GOOS=js", "GOARCH=wasm")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	for _, dep := range deps {
		if why, ok := forbidden[dep]; ok {
			t.Errorf("wasm imports %s: %s", dep, why)
		}
		if strings.HasPrefix(dep, "gridsigner/") && dep != "gridsigner/signer" && dep != "gridsigner/wasm" {
			t.Errorf("wasm imports %s: of ours it may use signer alone", dep)
		}
	}
	if len(deps) < 50 {
		t.Errorf("go list named %d packages: the test looks at nothing", len(deps))
	}

	out, err = exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, dep := range strings.Fields(string(out)) {
		switch dep {
		case "os", "net", "net/http", "syscall", "syscall/js", "encoding/json", "fmt", "log", "math/rand", "math/rand/v2":
			t.Errorf("signer imports %s: it does no I/O, has no randomness but what crypto/rand gives P-256, and reads JSON strictly", dep)
		}
		if strings.HasPrefix(dep, "gridsigner/") {
			t.Errorf("signer imports %s: it imports nothing of ours", dep)
		}
	}
}
