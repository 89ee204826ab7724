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

// wasmExecNotice goes on top of worker.js: wasm_exec.js states its licence in a
// comment that a bundler does not take for one.
const wasmExecNotice = `/*! Contains wasm_exec.js of Go: Copyright 2018 The Go Authors, BSD-style licence, see NOTICE. */`

// script is one ES module to make.
type script struct {
	entry     string            // its source, below web
	constants map[string]string // identifiers to replace, and by what expression
	banner    string            // goes on top
	readable  bool              // not minified
}

// The package's own entries are not minified. The apps' bundlers do that, and they
// need the comments in it that keep them from rewriting an import; whoever
// debugs or audits an app meets readable code.
var (
	packageEntry = script{entry: "src/index.ts", readable: true}
	reactEntry   = script{entry: "src/react/index.ts", readable: true}
	demoEntry    = script{entry: "demo/demo.ts"}
)

// workerEntry is the script that runs module and knows it by size and hash.
func workerEntry(module []byte) script {
	return script{
		entry:  "src/worker.ts",
		banner: wasmExecNotice,
		constants: map[string]string{
			"WASM_SIZE":   strconv.Itoa(len(module)),
			"WASM_SHA256": fmt.Sprintf(`"%x"`, sha256.Sum256(module)),
		},
	}
}

// bundle makes one ES module of a script and all that it imports. There is no
// source map: it would be the largest text of the package and is not needed
// where the code is readable or in the repository.
func bundle(tools toolchain, s script) ([]byte, error) {
	result := api.Build(api.BuildOptions{
		AbsWorkingDir:     tools.web,
		EntryPoints:       []string{s.entry},
		Bundle:            true,
		Platform:          api.PlatformBrowser,
		Format:            api.FormatESModule,
		Target:            api.ES2022,
		Charset:           api.CharsetUTF8,
		MinifyWhitespace:  !s.readable,
		MinifyIdentifiers: !s.readable,
		MinifySyntax:      !s.readable,
		LegalComments:     api.LegalCommentsInline,
		Define:            s.constants,
		Banner:            map[string]string{"js": s.banner},
		Plugins:           []api.Plugin{imports(tools)},
		LogLevel:          api.LogLevelSilent, // the messages are in the result
	})
	messages := append(result.Errors, result.Warnings...) // a warning is a mistake nobody has made yet
	if len(messages) > 0 {
		text := api.FormatMessages(messages, api.FormatMessagesOptions{})
		return nil, errors.New("bundling " + s.entry + ":\n" + strings.Join(text, ""))
	}
	return result.OutputFiles[0].Contents, nil
}

// imports resolves the names that are no files of ours.
func imports(tools toolchain) api.Plugin {
	return api.Plugin{Name: "imports", Setup: func(build api.PluginBuild) {
		build.OnResolve(api.OnResolveOptions{Filter: `^wasm_exec\.js$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: filepath.Join(tools.goroot, "lib", "wasm", "wasm_exec.js")}, nil
		})
		// The demo uses the package that users get, and shares it with other pages.
		build.OnResolve(api.OnResolveOptions{Filter: `^gridsigner$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: "../gridsigner.js", External: true}, nil
		})
		// A second React in an app would be one without a renderer: the hook has to use the app's.
		build.OnResolve(api.OnResolveOptions{Filter: `^react$`}, func(api.OnResolveArgs) (api.OnResolveResult, error) {
			return api.OnResolveResult{Path: "react", External: true}, nil
		})
	}}
}
