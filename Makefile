# Everything that people do here, one word each. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check down clean-data bootstrap

BIN := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)/release

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: bootstrap ## Set everything up, run the pipeline on simulated ticks (and on DATA=dir), print the result
	cargo build --release --workspace --bins
	$(BIN)/dp demo $(if $(DATA),--data "$(DATA)")

test: bootstrap ## Set everything up and run every test, on the real servers
	cargo build --release --workspace --bins
	cargo test --release --workspace

check: ## Formatting, lints, documentation; warnings are errors
	cargo fmt --all --check
	cargo clippy --release --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; else echo "shellcheck is not installed: scripts were not checked"; fi

down: ## Stop the local stack; its data stay
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp down; else echo "nothing was built, so nothing runs"; fi

clean-data: ## Stop the local stack and forget its data; downloads stay
	@if [ -x $(BIN)/dp ]; then $(BIN)/dp clean-data; else echo "nothing was built, so there are no data"; fi

bootstrap:
	@scripts/bootstrap.sh
