# Everything runs with Go alone; `make integration` also needs a JDK and Maven for Kafka,
# which it installs on Debian, and fetches PostgreSQL with curl if they are missing. Tools
# are built into .cache/bin, at the versions here.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

GOLANGCI_VERSION := v2.15.0
GOLANGCI         := .cache/bin/golangci-lint-$(GOLANGCI_VERSION)
KAFKA_DIR        := $(CURDIR)/.cache/kafka
POSTGRES_DIR     := $(CURDIR)/.cache/postgres
BENCH_CASES      ?= wordcount keyed passthrough window latency

# stage NAME,COMMAND says what runs and how long it took.
stage = @printf '==> %s\n' '$(1)'; s=$$SECONDS; $(2); printf '    %s: %d s\n' '$(1)' $$((SECONDS - s))

# The engine and what users link: all that runs goroutines of ours. What starts programs is
# left out: they are built in the same way for both runs.
engine = $$(go list ./... | grep -vE '^[^/]+/[^/]+/[^/]+/(cmd|examples|bench|internal/lint|internal/testkit/(rig|chaos))(/|$$)')

# Folders with tests behind the tag "integration".
tagged = $$(grep -rlE --include='*_test.go' '^//go:build .*integration' . | xargs -r -n1 dirname | sort -u || true)

# The race detector wants a C compiler; without one the tests run without it.
race      := $(if $(shell command -v gcc || command -v clang || command -v cc),-race)
race_note := $(if $(race), and the race detector, (no C compiler: without the race detector))

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

.PHONY: demo
demo: ## run the clickstream example on the data that comes with it
	@go run ./cmd/weir run ./examples/clickstream

.PHONY: build
build: ## build bin/weir
	@CGO_ENABLED=0 go build -o bin/weir ./cmd/weir

.PHONY: test
test: ## vet, all tests, and the engine's once more with invariants and the race detector
	$(call stage,vet,go vet ./...)
	$(call stage,tests,go test -timeout 5m ./...)
	$(call stage,tests of the engine with invariants$(race_note),go test -timeout 8m $(race) -tags invariants $(engine))

# Loopback only, in a temporary directory; Ctrl-C ends it.
.PHONY: cluster
cluster: build ## a cluster to try: 3 servers and 2 workers with TLS and tokens, until Ctrl-C
	@CGO_ENABLED=0 go build -o bin/weir-cluster ./cmd/weir-cluster
	@exec bin/weir-cluster -weir bin/weir

.PHONY: planted
planted: ## plant bugs in the engine and in the cluster, one by one, and see that tests find each
	@WEIR_METAMORPHIC_PLANTS=all go test -count=1 -v -timeout 60m -run Plant ./internal/testkit/metamorphic
	@WEIR_SIM_PLANTS=all go test -count=1 -v -timeout 60m -run Plant ./internal/testkit/sim

# In process a job dies where a seed says; a real process dies when SIGKILL comes.
.PHONY: chaos
chaos: ## kill jobs: 200 seeds in process, 20 of real processes, an example, and Kafka to Kafka
	$(call stage,kills in process,WEIR_CHAOS_SEEDS=200 go test -count=1 -v -timeout 15m -run '^TestSurvives$$' ./internal/testkit/metamorphic)
	$(call stage,start Kafka,scripts/kafka/broker start $(KAFKA_DIR))
	@trap 'scripts/kafka/broker clear $(KAFKA_DIR)' EXIT; \
	printf '==> kills of processes\n'; \
	WEIR_CHAOS=1 WEIR_KAFKA=127.0.0.1:19092 \
		go test -count=1 -v -timeout 15m -tags integration -skip '^TestClusters$$' ./internal/testkit/chaos

SIM_SEEDS ?= 500

.PHONY: sim
sim: ## SIM_SEEDS schedules of faults over whole clusters in one process, with fake time
	@SIM_SEEDS=$(SIM_SEEDS) go test -count=1 -v -timeout 2h -run '^TestSim$$' ./internal/testkit/sim | grep -vE '^ *(=== |--- PASS)'

# Schedules with networks of their own or small disks want Linux and root, and are skipped
# without. CHAOS_FIRST=7 CHAOS_SEEDS=1 is one schedule, CHAOS_FAULTS=1,3 some of its faults.
CHAOS_FIRST  ?= 1
CHAOS_SEEDS  ?= 50
CHAOS_FAULTS ?=

