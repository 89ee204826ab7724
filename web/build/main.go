// Program build makes web/dist, the npm package and the demo page, from the
// sources in web and a signer.wasm that is already built. It needs Go and
// nothing else: bundling is esbuild's Go API, compression a Go library. They are
// why it is a module of its own: whoever uses the other one gets neither. It runs
// in its own directory:
//
//	go run -C web/build .
//
// The same sources and the same toolchain give the same bytes, wherever and
// whenever it runs.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// curveModule is the one dependency that is compiled into signer.wasm.
const curveModule = "github.com/decred/dcrd/dcrec/secp256k1/v4"

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "web/build:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stdout, stderr io.Writer) error {
	tools, err := findToolchain()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("build", flag.ContinueOnError)
	flags.SetOutput(stderr)
	out := flags.String("out", filepath.Join(tools.web, "dist"), "directory to write to")
	version := flags.Bool("version", false, "print the versions that the output depends on, and make none")
	wasm := flags.String("wasm", "", "signer.wasm to pack (default: the one in the output directory)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *version {
		_, err := fmt.Fprintf(stdout, "web/build, %s, secp256k1 %s%s\n", tools.version, tools.curve, linked())
		return err
	}
	if *wasm == "" {
		*wasm = filepath.Join(*out, "signer.wasm")
	}
	module, err := os.ReadFile(*wasm)
	if err != nil {
		return fmt.Errorf("reading the module, which make builds first: %w", err)
	}
	files, err := assemble(tools, module)
	if err != nil {
		return err
	}
	info, err := writeAll(*out, files)
	if err != nil {
		return err
	}
	info.Version, info.Go, info.Secp256k1 = tools.release, tools.version, tools.curve
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(*out, "build-info.json"), append(text, '\n'), 0o644); err != nil {
		return err
	}
	for _, name := range []string{"gridsigner.js", "react.js", "worker.js", "runtime.js", "testing.js", "signer.wasm"} {
		f := info.Files[name]
		fmt.Fprintf(stdout, "%-14s %9d bytes, %8d with brotli, sha256 %s\n", name, f.Size, f.Brotli, f.SHA256)
	}
	return nil
}

// toolchain is what the output depends on besides the sources.
type toolchain struct {
	web     string // the web directory
	goroot  string
	version string // of Go
	release string // version of the package
	curve   string // version of curveModule
}

// findToolchain asks the go command, of the project's module for what its go.mod says.
func findToolchain() (toolchain, error) {
	out, err := goCommand("", "env", "GOROOT", "GOVERSION", "GOMOD")
	if err != nil {
		return toolchain{}, err
	}
	env := strings.Split(out, "\n")
	if len(env) != 3 || !strings.HasSuffix(filepath.ToSlash(env[2]), "/web/build/go.mod") {
		return toolchain{}, errors.New("run it in its directory, web/build")
	}
	web := filepath.Dir(filepath.Dir(env[2]))
	curve, err := goCommand(filepath.Dir(web), "list", "-m", "-f", "{{.Version}}", curveModule)
	if err != nil {
		return toolchain{}, err
	}
	text, err := os.ReadFile(filepath.Join(web, "package.json"))
	if err != nil {
		return toolchain{}, err
	}
	var manifest struct{ Version string }
	err = json.Unmarshal(text, &manifest)
	return toolchain{web, env[0], env[1], manifest.Version, curve}, err
}

// linked is what this program is made of.
func linked() (versions string) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			versions += ", " + path.Base(m.Path) + " " + m.Version
		}
	}
	return versions
}

func goCommand(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		detail := ""
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			detail = ": " + strings.TrimSpace(string(exit.Stderr))
		}
		return "", fmt.Errorf("go %s: %w%s", strings.Join(args, " "), err, detail)
	}
	return strings.TrimSuffix(string(out), "\n"), nil
}

// assemble returns every file of the output directory, by slash-separated name.
func assemble(tools toolchain, module []byte) (map[string][]byte, error) {
	files := map[string][]byte{"signer.wasm": module}
	for name, s := range map[string]script{
		"gridsigner.js": packageEntry, "react.js": reactEntry, "testing.js": testingEntry, "worker.js": workerEntry,
		"runtime.js": runtimeEntry(tools, module),
	} {
		if err := bundle(tools, files, name, s); err != nil {
			return nil, err
		}
	}
	// Declarations and nothing else, so they need no compiler to become a .d.ts.
	for name, source := range map[string]string{
		"gridsigner.d.ts": "types.ts", "react.d.ts": "react/types.ts", "testing.d.ts": "testing/types.ts",
		"worker.d.ts": "assets/script.ts", "runtime.d.ts": "assets/script.ts", "signer.wasm.d.ts": "assets/url.ts",
	} {
		var err error
		if files[name], err = os.ReadFile(filepath.Join(tools.web, "src", source)); err != nil {
			return nil, err
		}
	}
	return files, addDemo(tools, files)
}

// addDemo bundles the demo page's script and takes its other files as they are.
// Where there is no demo directory there is no demo.
func addDemo(tools toolchain, files map[string][]byte) error {
	dir := filepath.Join(tools.web, "demo")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || filepath.Ext(name) == ".ts" || filepath.Ext(name) == ".md" {
			continue
		}
		if files["demo/"+name], err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return bundle(tools, files, "demo/demo.js", demoEntry)
}
