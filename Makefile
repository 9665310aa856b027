# Stint: build, check, test, show. `make` alone prints what there is.
#
# Environment that this file hands to the end-to-end suites, the demo and the benchmarks (all paths absolute). A suite
# reads these and nothing else about the machine; it fails, naming `make setup`, when one is unset or leads nowhere.
#
#   STINT_BIN           the stint binary under test
#   STINT_VENV_SDK2     Python environment with SageMaker Python SDK 2.x, boto3, scikit-learn and pytest
#   STINT_VENV_SDK3     Python environment with SageMaker Python SDK 3.x, boto3, scikit-learn and pytest
#   STINT_VENV_AWSCLI   Python environment with the AWS CLI
#   STINT_RUNTIMES      the runtimes that jobs train in
#
# In a Python environment the interpreter is bin/python, and the AWS CLI is bin/aws. STINT_DATA, if set by the caller,
# is a folder of real data for benchmarks; no test needs it.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --warn-undefined-variables

# One static binary: the same file must run on any host and in any container. Tests use the setting too, so that
# they share the build cache.
CGO_ENABLED ?= 0
export CGO_ENABLED
export STINT_BIN := $(CURDIR)/bin/stint
export STINT_VENV_SDK2 := $(CURDIR)/.venv/sdk2
export STINT_VENV_SDK3 := $(CURDIR)/.venv/sdk3
export STINT_VENV_AWSCLI := $(CURDIR)/.venv/awscli
export STINT_RUNTIMES := $(CURDIR)/.venv/stint/runtimes

say := @echo "==>"

# Goals run one after the other even under -j: the steps share two things, the processor and the reader's eye.
.NOTPARALLEL:

.PHONY: help
help: ## print this help
	@echo "Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { sub("%", "NAME", $$1); printf "  %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: ## the main job: train on real data with the unchanged SageMaker SDK, fetch the model, serve it, read the bill
	@scripts/setup.sh debian sdk2
	@$(MAKE) build
	$(say) "demo: examples/digits"
	@examples/digits/run.sh

.PHONY: test
test: setup check build e2e ## everything: set up, check, and the end-to-end suites with the real clients
	$(say) "all passed"

.PHONY: build
build: ## build bin/stint
	$(say) "building bin/stint"
	@go build -o bin/stint ./cmd/stint

.PHONY: setup
setup: ## install what the tests need: Debian packages (as root), pinned Python environments, the linter
	@scripts/setup.sh

.PHONY: check
check: lint unit ## format, vet, linter, house rules and unit tests

.PHONY: lint
lint: ## format, vet, linter and house rules (test/architecture), without the unit tests
	$(say) "gofmt"
	@unformatted=$$(gofmt -l */); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(say) "go vet"
	@go vet ./...
	@scripts/tools.sh
	$(say) "golangci-lint"
	@.tools/bin/golangci-lint run ./...
	$(say) "house rules"
	@go test -count=1 ./test/architecture/...

.PHONY: unit
unit: ## unit tests, without the optimisation by cmd/stint/default.pgo: it would compile everything once more
	$(say) "unit tests"
	@packages=$$(go list ./... | grep -vE '/test/(e2e|architecture)(/|$$)'); go test -pgo=off -timeout 10m $$packages

.PHONY: e2e
e2e: build ## end-to-end suites with the real clients (after make setup)
	@scripts/runtimes.sh
	$(say) "end-to-end suites"
	@go test -count=1 -timeout 30m ./test/e2e/...

.PHONY: faults
faults: build ## 200 storms of interruptions and kills over a managed spot job (after make setup); SEEDS=n for another number
	@scripts/runtimes.sh
	$(say) "fault suite of managed spot"
	@STINT_FAULT_SEEDS=$(or $(SEEDS),200) go test -count=1 -timeout 60m -run TestSpotFaults -v ./test/e2e/... | grep -v '^=== '

.PHONY: shapes
shapes: ## regenerate the AWS request and response types from the pinned public service model
	@scripts/shapes.sh

bench-%: ## run the benchmark bench/NAME with its peers beside it
	@test -x bench/$*/run.sh || { echo "no benchmark bench/$*/run.sh" >&2; exit 2; }
	@scripts/debian.sh bench
	@$(MAKE) build
	@bench/$*/run.sh

.PHONY: bench-spot
bench-spot: ## play the spot policies on recorded availability in $STINT_DATA; no peer to install
	@bench/spot/run.sh

.PHONY: profile
profile: ## renew the profile that the compiler optimises by (cmd/stint/default.pgo): invocations, with and without data capture
	@scripts/profile.sh

.PHONY: fmt
fmt: ## format the Go code
	@gofmt -w */ # */ leaves out .venv and .tools

.PHONY: clean
clean: ## remove what was built and set up
	rm -rf bin .tools .venv coverage
