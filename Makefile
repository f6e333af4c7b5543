# `make demo` shows sluice at work, `make test` proves it. Both set up what they need; nothing is written into the
# checkout. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export SLUICE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sluice
export CARGO_TARGET_DIR ?= $(SLUICE_CACHE)/target
# One profile for everything: a second one would build some 400 dependencies again.
PROFILE := --release
export SLUICE_BIN ?= $(CARGO_TARGET_DIR)/release/sluice

SETUP := integration/setup/setup.sh
PYTHON := $(SLUICE_CACHE)/venv/bin/python
PYTEST = cd integration && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest
RECORDS ?= 5000000

.PHONY: help demo test check fmt clippy unit deny build integration soak fuzz bench bench-formats bench-windows kafka registry s3 chart-test build-packages real-parts

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: build ## build sluice and show it at work: no services, ten seconds
	$(SLUICE_BIN) demo

test: build-packages ## every test: formatting, lints, Rust tests, integration with the real parts
	@mkdir -p $(SLUICE_CACHE)
	@# Downloads, and the S3 server's build, run beside the Rust build.
	@$(SETUP) real-parts 2>$(SLUICE_CACHE)/setup.log & parts=$$!; \
	 trap 'kill $$parts 2>/dev/null || true' EXIT; \
	 $(MAKE) --no-print-directory check build; \
	 wait $$parts || { cat $(SLUICE_CACHE)/setup.log; exit 1; }; \
	 trap - EXIT
	$(MAKE) --no-print-directory chart-test
	$(PYTEST) $(ARGS)

check: build-packages fmt unit clippy ## what needs no real parts: formatting, lints, Rust tests

fmt:
	cargo fmt --check

unit:
	cargo test $(PROFILE)

clippy:
	cargo clippy $(PROFILE) --all-targets -- -D warnings

deny: ## licences, bans and sources of the dependencies (needs cargo-deny)
	cargo deny --offline check bans licenses sources

build: build-packages ## the binary
	cargo build $(PROFILE)

integration: build real-parts ## the integration tests alone; ARGS="-k fencing" picks some
	$(PYTEST) $(ARGS)

soak: build real-parts ## the full sizes: 5 M records, 100 kills, 2,000 commits, 475,000 cases of windows
	@# Of each property: together 100,000 with real commits, and 375,000 without.
	SLUICE_WINDOW_CASES=25000 cargo test $(PROFILE) --lib -- transform::window engine::windows
	$(PYTEST) -m soak $(ARGS)

FUZZ_SECONDS ?= 300
fuzz: build-packages ## the decoders on random changes of fuzz/corpus; FUZZ_SECONDS=300 each (with nightly: cargo fuzz run avro)
	SLUICE_FUZZ_SECONDS=$(FUZZ_SECONDS) cargo test $(PROFILE) --test main fuzz_ -- --nocapture

bench: build real-parts ## sluice, Spark and a Python loop on one topic; RECORDS=5000000
	cd integration && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m bench --records $(RECORDS) $(ARGS)

bench-formats: build real-parts ## the same records as JSON and as Avro (RECORDS=5000000)
	cd integration && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m bench.formats --records $(RECORDS)

bench-windows: build real-parts ## the same windows by sluice and by Spark (RECORDS=5000000)
	cd integration && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m bench.windows --records $(RECORDS) $(ARGS)

kafka: real-parts ## start a broker, print how to produce; Ctrl-C stops it
	@cd integration && $(PYTHON) -m harness.kafka

registry: real-parts ## start a schema registry, print how to reach it; Ctrl-C stops it
	@cd integration && $(PYTHON) -m harness.registry

s3: real-parts ## start an S3 server, print how to reach it; Ctrl-C stops it
	@cd integration && $(PYTHON) -m harness.s3

chart-test: ## the Helm chart's tests, where there are any
	@if [ -x charts/test.sh ]; then charts/test.sh; fi

build-packages:
	@$(SETUP) build-packages

real-parts:
	@$(SETUP) real-parts
