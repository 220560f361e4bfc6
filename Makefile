# sdnn: see README.md. `make help` lists the targets.
GO ?= go
export CGO_ENABLED ?= 0
# Everywhere, so that building and testing share what they compile.
# arrow_json_stdlib spares the compiling of a JSON library that the program does not use. TAGS=nocuda leaves the GPU engine's
# access to NVIDIA's libraries out: on Linux the program is linked statically then, and runs without glibc.
comma := ,
export GOFLAGS ?= -trimpath -tags=arrow_json_stdlib$(if $(TAGS),$(comma)$(TAGS))

VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS    := -s -w -X main.version=$(VERSION)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME   ?= 10s

.PHONY: help build demo demo-images test test-gpu race bench lint fuzz check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/sdnn (TAGS=nocuda: a static one, without CUDA)
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/sdnn ./cmd/sdnn

demo: build ## plain against subclass training on made-up videos, in demo/ (under 2 minutes)
	@sh scripts/demo.sh bin/sdnn demo

demo-images: build ## the same on made-up CIFAR-10 images, in demo-images/ (under 2 minutes)
	@sh scripts/demo-images.sh bin/sdnn demo-images

test: ## run all tests
	$(GO) test ./...

test-gpu: ## run the tests that need an NVIDIA card (docs/gpu-checks.md); without one they fail
	sh scripts/test-gpu.sh

race: ## run the tests of the concurrent packages under the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $$(sh scripts/concurrent.sh)

bench: build ## speed of this machine: a training and an evaluation step of each video network
	@for net in logistic mlp moe conv1d; do bin/sdnn bench --net $$net --batch 1024 --reps 5 --json || exit; done

lint: ## gofmt, go vet, staticcheck, import layers
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "gofmt these files:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	$(GO) test -count=1 ./internal/layers

fuzz: ## run every fuzz target for FUZZTIME (10s)
	@sh scripts/fuzz.sh $(FUZZTIME)

check: ## all that CI does
	bash .ci/run

clean: ## remove what make built
	rm -rf bin demo demo-images
