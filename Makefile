# What can be done with this checkout; make help lists it.

GO ?= go
BIN := $(CURDIR)/.bin
PRELUDE_DATA ?= $(CURDIR)/.prelude
export PRELUDE_DATA
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
OPENSEARCH_PORT ?= 9200
LINT_VERSION := v2.15.0
VULN_VERSION := v1.9.0

.PHONY: help run build test torture bench conformance-binary short lint vuln opensearch openapi released clean

help: ## List what can be done.
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: build ## Set up what is missing and run Prelude with everything embedded.
	@deploy/setup run
	@exec $(BIN)/prelude serve --dev-env

build: ## Build the program into .bin.
	@$(GO) build -ldflags "-s -w -X main.version=$(VERSION)" -o $(BIN)/prelude ./cmd/prelude

test: ## Set up what is missing and run all tests, with the race detector.
	@deploy/setup test
	@# Four of a package at once, on two cores too: they wait more than they work.
	internal/search/node/with $(GO) test -race -parallel 4 -timeout 15m ./...

torture: ## Run the tests of what takes long in their long form, at the bounds that are promised, and print the figures.
	@deploy/setup test
	PRELUDE_TORTURE=1 $(GO) test -v -count=1 -timeout 60m -skip 'TestSpeed|TestTorture' ./internal/eventstore ./internal/esnode ./test/conformance
	@# One after another: each holds a bound of time under a load of its own.
	PRELUDE_TORTURE=1 $(GO) test -v -count=1 -timeout 60m -parallel 1 -run TestTorture ./internal/eventstore
	PRELUDE_TORTURE=1 $(GO) test -v -count=1 -timeout 60m ./commands
	PRELUDE_TORTURE=1 $(GO) test -race -v -count=1 -timeout 30m -run 'TestFence|TestRows|TestUnpark|TestVersions|TestPeers|TestStalled' ./projections
	@# The whole product on stores as others are: of the one kind, of the other, and far away over a bad line.
	for form in PRELUDE_TEST_NODE=real PRELUDE_TEST_NODE=25 PRELUDE_TEST_STORE=proxy; do \
		env $$form internal/search/node/with $(GO) test -count=1 -timeout 30m ./cmd/prelude || exit 1; done
	PRELUDE_TORTURE=1 $(GO) test -race -v -count=1 -timeout 30m -run 'TestEmbedded|TestKill|TestTerminate|TestTwoInstances|TestTakeover|TestNodeKilled|TestStoreOutages|TestEraseElsewhere|TestPage|TestStart_|TestSharedStore|TestMe_|TestCopy_|TestReplyOver|TestCancelIn|TestWholeAnswerIn|TestDoctor|TestFeeds_|TestServer_' ./cmd/prelude

bench: ## Measure how fast it is, beside baselines of the same run, and print the table.
	@deploy/setup run
	@PRELUDE_BENCH=1 $(GO) test -v -p 1 -count=1 -timeout 30m -run TestSpeed ./internal/esnode ./cmd/prelude ./projections \
		| test/speed/table

conformance-binary: ## Build the conformance suite for event stores as one program, .bin/conformance.
	@$(GO) test -c -o $(BIN)/conformance ./test/conformance
	@echo "It needs no file beside it. To test a store that runs:"
	@echo "  PRELUDE_TEST_EVENTSTORE='esdb://localhost:2113?tls=false' $(BIN)/conformance -test.v"
	@echo "Without the variable it tests a node of its own; -test.short leaves out clients it would install."

short: ## Run the tests that need no OpenSearch and no SDKs.
	@deploy/setup run
	$(GO) test -short ./...

lint: ## go vet and golangci-lint; govulncheck where its database can be reached.
	$(GO) vet ./...
	@test -x $(BIN)/golangci-lint && $(BIN)/golangci-lint version 2>/dev/null | grep -q $(LINT_VERSION:v%=%) || \
		GOBIN=$(BIN) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	$(BIN)/golangci-lint run ./...
	@$(MAKE) --no-print-directory vuln

vuln: ## Look for known vulnerabilities, and say so where the database cannot be reached.
	@test -x $(BIN)/govulncheck || GOBIN=$(BIN) $(GO) install golang.org/x/vuln/cmd/govulncheck@$(VULN_VERSION)
	@out=$$($(BIN)/govulncheck ./... 2>&1); code=$$?; \
	if [ $$code -eq 1 ] && echo "$$out" | grep -qiE 'fetching vulnerabilities|dial tcp|no such host|connect|lookup|Forbidden|proxy|timeout'; then \
		echo "govulncheck: its database cannot be reached from here; nothing was checked"; \
	else echo "$$out"; exit $$code; fi

opensearch: ## Run an OpenSearch node on OPENSEARCH_PORT (9200), with its data beside Prelude's.
	@echo "when it is ready: export OPENSEARCH_URL=http://127.0.0.1:$(OPENSEARCH_PORT)"
	@mkdir -p $(PRELUDE_DATA)/opensearch
	@# It ends when its input does; that of a pipe which we hold open at both ends never does.
	@in=$(PRELUDE_DATA)/opensearch.in; test -p $$in || mkfifo $$in; \
		exec internal/search/node/start $(PRELUDE_DATA)/opensearch $(OPENSEARCH_PORT) <>$$in

openapi: ## Write the OpenAPI document and its examples anew.
	$(GO) test ./cmd/prelude -run TestExamples -count=1 -update
	$(GO) test ./cmd/prelude -run TestDocument -count=1 -update

released: ## Note the names of events at a release (RELEASE=<tag>), in the commit that is tagged.
	@test -n "$(RELEASE)" || { echo "which release? make released RELEASE=<tag>"; exit 1; }
	$(GO) test ./internal/eventlog -run TestReleased -count=1 -release $(RELEASE)

clean: ## Remove what was built; data stays.
	rm -rf $(BIN)
