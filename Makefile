# gridsigner: everything is built, tested and run from here. "make help" lists the targets.

DCRD     := github.com/decred/dcrd/dcrec/secp256k1/v4
WASM_MOD := .build/wasm.mod

# Flags of signer.wasm, in one place. They are part of what makes two builds identical.
#   -overlay                crypto/sha256 without what it drags in: 53 kB less after brotli (see overlay.json)
#   -modfile, -tags tinygo  dcrd's package without its table of precomputed points, 700 kB that do not compress, and without
#                           what the module calls none of, which with P-256 on hosts alone made 220 kB (see WASM_MOD)
#   -gcflags=all=-l         no inlining: 55 kB less; but within the packages of one-line functions it pays, and dcrd's, which
#                           it makes 5 kB larger, would sign at a third of the speed
#   -s -w -buildid=         no symbols, no DWARF, no build id
INLINED     := internal/abi internal/runtime/atomic math/bits sync/atomic unicode/utf8 $(DCRD)
WASM_FLAGS  := -overlay=$(CURDIR)/.build/overlay.json -trimpath -buildvcs=false -tags tinygo -gcflags=all=-l $(addprefix -gcflags=,$(addsuffix =,$(INLINED))) -ldflags='-s -w -buildid='
WASM_BUDGET := 606000 # bytes of signer.wasm.br
PAGE_BUDGET := 8000 # bytes of gridsigner.js.br: with the next one, what a page waits for
WORKER_BUDGET := 13100 # bytes of worker.js.br
REACT_BUDGET := 2000 # bytes of react.js.br

# Go's js runtime stops when arguments and environment pass about 8 KiB, so tests in WebAssembly get a small environment.
WASM_ENV := env -i PATH="$$PATH" HOME="$$HOME" GOOS=js GOARCH=wasm GOCACHE="$$(go env GOCACHE)" GOMODCACHE="$$(go env GOMODCACHE)" \
	GOFLAGS="$$(go env GOFLAGS)" GOPROXY="$$(go env GOPROXY)" GOSUMDB="$$(go env GOSUMDB)" SOAK="$(SOAK)"

# Modules of their own, for what they need and nobody gets who requires the one at the root.
MODULES := web/build bridge/deploy

# Runs a target, not seconds: a deadline that falls into a run of the fuzzer fails it.
FUZZ_RUNS     := 2000000x
FUZZ_PACKAGES := ./signer ./bridge/gridsim ./bridge

HAS_CHROMIUM := command -v chromium-headless-shell || command -v chromium || command -v chromium-browser || command -v google-chrome

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
ACTIONLINT  := github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
CYCLONEDX   := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

# What a release is, and where it is made. The version stands in the package; "make tagged" holds all else to it.
VERSION    = $(shell sed -n 's/^  "version": "\(.*\)",$$/\1/p' web/package.json)
RELEASE   := .build/release
PLATFORMS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
SBOM       = CGO_ENABLED=0 .build/cyclonedx-gomod app -json -licenses -std -noserial -notimestamp

# Debian keeps nginx where the PATH of plain users does not look; the test of several replicas would be skipped.
export PATH := $(PATH):/usr/sbin

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.PHONY: run
run: build ## Build everything and serve the demo; needs Go alone
	bin/gridbridge demo

.PHONY: build
build: web bin/gridbridge ## Build web/dist and bin/gridbridge

# Static, so that it runs where there is nothing else: the image is this and certificates. Whatever else is built without the race
# detector has -trimpath too, so that the standard library is compiled once.
.PHONY: bin/gridbridge
bin/gridbridge:
	CGO_ENABLED=0 go build -trimpath -o $@ ./bridge/cmd/gridbridge

.PHONY: wasm
wasm: $(WASM_MOD) .build/overlay.json ## Build web/dist/signer.wasm, reproducibly
	@mkdir -p web/dist
	GOOS=js GOARCH=wasm go build -modfile=$(WASM_MOD) $(WASM_FLAGS) -o web/dist/signer.wasm ./wasm

.PHONY: web
web: wasm ## Build the browser files in web/dist
	go run -C web/build -trimpath .

.PHONY: pack
pack: web ## Pack the npm package: web/gridsigner-VERSION.tgz
	cd web && npm pack --silent

.PHONY: docs
docs: web/node_modules ## Make the reference of the npm package: web/docs/index.html
	cd web && npm run --silent docs

