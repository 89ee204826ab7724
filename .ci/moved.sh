#!/bin/sh
# Moves the modules to another path, in a copy at .build/moved, and from there to a second one, where every import must be found
# again. With EVERYWHERE set it also compiles and vets all of it, and runs the tests that name packages. "make moved" calls it.
set -eu
unset MAKEFLAGS # whose jobs are shared with what make itself calls
cd "$(dirname "$0")/.."

# What must not be in the end.
refuse() {
	echo "$1" >&2
	exit 1
}

# An operator's secrets are in nobody's copy, and are not to be read.
rm -rf .build/moved
mkdir -p .build/moved
tar --exclude=bridge/deploy/secrets -cf - .ci go.mod go.sum Makefile signer wasm bridge web/build web/package.json | tar -xf - -C .build/moved
cd .build/moved

for path in example.com/one github.com/you/gridsigner github.com/you/gridsigner; do
	make --no-print-directory module-path MODULE="$path"
done
for path in gridsigner github.com/you/gridsigner/v2 github.com/you "github.com/you/grid signer"; do
	if go run .ci/modulepath.go "$path" 2> /dev/null; then refuse "$path is no path"; fi
done

left=$(grep -rnE '"gridsigner/|example\.com/one' --include='*.go' --include=go.mod go.mod bridge signer wasm web/build || true)
test -z "$left" || refuse "left behind: $left"
unformatted=$(gofmt -l .ci signer wasm bridge web/build)
test -z "$unformatted" || refuse "not formatted: $unformatted"
grep -q '^  "name": "gridsigner",' web/package.json || refuse "the npm package has another name"
grep -q '"url": "git+https://github.com/you/gridsigner.git"' web/package.json || refuse "the npm package does not say where it is at home"

GOOS=js GOARCH=wasm go list -deps ./wasm > /dev/null
go list -test -deps ./... > /dev/null
for module in $MODULES; do
	go list -C "$module" -test -deps ./... > /dev/null
done

if [ -n "${EVERYWHERE:-}" ]; then
	go vet ./...
	for module in $MODULES; do
		go vet -C "$module" ./...
	done
	go list -m all > /dev/null # has what they look at, so that nobody is asked for a module at the path, which may be a stranger's
	GOPROXY=off go test -trimpath -run 'Imports|Dependencies|Requirements|Embedders|Version' ./...
	make --no-print-directory wasm bin/gridbridge
	bin/gridbridge --version
fi
cd ../..
rm -rf .build/moved
