package main

import "testing"

func TestMove(t *testing.T) {
	const first, second = "github.com/you/gridsigner", "gitlab.com/a/b/c"
	for text, want := range map[string]string{
		`import "gridsigner/bridge"`:                               `import "github.com/you/gridsigner/bridge"`,
		`	"gridsigner/bridge/internal/outbound"`:                   `	"github.com/you/gridsigner/bridge/internal/outbound"`,
		`HasPrefix(dep, "gridsigner/")`:                            `HasPrefix(dep, "github.com/you/gridsigner/")`,
		"// See [gridsigner/signer] and [gridsigner/signer.Key].":  "// See [github.com/you/gridsigner/signer] and [github.com/you/gridsigner/signer.Key].",
		"of gridsigner/signer.":                                    "of github.com/you/gridsigner/signer.",
		"go test -gcflags=gridsigner/signer=-d=libfuzzer ./signer": "go test -gcflags=github.com/you/gridsigner/signer=-d=libfuzzer ./signer",
		"go get gridsigner":                                        "go get github.com/you/gridsigner",
		"go install gridsigner/bridge/cmd/gridbridge@latest":       "go install github.com/you/gridsigner/bridge/cmd/gridbridge@latest",
		"module gridsigner\n":                                      "module github.com/you/gridsigner\n",
		"require gridsigner v0.1.0":                                "require github.com/you/gridsigner v0.1.0",
		"require (\n\tgridsigner v0.1.0\n)":                        "require (\n\tgithub.com/you/gridsigner v0.1.0\n)",
		"module gridsigner/web/build":                              "module github.com/you/gridsigner/web/build",
		"(https://pkg.go.dev/gridsigner/bridge)":                   "(https://pkg.go.dev/github.com/you/gridsigner/bridge)",

		"gridsigner lets a web app":                     "",
		"npm install gridsigner":                        "",
		`import { x } from "gridsigner";`:               "",
		`import { x } from "gridsigner/react";`:         "",
		`new URL("gridsigner/signer.wasm", base)`:       "",
		`href="/gridsigner/worker.js"`:                  "",
		"`globalThis.gridsigner`, X-Gridsigner":         "",
		"`gridsigner/signing` and my-gridsigner/bridge": "",
		`js.Global().Set("gridsigner", surface)`:        "",
	} {
		if want == "" {
			want = text
		}
		got := string(move([]byte(text), "gridsigner", first))
		if got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", text, got, want)
		}
		if back := string(move([]byte(got), first, "gridsigner")); back != text {
			t.Errorf("%s\ncomes back as %s\nwant          %s", got, back, text)
		}
	}
	for text, want := range map[string]string{
		"https://github.com/you/gridsigner/issues":        "https://gitlab.com/a/b/c/issues",
		"github.com/you/gridsigner/bridge":                "gitlab.com/a/b/c/bridge",
		"git clone https://github.com/you/gridsigner.git": "git clone https://gitlab.com/a/b/c.git",
		"https://github.com/you/gridsigner.git.":          "https://gitlab.com/a/b/c.git.",
		"It is at https://github.com/you/gridsigner.":     "It is at https://gitlab.com/a/b/c.",
		"https://github.com/you/gridsigner2":              "",
		"https://github.com/you/gridsigner.github.io":     "",
	} {
		if want == "" {
			want = text
		}
		if got := string(move([]byte(text), first, second)); got != want {
			t.Errorf("%s\nbecomes %s\nwant    %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"module gridsigner\n\ngo 1.26.0\n":        "gridsigner",
		"// first\nmodule gridsigner // second\n": "",
		"module \"gridsigner\"\n":                 "",
		"go 1.26.0\n":                             "",
	} {
		if got, err := moduleOf([]byte(text)); got != want || (err != nil) != (want == "") {
			t.Errorf("the module of %q is %q, %v, want %q", text, got, err, want)
		}
	}
}