# A copy of what the module uses of dcrd's, and a go.mod that points at it. Not in it are the table and its loader, which keeps
# compress/zlib; the adaptor to crypto/elliptic; keys, whose files import fmt and crypto/rand; and of the three files that sed
# writes, the inverse by math/big and the texts by encoding/hex. wasm/dcrd has what is called of these all the same. A replace in
# go.mod itself would change every other build too.
$(WASM_MOD): go.mod go.sum Makefile wasm/dcrd/secp256k1_js.go
	go mod download $(DCRD)
	rm -rf .build/secp256k1 && mkdir -p .build/secp256k1
	cp wasm/dcrd/secp256k1_js.go .build/secp256k1/
	cd "$$(go list -m -f '{{.Dir}}' $(DCRD))" && cp go.mod curve_embedded.go nonce.go "$(CURDIR)/.build/secp256k1/" && \
	for f in curve.go field.go modnscalar.go; do \
		sed -E '/^[[:space:]]+"(encoding\/hex|math\/big)"$$/d; /^func .* (String|Inverse(Val)?NonConst)\(/,/^}$$/d' $$f > "$(CURDIR)/.build/secp256k1/$$f"; done
	cp go.sum .build/wasm.sum
	{ cat go.mod; echo 'replace $(DCRD) => ./.build/secp256k1'; } > $@

# crypto/sha256 without the question whether BoringCrypto is there instead, which on js it never is: to ask it, it imports
# crypto/cipher, whose packages test themselves when they are loaded, and so are kept with os: 53 kB after brotli. The SHA-256 is
# Go's own, and tests itself. Written anew each time, as it must be of the Go that compiles it.
.PHONY: .build/overlay.json
.build/overlay.json:
	@mkdir -p .build
	@sha256="$$(go env GOROOT)/src/crypto/sha256/sha256.go"; \
	sed '/"crypto\/internal\/boring"/d; /if boring.Enabled/,/}/d' "$$sha256" > .build/sha256.go; \
	printf '{"Replace": {"%s": "%s"}}\n' "$$sha256" "$(CURDIR)/.build/sha256.go" > $@

# The Go tests come first, and mind the time. What only computes goes on beside them while they wait: nicely, and each says what it
# has to say in one piece, at its end. What these compile is compiled before. Then the browsers have both cores.
.PHONY: test
test: tools ## Prove every behaviour once, where that is cheapest; installs what it needs
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target web web/node_modules
	@$(MAKE) --no-print-directory --jobs=5 --output-sync=target BESIDE=nice test-go test-rules test-wasm budgets moved
	@$(MAKE) --no-print-directory test-browsers

.PHONY: test-all
test-all: ## Every test in every engine, 100,000 signatures in each, 10,000 revocations under pressure, and the long fuzz: for releases
	REVOCATIONS=10000 SOAK=1 $(MAKE) --no-print-directory test EVERYWHERE=--all
	$(MAKE) --no-print-directory reproduced fuzz programs

# In the other modules there is nothing to race: the tests of web/build are made of what "make web" compiles anyway, esbuild above
# all. Nor is there in the arithmetic of 100,000 signatures, which would take eight minutes.
.PHONY: test-go
test-go: $(WASM_MOD) .build/overlay.json ## Go tests with the race detector, which need not sleep a second before each process ends
	GORACE=atexit_sleep_ms=0 go test -race -trimpath -vet=off -timeout 30m ./...
	for m in $(MODULES); do go test -C $$m -trimpath ./... || exit 1; done
	go test -trimpath -run '^TestSignsAsDcrdDoes$$' ./signer

# With the flags of the module itself, whose build then finds the standard library compiled.
.PHONY: test-wasm
test-wasm: $(WASM_MOD) .build/overlay.json ## The Go tests of signer and wasm, compiled to WebAssembly as the module is, in Node
	$(BESIDE) $(WASM_ENV) go test -modfile=$(CURDIR)/$(WASM_MOD) $(WASM_FLAGS) -timeout 600s -exec "node $$(go env GOROOT)/lib/wasm/wasm_exec_node.js" ./signer ./wasm

.PHONY: test-web
test-web: test-rules test-browsers ## The package's and the demo's tests; test-browsers ENGINES="firefox webkit" runs some

.PHONY: test-rules
test-rules: web web/node_modules
	cd web && $(BESIDE) npm run typecheck && $(BESIDE) npm test -- $(EVERYWHERE) node

# For a release what the browsers talk to looks for data races, as the Go tests do always.
BRIDGE := $(if $(EVERYWHERE),.build,bin)/gridbridge
.PHONY: test-browsers
test-browsers: web $(BRIDGE) web/node_modules
	cd web && GRIDBRIDGE="$(CURDIR)/$(BRIDGE)" npm test -- $(EVERYWHERE) $(or $(ENGINES),chromium firefox webkit)

# Made of what the Go tests have compiled already.
.PHONY: .build/gridbridge
.build/gridbridge:
	go build -race -trimpath -o $@ ./bridge/cmd/gridbridge

.PHONY: size
size: budgets reproduced ## Hold what is downloaded to its budgets, and two builds to the same bytes

