// Program modulepath moves the Go modules of this repository to another path: the
// first argument, which "make module-path" gives it. It changes what names a Go
// module or package, and leaves the product's name alone, which is that of the npm
// package, of a header and of what is in browsers' storage. Where the path tells the
// repository's address, web/package.json gets it.
//
// It can be run again, with the same path or another.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: make module-path MODULE=github.com/you/gridsigner")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "module-path:", err)
		os.Exit(1)
	}
}

// packages are the directories of the repository that hold Go packages.
const packages = `bridge|signer|wasm|web/build`

func run(to string) error {
	if err := check(to); err != nil {
		return err
	}
	root, err := os.ReadFile("go.mod")
	if err != nil {
		return fmt.Errorf("run it at the root of the repository: %w", err)
	}
	from, err := moduleOf(root)
	if err != nil {
		return err
	}
	changed := 0
	err = filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && (name == "node_modules" || slices.Contains([]string{".git", ".ci", ".build", "bin", "web/dist"}, path)) {
			return fs.SkipDir
		} else if !entry.Type().IsRegular() || !named(name) {
			return nil
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text := move(old, from, to)
		if bytes.Equal(old, text) {
			return nil
		}
		if filepath.Ext(path) == ".go" { // whose imports are sorted
			if text, err = format.Source(text); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		changed++
		return os.WriteFile(path, text, 0o644)
	})
	if err != nil {
		return err
	}
	fmt.Printf("from %s to %s: %d files\n", from, to, changed)
	return setRepository("web/package.json", to)
}

// moduleOf reads the path of a go.mod.
func moduleOf(text []byte) (string, error) {
	m := regexp.MustCompile(`(?m)^module ([^\s"]+)$`).FindSubmatch(text)
	if m == nil {
		return "", errors.New("go.mod has no line \"module path\", without quotes or a comment")
	}
	return string(m[1]), nil
}

// check refuses what the go command could not fetch, and what is not the root of a repository.
func check(path string) error {
	elements := strings.Split(path, "/")
	switch {
	case !regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[A-Za-z0-9_~-]+(\.[A-Za-z0-9_~-]+)*)+$`).MatchString(path):
		return fmt.Errorf("%q is no path that go get could fetch: want one like github.com/you/gridsigner", path)
	case regexp.MustCompile(`^v[0-9]+$`).MatchString(elements[len(elements)-1]):
		return fmt.Errorf("%q ends with a major version, and there is none yet", path)
	case elements[0] == "github.com" && len(elements) != 3:
		return fmt.Errorf("%q is not the root of a repository of github.com", path)
	}
	return nil
}

// named reports whether files of a name may name Go packages. Scripts of the web do not:
// there, gridsigner is the npm package.
func named(file string) bool {
	return slices.Contains([]string{".go", ".mod", ".md", ".yaml", ".yml", ".sh"}, filepath.Ext(file)) ||
		slices.Contains([]string{"Makefile", "Dockerfile"}, file)
}

// What is before a module on its line, where the go command takes one; what is behind the module
// of a package of ours; and what is behind it in an address, which may end a sentence.
var (
	takesModule = regexp.MustCompile(`(\bgo (get|install|mod edit) (-\S+ )*|^\s*(module|require|replace) +|^\t)$`)
	ofPackage   = regexp.MustCompile(`^/(` + packages + `)(/.*|\.[A-Z].*|\.)?$`)

	behindAddress = regexp.MustCompile(`^((\.git)?\.?|/.*)$`)
)

// move puts to in the place of from where it is a Go path.
func move(text []byte, from, to string) []byte {
	var moved []byte
	done := 0
	for _, at := range regexp.MustCompile(regexp.QuoteMeta(from)+`[\w./-]*`).FindAllIndex(text, -1) {
		end := at[0] + len(from)
		line := string(text[bytes.LastIndexByte(text[:at[0]], '\n')+1 : at[0]])
		rest := string(text[end:at[1]])
		is := false
		switch {
		case strings.HasSuffix(line, "://pkg.go.dev/"), strings.HasSuffix(line, "://") && strings.Contains(from, "."): // links
			is = behindAddress.MatchString(rest)
		case regexp.MustCompile(`[\w./-]$`).MatchString(line): // the end of another name
		case rest == "":
			is = takesModule.MatchString(line)
		case rest == "/": // the beginning of our packages, for a test
			is = strings.HasSuffix(line, `"`) && bytes.HasPrefix(text[at[1]:], []byte(`"`))
		default:
			is = ofPackage.MatchString(rest)
		}
		if is {
			moved = append(append(moved, text[done:at[0]]...), to...)
			done = end
		}
	}
	return append(moved, text[done:]...)
}

// setRepository gives the npm package the addresses of the repository, or none where the path
// does not tell them. Everything else in its file stays as it is.
func setRepository(file, module string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	addresses := map[string]string{}
	if host, _, _ := strings.Cut(module, "/"); host == "github.com" || host == "gitlab.com" {
		url := "https://" + module
		addresses["repository"] = `{
    "type": "git",
    "url": "git+` + url + `.git",
    "directory": "web"
  }`
		addresses["homepage"] = `"` + url + `#readme"`
		addresses["bugs"] = `{
    "url": "` + url + `/issues"
  }`
	} else {
		fmt.Printf("%s: set repository, homepage and bugs yourself: %s does not tell them\n", file, module)
	}
	in := json.NewDecoder(bytes.NewReader(text))
	if _, err := in.Token(); err != nil { // {
		return err
	}
	var members []string
	for in.More() {
		name, err := in.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := in.Decode(&value); err != nil {
			return err
		}
		switch name {
		case "repository", "homepage", "bugs":
		default:
			members = append(members, fmt.Sprintf("  %q: %s", name, value))
		}
		if name == "license" {
			for _, name := range []string{"repository", "homepage", "bugs"} {
				if address := addresses[name]; address != "" {
					members = append(members, fmt.Sprintf("  %q: %s", name, address))
				}
			}
		}
	}
	return os.WriteFile(file, []byte("{\n"+strings.Join(members, ",\n")+"\n}\n"), 0o644)
}
