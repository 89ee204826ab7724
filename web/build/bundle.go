package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/evanw/esbuild/pkg/api"
)

// wasmExecNotice goes on top of runtime.js: wasm_exec.js states its licence in a
// comment that a bundler does not take for one.
const wasmExecNotice = `/*! Contains wasm_exec.js of Go: Copyright 2018 The Go Authors, BSD-style licence, see NOTICE. */`

// script is one ES module to make.
type script struct {
	entry     string            // its source, below web
	constants map[string]string // identifiers to replace, and by what expression
	first     []string          // scripts that run before it
	banner    string            // goes on top
	packaged  string            // where it finds gridsigner.js, if it imports that
	errors    string            // what it has in the place of src/errors.ts
	readable  bool              // not minified, for who steps through it
}

var (
	packageEntry = script{entry: "src/index.ts"}
	workerEntry  = script{entry: "src/worker.ts"}
	reactEntry   = script{entry: "src/react/index.ts"}
	demoEntry    = script{entry: "demo/demo.ts", packaged: "../gridsigner.js"}
	testingEntry = script{
		entry: "src/testing/index.ts", packaged: "./gridsigner.js", errors: "src/testing/errors.ts", readable: true,
		first: []string{"src/testing/surroundings.ts"}, // whose exports are globals to it
	}
)

// runtimeEntry is the script that runs module and knows it by size and hash.
// wasm_exec.js is of the Go that compiled the module: the two must match.
func runtimeEntry(tools toolchain, module []byte) script {
	return script{
		entry:  "src/runtime.ts",
		first:  []string{filepath.Join(tools.goroot, "lib", "wasm", "wasm_exec.js")},
		banner: wasmExecNotice,
		constants: map[string]string{
			"WASM_SIZE":   strconv.Itoa(len(module)),
			"WASM_SHA256": fmt.Sprintf(`"%x"`, sha256.Sum256(module)),
		},
	}
}

// bundle makes one ES module of a script and all that it imports, with its source map.
func bundle(tools toolchain, files map[string][]byte, name string, s script) error {
	result := api.Build(api.BuildOptions{
		AbsWorkingDir:     tools.web,
		EntryPoints:       []string{s.entry},
		Outfile:           "dist/" + name,
		Bundle:            true,
		Platform:          api.PlatformBrowser,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		Charset:           api.CharsetUTF8,
		MinifyWhitespace:  !s.readable,
		MinifyIdentifiers: !s.readable,
		MinifySyntax:      !s.readable,
		Sourcemap:         api.SourceMapLinked,
		LegalComments:     api.LegalCommentsInline,
		Define:            s.constants,
		Banner:            map[string]string{"js": s.banner},
		Inject:            s.first,
		Plugins:           []api.Plugin{imports(s, tools.web)},
		LogLevel:          api.LogLevelSilent, // the messages are in the result
	})
	messages := append(result.Errors, result.Warnings...) // a warning is a mistake nobody has made yet
	if len(messages) > 0 {
		text := api.FormatMessages(messages, api.FormatMessagesOptions{})
		return errors.New("bundling " + s.entry + ":\n" + strings.Join(text, ""))
	}
	sourceMap, code := result.OutputFiles[0].Contents, result.OutputFiles[1].Contents
	var err error
	files[name], files[name+".map"], err = markForeignImports(code, sourceMap)
	return err
}

// imports resolves the names that are no files of the script's own.
func imports(s script, web string) api.Plugin {
	return api.Plugin{Name: "imports", Setup: func(build api.PluginBuild) {
		// The package that users get, which is shared with whatever else of the page imports it.
		build.OnResolve(api.OnResolveOptions{Filter: `^gridsigner$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: s.packaged, External: true}, nil
		})
		// A second React in an app would be one without a renderer: the hook has to use the app's.
		build.OnResolve(api.OnResolveOptions{Filter: `^react$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: "react", External: true}, nil
		})
		build.OnResolve(api.OnResolveOptions{Filter: `/errors\.ts$`}, func(args api.OnResolveArgs) (api.OnResolveResult, error) {
			instead := filepath.Join(web, filepath.FromSlash(s.errors))
			if s.errors == "" || args.Importer == instead { // which imports the other
				return api.OnResolveResult{}, nil
			}
			return api.OnResolveResult{Path: instead}, nil
		})
	}}
}
