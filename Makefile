# What strata is built, shown and checked with. `make demo` and `make test` install what they lack.

GO      = $$(test/require go)
VERSION := $(shell packaging/version)
LDFLAGS = -s -w -X main.version=$(VERSION)
# The commit and its date are in the binary wherever git can tell them, whatever GOFLAGS says.
VCS    := -buildvcs=$(shell git rev-parse HEAD >/dev/null 2>&1 && echo true || echo false)
# Build tags, which test/testbed and test/fuzz read here too. seccomp: RUN steps get Docker's filter of system calls;
# runc_nocriu: leaves checkpoint and restore out of runc's library.
TAGS    = seccomp,runc_nocriu
NFPM    = $(GO) run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.4
# Where make install puts things: $(DESTDIR)$(PREFIX)/bin/strata and $(DESTDIR)$(PREFIX)/share.
PREFIX  = /usr/local
DESTDIR =
ARCHES  = amd64 arm64
IMAGE   = strata:latest
# What make bench compares with. Its go.mod has exclude directives, which go install refuses: it is built where it was fetched.
BUILDKIT = v0.32.2
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.7.0

.PHONY: build static man completions install uninstall packages image test-install demo test test-places test-fleet short test-real test-rungs edits observe equal fuzz crash load bench bench-compare bench-graph bench-buildkit bench-rungs bench-fleet bench-tools bench-mounts lint clean help

build: ## bin/strata
	test/require build
	$(GO) build $(VCS) -tags $(TAGS) -trimpath -ldflags "$(LDFLAGS)" -o bin/strata ./cmd/strata

static: ## bin/strata as one file that runs on any Linux
	test/require build
	GO="$(GO)" VCS=$(VCS) TAGS="$(TAGS)" LDFLAGS="$(LDFLAGS)" packaging/build $$($(GO) env GOARCH) bin/strata

# With -trimpath as for bin/strata, so that make install compiles each package once.
man: ## bin/man: a man page for each command
	test/require build
	rm -rf bin/man
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null) $(GO) run -trimpath -tags $(TAGS) ./packaging/man \
		-o bin/man -version "$(VERSION)"

completions: build ## bin/completions: for bash, zsh and fish
	mkdir -p bin/completions
	for shell in bash zsh fish; do bin/strata completion $$shell >bin/completions/strata.$$shell || exit 1; done

