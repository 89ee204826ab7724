package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// The codes are written down twice, in Go and in TypeScript. This is what keeps
// the two lists one.
func TestErrorCodesAreThoseOfSigner(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../signer/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Kind" {
			for _, value := range spec.Values {
				code, err := strconv.Unquote(value.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, code)
			}
		}
		return true
	})

	source, err := os.ReadFile("../src/types.ts")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(source), "export type ErrorCode =")
	union, _, _ := strings.Cut(after, ";\n")
	var got []string
	for _, match := range regexp.MustCompile(`\| "(\w+)"`).FindAllStringSubmatch(union, -1) {
		got = append(got, match[1])
	}

	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("ErrorCode of src/types.ts = %v\nsigner/errors.go has        %v", got, want)
	}
}

func TestTwoBuildsGiveTheSameBytes(t *testing.T) {
	first := build(t)
	second, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range first {
		if !bytes.Equal(content, second[name]) {
			t.Errorf("%s differs between two builds", name)
		}
	}
	if len(first) != len(second) {
		t.Errorf("got %d files, then %d", len(first), len(second))
	}
}

func TestBuildInfoDescribesThePackage(t *testing.T) {
	files := build(t)
	var info buildInfo
	if err := json.Unmarshal(files["build-info.json"], &info); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		if ext := filepath.Ext(name); ext == ".br" || ext == ".gz" || strings.HasPrefix(name, "demo/") || name == "build-info.json" {
			continue
		}
		sri := sha512.Sum384(content)
		want := fileInfo{
			fmt.Sprintf("%x", sha256.Sum256(content)), "sha384-" + base64.StdEncoding.EncodeToString(sri[:]), len(content), len(files[name+".br"]), len(files[name+".gz"]),
		}
		if got := info.Files[name]; got != want {
			t.Errorf("build-info.json on %s = %+v, want %+v", name, got, want)
		}
		delete(info.Files, name)
	}
	if len(info.Files) > 0 {
		t.Errorf("build-info.json has %v too", info.Files)
	}
	if info.Version == "" || !strings.HasPrefix(info.Go, "go1.") || !strings.HasPrefix(info.Secp256k1, "v4.") {
		t.Errorf("versions = %q, %q, %q", info.Version, info.Go, info.Secp256k1)
	}
}

// What an earlier build compressed is used again, unless it is of something else, or no good.
func TestStaleCompressionIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.js")
	content := []byte("the new script")
	br, gz, err := compress(content)
	if err != nil {
		t.Fatal(err)
	}
	staleBr, staleGz, err := compress([]byte("the old script"))
	if err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][2][]byte{
		"none": {}, "good": {br, gz}, "old brotli": {staleBr, gz}, "old gzip": {br, staleGz}, "broken": {br[:3], gz[:3]}, "longer": {append(bytes.Clone(br), br...), gz},
	} {
		for i, suffix := range []string{".br", ".gz"} {
			os.Remove(path + suffix)
			if files[i] != nil {
				if err := os.WriteFile(path+suffix, files[i], 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		gotBr, gotGz, err := compressed(path, content)
		if err != nil || !bytes.Equal(gotGz, gz) || !bytes.Equal(gotBr, br) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A page of a wallet runs under script-src 'self'. No file may need more.
func TestScriptsNeedNoLaxPolicy(t *testing.T) {
	forbidden := regexp.MustCompile(`\beval\(|new Function\b|createObjectURL|document\.write|\.innerHTML`)
	for name, content := range build(t) {
		if filepath.Ext(name) != ".js" {
			continue
		}
		if found := forbidden.Find(content); found != nil {
			t.Errorf("%s holds %q", name, found)
		}
	}
}

func TestMissingModuleIsSaid(t *testing.T) {
	err := run([]string{"-out", t.TempDir()}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "which make builds first") {
		t.Errorf("error = %v", err)
	}
}

func TestVersion(t *testing.T) {
	var out strings.Builder
	if err := run([]string{"--version"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^web/build, go1\..*, secp256k1 v4\..*, brotli v1\..*, esbuild v0\..*\n$`).MatchString(out.String()) {
		t.Errorf("printed %q", &out)
	}
}

// built is what one run of the program made: a run takes seconds, and nobody changes its files.
var built = sync.OnceValues(buildOnce)

func build(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return maps.Clone(files)
}

// buildOnce runs the program with a stand-in for the module, since its content
// does not matter here and compressing the real one takes seconds.
func buildOnce() (map[string][]byte, error) {
	dir, err := os.MkdirTemp("", "build")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	wasm, out := filepath.Join(dir, "signer.wasm"), filepath.Join(dir, "out")
	if err := os.WriteFile(wasm, []byte("\x00asm\x01\x00\x00\x00"), 0o644); err != nil {
		return nil, err
	}
	if err := run([]string{"-wasm", wasm, "-out", out}, io.Discard, io.Discard); err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	err = filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(out, path)
		if err != nil {
			return err
		}
		files[filepath.ToSlash(name)], err = os.ReadFile(path)
		return err
	})
	return files, err
}