.PHONY: chaos-cluster
chaos-cluster: ## CHAOS_SEEDS schedules of faults over clusters of five agents, and make sim
	$(call stage,start Kafka,scripts/kafka/broker start $(KAFKA_DIR))
	@trap 'scripts/kafka/broker clear $(KAFKA_DIR)' EXIT; \
	printf '==> $(CHAOS_SEEDS) schedules over real clusters\n'; \
	WEIR_CHAOS_SEED=$(CHAOS_FIRST) WEIR_CHAOS_CLUSTERS=$(CHAOS_SEEDS) WEIR_CHAOS_FAULTS=$(CHAOS_FAULTS) WEIR_KAFKA=127.0.0.1:19092 \
		go test -count=1 -v -timeout 2h -tags integration -run '^TestClusters$$' ./internal/testkit/chaos
	$(if $(CHAOS_FAULTS),,$(call stage,$(SIM_SEEDS) schedules over simulated clusters,$(MAKE) sim))

# Two seconds of it are part of make test.
FUZZ_TIME ?= 60s
.PHONY: fuzz-ports
fuzz-ports: ## send garbage to every port of a cluster with TLS and tokens, for FUZZ_TIME
	@WEIR_FUZZ_TIME=$(FUZZ_TIME) go test -count=1 -v -timeout 30m -run '^TestPorts$$' ./internal/testkit/rig

.PHONY: lint
lint: $(GOLANGCI) ## format, go.mod, linters, the rules of the tree
	$(call stage,gofmt,unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); if [[ -n $$unformatted ]]; then echo "run gofmt -w on:" $$unformatted; exit 1; fi)
	$(call stage,go mod tidy,go mod tidy -diff)
	$(call stage,golangci-lint,$(GOLANGCI) run ./...)
	$(call stage,rules of the tree,go test ./internal/lint)

$(GOLANGCI):
	$(call stage,build golangci-lint $(GOLANGCI_VERSION),CGO_ENABLED=0 GOBIN=$(CURDIR)/.cache/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION))
	@mv .cache/bin/golangci-lint $@

# The tests find their neighbours by WEIR_KAFKA and WEIR_POSTGRES, and restart them
# by running WEIR_KAFKA_RESTART and WEIR_POSTGRES_RESTART.
.PHONY: integration
integration: ## tests against real neighbours: a Kafka broker, a PostgreSQL server
	$(call stage,start Kafka,scripts/kafka/broker start $(KAFKA_DIR))
	$(call stage,start PostgreSQL,scripts/postgres/server start $(POSTGRES_DIR))
	@trap 'scripts/kafka/broker clear $(KAFKA_DIR); scripts/postgres/server clear $(POSTGRES_DIR)' EXIT; \
	printf '==> integration tests\n'; \
	dirs="$(tagged)"; \
	if [[ -z $$dirs ]]; then echo '    no test has the tag "integration"'; exit 1; fi; \
	WEIR_KAFKA=127.0.0.1:19092 WEIR_KAFKA_RESTART="$(CURDIR)/scripts/kafka/broker restart $(KAFKA_DIR)" \
	WEIR_POSTGRES=postgres://weir:weir@127.0.0.1:19532/postgres WEIR_POSTGRES_RESTART="$(CURDIR)/scripts/postgres/server restart $(POSTGRES_DIR)" \
		go test -count=1 -p 1 -timeout 10m -tags integration $$dirs

.PHONY: bench
bench: build ## the benchmark cases and their floors, one JSON line each
	@for case in $(BENCH_CASES); do bin/weir bench $$case -o json; done

.PHONY: floor
floor: ## the programs without an engine that the benchmarks are measured by
	@go test -run '^$$' -bench . -benchtime 3x ./bench/floor

.PHONY: clean
clean: ## remove what was built, the tools, the broker and the server with their data
	@[[ ! -d $(KAFKA_DIR) ]] || scripts/kafka/broker stop $(KAFKA_DIR)
	@[[ ! -d $(POSTGRES_DIR) ]] || scripts/postgres/server clear $(POSTGRES_DIR)
	rm -rf bin .cache
