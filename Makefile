# The everyday commands. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-examples test-faults test-outages test-scenarios test-monitoring test-backup test-guide test-k8s bench bench-image bench-peers pictures check check-text lint monitor image down clean-data bootstrap

# The programs for users; the rest of the workspace is for tests and measurements.
PROGRAMS := -p dp -p localstack -p normalization -p enrichment -p aggregation -p projection
# The test programs that start the whole pipeline. Those of PIPELINE_TESTS belong into every run; they run beside all other tests.
ALL_PIPELINE_TESTS := $(notdir $(wildcard tests/tests/*))
PIPELINE_TESTS := $(addprefix --test ,$(filter-out backup examples monitoring outages,$(ALL_PIPELINE_TESTS)))
# The stack of test-guide, in parallel with any other. It is stopped at the end; its logs stay until the next run.
GUIDE_STACK := --port-offset 3000
BIN := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/release

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

demo: bootstrap ## Set up the machine, run the pipeline on simulated ticks (and the documents in DATA=dir), print the result
	cargo build --release $(PROGRAMS) --bins
	$(BIN)/dp demo $(if $(DATA),--data "$(DATA)")

# Programs and tests are built together, or the features that only tests enable would build most crates twice. The documentation
# contains no tests, and looking for them would build each crate once more.
test: bootstrap ## Set up the machine and run all tests, with real servers (TEST_UNTIL bounds the time: scripts/test.py)
	@scripts/scipy.sh
	cargo build --release --workspace --bins --tests
	cargo build --release --workspace $(PIPELINE_TESTS)
	@scripts/test.py $(PIPELINE_TESTS)

bench: bootstrap ## Measure throughput, latency, recovery and memory on this machine (one part: ARGS="hop --ticks 1000000")
	cargo build --release --workspace --bins
	$(BIN)/dp bench $(ARGS)

bench-image: bootstrap ## Measure the services as they are built, then as the image has them (ARGS=hop; CPU=x86-64-v3 or LTO=fat tries others)
	cargo build --release --workspace --bins
	CPU="$(CPU)" LTO="$(LTO)" scripts/image_programs.sh normalization enrichment aggregation projection
	$(BIN)/dp bench $(ARGS) --against $(BIN)/../image

bench-peers: bootstrap ## Measure Spate and Kafka Streams beside the pipeline, with kills (a part: ARGS="up load streams report down")
	cargo build --release $(PROGRAMS) --bins
	benches/peers/run.py $(ARGS)

test-faults: bootstrap ## Kill processes at random under load: KILLS=n, SEED=s (the same seed continues an interrupted run), RATE=r
	cargo build --release --workspace --bins
	$(BIN)/faults $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE)) $(if $(DIR),--dir "$(DIR)")

test-examples: bootstrap ## Run the examples of all help texts on the data of a demo (6 minutes)
	cargo build --release --workspace --bins
	cargo test --release --workspace --test examples

test-outages: bootstrap ## Test outages under load: each server, and both stores of reference data, down for SECONDS_DOWN (180), a slow ClickHouse, a full disk
	cargo build --release --workspace --bins
	cargo test --release --workspace --test outages
	$(BIN)/outages $(if $(SECONDS_DOWN),--seconds $(SECONDS_DOWN))

test-scenarios: bootstrap ## Cause each fault of docs/faults.md, look for its signs, apply its cure: ONLY=text of a heading (45 minutes)
	cargo build --release --workspace --bins
	$(BIN)/scenarios $(if $(ONLY),--only "$(ONLY)")

test-monitoring: bootstrap ## Break the running pipeline and see each alert at the pager, all targets up, all panels with data (6 minutes)
	cargo test --release --workspace --test monitoring

test-backup: bootstrap ## Back up all stores under load, destroy and restore them, then check every number (4 minutes)
	cargo test --release --workspace --test backup

test-guide: bootstrap ## Run each local command of README, docs and runbooks on a stack with a demo load, and compare its output (15 minutes)
	cargo build --release $(PROGRAMS) --bins
	$(BIN)/dp $(GUIDE_STACK) clean-data --yes
	@trap '$(BIN)/dp $(GUIDE_STACK) down' EXIT; $(BIN)/dp $(GUIDE_STACK) demo --ticks 20000; \
		scripts/check_guide.py --bin $(BIN) $(GUIDE_STACK)

test-k8s: bootstrap ## Try the Kubernetes manifests and the kubectl lines of the docs on a real control plane (10 minutes; builds it once)
	cargo build --release $(PROGRAMS) --bins
	scripts/test_k8s.sh $(BIN)

pictures: ## Draw dp top, dp doctor and dp curve show of the running local stack under load, for docs (ARGS="--port-offset N --dir DIR")
	@scripts/pictures.py --bin $(BIN) $(ARGS)

check: check-text lint ## Check formatting, lints, documentation, dependencies, spelling, scripts, log messages; warnings are errors

check-text: bootstrap ## The part of `make check` that compiles nothing
	cargo fmt --all --check
	@scripts/check_dependencies.sh
	@scripts/check_text.sh
	@scripts/check_monitoring.sh
	@scripts/check_deploy.sh
	@scripts/check_k8s.sh

lint: bootstrap ## The part of `make check` that compiles: clippy and rustdoc
	cargo clippy --release --workspace --all-targets -- -D warnings
	cargo clippy --release --workspace $(addprefix --test ,$(ALL_PIPELINE_TESTS)) -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --release --workspace --no-deps --document-private-items

monitor: bootstrap ## Prometheus and Alertmanager for the running local stack (ARGS="--port-offset N --dir DIR")
	@monitoring/run.sh $(ARGS)

image: ## Build the container image with docker or buildah, and print its size (ARGS="--build-arg CPU=x86-64-v3")
	@scripts/image.sh $(ARGS)

down: ## Stop the local stack; its data is kept
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp down; else echo "no programs are built, so no stack runs"; fi

clean-data: ## Stop the local stack and remove its data; downloads are kept
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp clean-data --yes; else echo "no programs are built, so there is no data"; fi

bootstrap:
	@scripts/bootstrap.sh