.PHONY: budgets
budgets: web
	@set -- signer.wasm $(WASM_BUDGET) gridsigner.js $(PAGE_BUDGET) worker.js $(WORKER_BUDGET) react.js $(REACT_BUDGET); while [ $$# -gt 0 ]; do \
		n=$$(wc -c < web/dist/$$1.br); echo "$$1.br: $$n bytes of $$2"; test "$$n" -le $$2 || exit 1; shift 2; done

# Builds once more in another directory with an empty cache, so that neither can be what made the bytes equal.
.PHONY: reproduced
reproduced: web
	rm -rf .build/again && mkdir -p .build/again
	cp -r go.mod go.sum Makefile signer wasm .build/again/
	GOCACHE="$(CURDIR)/.build/again/cache" $(MAKE) --no-print-directory -C .build/again wasm
	cmp web/dist/signer.wasm .build/again/web/dist/signer.wasm
	@rm -rf .build/again

.PHONY: fuzz
fuzz: ## Fuzz every target, FUZZ_RUNS times each
	@for p in $(FUZZ_PACKAGES); do for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ_RUNS) $$p || exit 1; done; done

# The two readers of what a relay sends; "make fuzz" takes all of them, for longer. The flag is what -fuzz gives to each package
# down to the standard library, which takes a minute to compile: here the fuzzer follows the branches of signer's own code.
.PHONY: fuzz-parsers
fuzz-parsers:
	@mkdir -p .build
	go test -c -vet=off -gcflags=gridsigner/signer=-d=libfuzzer -o .build/fuzz.test ./signer
	@cd signer && for f in FuzzJSON FuzzStamp; do \
		../.build/fuzz.test -test.run '^$$' -test.fuzz "^$$f$$" -test.fuzztime 20000x -test.fuzzcachedir ../.build/fuzz || exit 1; done

# The two halves judge what they measure. Both tables are printed, whichever fails.
.PHONY: bench
bench: tools build web/node_modules ## Print speed and size, and fail where we fall behind: signer, the public API beside its peers, the bridge beside nginx and Express
	go test -run '^$$' -bench . -benchmem ./signer ./bridge
	npm ci --no-audit --no-fund --prefix web/bench
	@status=0; (cd web && npm run bench) || status=1; go run ./bridge/bench bin/gridbridge || status=1; exit $$status

.PHONY: check
check: ## What a reviewer runs: format, vet, linters, tidy, tests, and a clean tree
	test -z "$$(gofmt -l .ci signer wasm bridge web/build)"
	go vet ./... && GOOS=js GOARCH=wasm go vet ./wasm ./signer && go vet .ci/*.go
	GOBIN="$(CURDIR)/.build" go install $(STATICCHECK)
	.build/staticcheck ./... && GOOS=js GOARCH=wasm .build/staticcheck ./wasm ./signer
	GOBIN="$(CURDIR)/.build" go install $(ACTIONLINT)
	.build/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	go mod tidy -diff
	for m in $(MODULES); do (cd $$m && go vet ./... && "$(CURDIR)/.build/staticcheck" ./... && go mod tidy -diff) || exit 1; done
	$(MAKE) --no-print-directory moved EVERYWHERE=--all
	$(MAKE) --no-print-directory reproduced fuzz-parsers
	$(MAKE) --no-print-directory test
	test -z "$$(git status --porcelain)"

# Twice the same bytes: the lists of what is inside (SBOMs) have neither a time nor a serial number, which npm's is relieved of, and
# the sums are in one order everywhere. npm calls a package by its directory, and is told its name.
.PHONY: release
release: export LC_ALL := C
release: tagged ## Make what a tag publishes, in .build/release: programs, npm's tarball, SBOMs, checksums
	$(MAKE) --no-print-directory web programs
	test "$$(go version -m $(RELEASE)/gridbridge-* | awk '$$1 == "mod" { print $$3 }' | sort -u)" = v$(VERSION)
	cd web && npm pack --silent --pack-destination ../$(RELEASE)
	GOBIN="$(CURDIR)/.build" go install -trimpath $(CYCLONEDX)
	GOOS=linux GOARCH=amd64 $(SBOM) -main bridge/cmd/gridbridge -output $(RELEASE)/gridbridge-$(VERSION).cdx.json
	GOOS=js GOARCH=wasm $(SBOM) -main wasm -output $(RELEASE)/gridsigner-$(VERSION).wasm.cdx.json
	cd web && npm sbom --package-lock-only --omit=dev --omit=peer --sbom-format=cyclonedx > ../.build/npm.cdx.json
	sed '/"serialNumber"/d; /"timestamp"/d; s/"name": "web"/"name": "gridsigner"/' .build/npm.cdx.json > $(RELEASE)/gridsigner-$(VERSION).npm.cdx.json
	cd $(RELEASE) && sha256sum gridbridge-* gridsigner-* > SHA256SUMS && cat SHA256SUMS

# The version that they tell is the tag, which Go finds: without one, it is that of an unreleased commit.
.PHONY: programs
programs:
	rm -rf $(RELEASE) && mkdir -p $(RELEASE)
	@for p in $(PLATFORMS); do os=$${p%/*}; arch=$${p#*/}; exe=; test $$os != windows || exe=.exe; \
		file=$(RELEASE)/gridbridge-$(VERSION)-$$os-$$arch$$exe; echo "$$file"; \
		GOOS=$$os GOARCH=$$arch CGO_ENABLED=0 go build -trimpath -buildvcs=true -o "$$file" ./bridge/cmd/gridbridge || exit 1; done

