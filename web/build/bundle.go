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
}

var (
	packageEntry = script{entry: "src/index.ts"}
	workerEntry  = script{entry: "src/worker.ts"}
	reactEntry   = script{entry: "src/react/index.ts"}
	demoEntry    = script{entry: "demo/demo.ts"}
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
		MinifyWhitespace:  true,
		MinifyIdentifiers: true,
		MinifySyntax:      true,
		Sourcemap:         api.SourceMapLinked,
		LegalComments:     api.LegalCommentsInline,
		Define:            s.constants,
		Banner:            map[string]string{"js": s.banner},
		Inject:            s.first,
		Plugins:           []api.Plugin{imports},
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

// imports resolves the names that are no files of ours.
var imports = api.Plugin{Name: "imports", Setup: func(build api.PluginBuild) {
	// The demo uses the package that users get, and shares it with other pages.
	build.OnResolve(api.OnResolveOptions{Filter: `^gridsigner$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
		return api.OnResolveResult{Path: "../gridsigner.js", External: true}, nil
	})
	// A second React in an app would be one without a renderer: the hook has to use the app's.
	build.OnResolve(api.OnResolveOptions{Filter: `^react$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
		return api.OnResolveResult{Path: "react", External: true}, nil
	})
}}