bin/copyright: go.mod packaging/licenses/*.go
	test/require build
	mkdir -p bin
	$(GO) run ./packaging/licenses -tags $(TAGS) >$@.new
	mv $@.new $@

install: build man completions bin/copyright ## strata, man pages, completions in PREFIX=/usr/local, below DESTDIR=
	packaging/install "$(DESTDIR)$(PREFIX)"

uninstall: ## remove what make install made, with the same PREFIX and DESTDIR; the store stays
	packaging/install --remove "$(DESTDIR)$(PREFIX)"

packages: man completions bin/copyright ## bin/dist: .deb, .rpm, .tar.gz for ARCHES='amd64 arm64', and SHA256SUMS
	test/require packages
	GO="$(GO)" VCS=$(VCS) TAGS="$(TAGS)" LDFLAGS="$(LDFLAGS)" VERSION="$(VERSION)" NFPM="$(NFPM)" packaging/packages $(ARCHES)

image: packages ## strata in an image, built by strata: IMAGE=strata:latest; fetches debian:bookworm-slim
	bin/strata build -f packaging/Dockerfile -t $(IMAGE) bin/dist

test-install: packages ## the packages in a Debian with nothing but apt, which is made of Debian's packages
	test/require build demo test
	$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v ./test/install -dist $(CURDIR)/bin/dist

demo: build ## the lesson, from the first build to entering a layer
	test/require demo
	examples/demo

# The tests in test/ build the binary themselves, which go's cache of test results does not see: -count=1. Those that take
# longest go first, so that none of them runs alone at the end.
test: ## unit tests, transcripts, and the comparison with Docker; WITHOUT='test/crash|test/load' leaves packages out
	test/require build demo test
	$(GO) test -tags $(TAGS) -count=1 -timeout 120m \
		$$($(GO) list -tags $(TAGS) ./test ./test/equal ./test/real ./test/habits ./... | grep -vE '/($(or $(WITHOUT),none))$$')

test-places: ## caches in object stores with a server of S3, versitygw, which is built for it
	test/require build demo test
	GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0
	$(GO) test -tags $(TAGS) -count=1 ./internal/cache/places/s3 ./test -run 'TestPlace|TestServer|TestFaults|TestResume|TestScript/cache_(objects|mounts|early|kilobytes)$$' -versitygw $(CURDIR)/bin/tools/versitygw

short: ## the tests that need neither dockerd nor a Python image, in two minutes; the slow ones are skipped
	test/require build test
	$(GO) test -short -tags $(TAGS) -count=1 ./...

test-real: ## ten Dockerfiles as people write them, built, edited, run and compared with --no-cache; fetches 300 MB; TABLE=docs/observed.md, PACKAGES=docs/scan.md
	test/require build demo
	$(GO) test -tags $(TAGS) -count=1 -timeout 120m -v ./test/real -all -uncached $(if $(TABLE),-table $(CURDIR)/$(TABLE)) $(if $(PACKAGES),-packages $(CURDIR)/$(PACKAGES))

bench-mounts: ## what cache mounts that travel save a go build and an npm ci; fetches 200 MB, some minutes; TABLE=docs/cache.md
	test/require build demo
	$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v ./test/real -run TestMounts -mounts $(if $(BASES),-bases $(BASES)) $(if $(TABLE),-table $(CURDIR)/$(TABLE))

test-rungs: ## all lessons, the attacks and apt-get on each rung of docs/rootless.md, of which make test does some; a quarter of an hour
	test/require build demo test
	$(GO) test -tags $(TAGS) -count=1 -timeout 120m -v ./test -run TestRungs -rungs

test-fleet: ## three machines, a registry and a queue of three servers: one build, also with a machine and a server killed and a network cut
	test/require build test
	$(GO) test -tags $(TAGS) -count=1 -timeout 60m -v ./test/fleet -stages $(or $(STAGES),40) -cut $(or $(CUT),30s)

edits: ## cached builds against uncached ones after random edits; EDITS=20000 for a long run
	test/require build test
	$(GO) test -tags $(TAGS) -timeout 80m -count=1 ./internal/builder -run TestCachedEqualsUncached -edits $(or $(EDITS),2000)

observe: ## hits by observed inputs against results of running, and whether each kind of answer is needed; STEPS=20000, SEED=1
	test/require build test
	$(GO) test -tags $(TAGS) -timeout 6h -count=1 -v ./internal/sandbox/tracefs -run "$(ONLY)" -steps $(or $(STEPS),2000) -seed $(or $(SEED),0)

equal: ## the comparison with Docker: file systems and configs of 286 Dockerfiles, of which make test builds every eighth; AS_USER=1 has strata build without root
	test/require build test
	$(GO) test -tags $(TAGS) -timeout 60m -count=1 -v ./test/equal -every 1 $(if $(AS_USER),-user)

fuzz: ## every fuzz target for FUZZTIME=10m, on PARALLEL cores (all); TARGETS='internal/layer/ FuzzOpen' for some
	test/require build
	FUZZTIME=$(or $(FUZZTIME),10m) PARALLEL=$(PARALLEL) test/fuzz $(TARGETS)

crash: ## power cuts and kills at random moments, and what is found then; CUTS=1000, KILLS=1000, SEED=1
	test/require build test
	$(GO) test -tags $(TAGS) -timeout 12h -count=1 -v ./test/crash -cuts $(or $(CUTS),100) -kills $(or $(KILLS),100) -seed $(or $(SEED),1)

load: ## 16 builds, prunes, rmi, push and pull, save and load at a time on one store; MINUTES=10, SEED=1, RACES=true for go build -race
	test/require build test
	$(GO) test -tags $(TAGS) -timeout 12h -count=1 -v ./test/load -minutes $(or $(MINUTES),10) -seed $(or $(SEED),1) -races=$(or $(RACES),false)

bench: build ## the table of docs/benchmarks.md; RUNS=1 for a quick look, AGAINST=/path/to/another/strata, unsynced or unobserved, BESIDE=buildkitd for some of the others, ONLY=COPY
	test/require build demo test
	PATH="$(CURDIR)/bin/tools:$$PATH" $(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),5) -only "$(ONLY)" -against "$(AGAINST)" -beside "$(BESIDE)"

bench-compare: build ## what got slower or faster since the commit BASE=rev, in 5 rounds or RUNS=; fails where a row got slower by more than 10 %
	test/require build demo test
	$(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),5) -only "$(ONLY)" -compare "$(or $(BASE),$(error BASE= names the commit to compare with, as in make bench-compare BASE=HEAD~10))"

bench-graph: build ## docs/pictures/cost.svg: what files, steps, layers and builds at a time cost; FILES=100000 and STEPS=100 for less, AGAINST=/path/to/another/strata, ONLY=COPY, RUNS=3
	test/require build test
	$(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),3) -only "$(ONLY)" -against "$(AGAINST)" -graph docs/pictures/cost.svg -files $(or $(FILES),1000000) -steps $(or $(STEPS),1000)

bench-buildkit: ## bin/tools/buildctl and buildkitd, which make bench then compares with; fetches BuildKit's source and all that it needs
	test/require build test
	go="$(GO)"; cd "$$(cd / && $$go mod download -json github.com/moby/buildkit@$(BUILDKIT) | jq -er .Dir)" && \
		$$go build -trimpath -buildvcs=false -ldflags "-s -w -X github.com/moby/buildkit/version.Version=$(BUILDKIT)" \
		-o $(CURDIR)/bin/tools/ ./cmd/buildctl ./cmd/buildkitd

bench-rungs: build ## the table of docs/rootless.md: strata on each rung, and buildah as an ordinary user; RUNS=1 for a quick look
	test/require build demo test
	$(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),5) -rungs

bench-fleet: build ## the tables of docs/fleet.md: 1 to 8 workers, a step here and there, 1,000 clients of one cache; RUNS=1 for a quick look
	test/require build test
	$(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),3) -only "$(ONLY)" -fleet

bench-tools: build ## what observing costs pip, npm, go, javac and gcc in a copied tree of 20,000 files; fetches 300 MB of packages once
	test/require build demo test
	$(GO) run -tags $(TAGS) ./bench -runs $(or $(RUNS),5) -tools -against unobserved

lint: ## gofmt, go mod tidy, go vet, staticcheck, shellcheck
	test/require build lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
		if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet -tags $(TAGS) ./...
	$(GO) run $(STATICCHECK) -tags $(TAGS) ./...
	shellcheck $$(git ls-files examples test bench .ci docs | xargs awk 'FNR == 1 && /^#!\/bin\/(ba)?sh/ { print FILENAME }')

clean: ## remove what was built; the caches in ~/.cache/strata-* stay
	rm -rf bin

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /  \1: /p' Makefile