.PHONY: tagged
tagged:
	@refuse() { echo "this is no release: $$1" >&2; exit 1; }; \
	test -z "$$(git status --porcelain)" || refuse "the tree is not clean"; \
	test "$$(sed -n '1,/^  "packages"/s/^  "version": "\(.*\)",$$/\1/p' web/package-lock.json)" = "$(VERSION)" || refuse "web/package-lock.json is of another version than web/package.json, $(VERSION)"; \
	grep -m 1 '^## ' web/CHANGELOG.md | grep -qxE '## $(VERSION) - [0-9]{4}-[0-9]{2}-[0-9]{2}' || refuse "web/CHANGELOG.md does not begin with $(VERSION) and its date"; \
	for field in repository homepage bugs; do \
		grep -q "^  \"$$field\":" web/package.json || refuse "web/package.json has no $$field, and does not say where the project is at home: make module-path"; done; \
	git tag --points-at HEAD | grep -qxF 'v$(VERSION)' || refuse "the commit has no tag v$(VERSION)"

# What was made, and summed, where nothing could be published. For the workflow, which has the rights that these need.
.PHONY: publish-github publish-npm
publish-github: tagged
	cd $(RELEASE) && sha256sum -c SHA256SUMS
	awk '/^## /{n++; next} n == 1' web/CHANGELOG.md > .build/notes.md
	gh release create v$(VERSION) --verify-tag --title "gridsigner $(VERSION)" --notes-file .build/notes.md $(RELEASE)/*

publish-npm: tagged
	cd $(RELEASE) && sha256sum -c SHA256SUMS
	npm publish --provenance --access=public ./$(RELEASE)/gridsigner-$(VERSION).tgz

.PHONY: module-path
module-path: ## Move the Go modules to the path MODULE=github.com/you/gridsigner, and tell npm the repository's address
	@go run .ci/modulepath.go '$(MODULE)'

# To compile all of it, to vet it and to run the tests that name packages is for check and test-all.
.PHONY: moved
moved:
	go test -trimpath .ci/*.go
	EVERYWHERE='$(EVERYWHERE)' MODULES='$(MODULES)' $(BESIDE) .ci/moved.sh

web/node_modules: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

# Debian's packages, where they are missing and this user may install them. Without the optional ones an engine is left out,
# or the tests of replicas behind nginx or of a file of bridge/deploy are skipped, which CI does not accept, or there is
# no bench.
.PHONY: tools
tools: ## Say what the tests need and is missing here; install it, on Debian as root
	@missing= optional=; for t in openssl curl redis-server; do command -v $$t > /dev/null || missing="$$missing $$t"; done; \
	{ $(HAS_CHROMIUM) || test -x "$$CHROMIUM"; } > /dev/null || optional="$$optional chromium-headless-shell"; \
	command -v firefox-esr > /dev/null || command -v firefox > /dev/null || test -x "$$FIREFOX" || optional="$$optional firefox-esr"; \
	command -v WebKitWebDriver > /dev/null || optional="$$optional webkit2gtk-driver"; \
	command -v Xvfb > /dev/null || optional="$$optional xvfb"; \
	command -v wrk > /dev/null || optional="$$optional wrk"; \
	command -v nginx > /dev/null || optional="$$optional nginx-light"; \
	command -v systemd-analyze > /dev/null || optional="$$optional systemd"; \
	command -v kubectl > /dev/null || optional="$$optional kubernetes-client"; \
	test -z "$$missing$$optional" && exit; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then apt-get update -q && apt-get install -qy --no-install-recommends $$missing $$optional; \
	else echo "not installed:$$missing$$optional" >&2; test -z "$$missing"; fi

.PHONY: clean
clean: ## Remove everything that was built
	rm -rf .build bin web/dist web/docs web/.tsc web/node_modules web/bench/node_modules web/*.tgz
	cd web/examples && rm -rf */node_modules */dist */.next */.parcel-cache */public/gridsigner
