# Everything that people do here, one word each. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-faults test-outages bench check down clean-data bootstrap

# What a user runs; the rest of the workspace is for tests and measurements.
PROGRAMS := -p dp -p localstack -p normalization -p enrichment -p aggregation -p projection
BIN := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/release

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: bootstrap ## Set everything up, run the pipeline on simulated ticks (and on DATA=dir), print the result
	cargo build --release $(PROGRAMS) --bins
	$(BIN)/dp demo $(if $(DATA),--data "$(DATA)")

test: bootstrap ## Set everything up and run every test, on the real servers
	cargo build --release --workspace --bins
	cargo test --release --workspace

bench: bootstrap ## Measure speed, latency, recovery and memory here (ARGS="hop --ticks 1000000" for a part)
	cargo build --release --workspace --bins
	$(BIN)/dp bench $(ARGS)

test-faults: bootstrap ## Kill everything at random while ticks flow: KILLS=n, SEED=s (the same seed goes on), RATE=r
	cargo build --release --workspace --bins
	$(BIN)/faults $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(RATE),--rate $(RATE)) $(if $(DIR),--dir "$(DIR)")

test-outages: bootstrap ## Each server away for SECONDS_DOWN (180) under load, a slow ClickHouse, a full disk
	cargo build --release --workspace --bins
	$(BIN)/outages $(if $(SECONDS_DOWN),--seconds $(SECONDS_DOWN))

check: bootstrap ## Formatting, lints, documentation, dependencies, spelling, scripts, log messages; warnings are errors
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --release --workspace --no-deps --document-private-items
	@scripts/check_dependencies.sh
	@scripts/check_text.sh

down: ## Stop the local stack; its data stay
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp down; else echo "nothing was built, so nothing runs"; fi

clean-data: ## Stop the local stack and forget its data; downloads stay
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp clean-data --yes; else echo "nothing was built, so there are no data"; fi

bootstrap:
	@scripts/bootstrap.sh
