# `make run` shows the main job, `make test` passes the tests; both do all set-up first. `make help` lists the rest.
SHELL := /bin/bash
export PATH := $(PATH):$(HOME)/.cargo/bin
CACHE := $(or $(ORBRIDGE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/orbridge)
PY := .venv/bin/python
CARGO := CARGO_TARGET_DIR=$(CACHE)/engine-target cargo
MANIFEST := --manifest-path codecs/engine/Cargo.toml
FUZZ_SECONDS ?= 600

.PHONY: help setup setup-test run test test-engine test-python lint bench fuzz wheel clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 22

setup:  ## everything that running needs: Debian packages, pjsua2, engine, pages, .venv
	@scripts/setup run

setup-test:
	@scripts/setup test

run: setup  ## the demo: a simulated theatre device in a room that you open in a browser
	.venv/bin/orbridge demo

test: setup-test test-engine test-python  ## all tests, against real peers

test-engine: setup-test
	$(CARGO) test --quiet --locked --no-default-features $(MANIFEST)

test-python: setup-test
	$(PY) -m pytest

lint: setup-test  ## ruff, mypy --strict, clippy, tsc
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	@mkdir -p build/tree/orbridge && for d in gateway adapters codecs; do ln -sfn ../../../$$d build/tree/orbridge/$$d; done
	cd build/tree && ../../.venv/bin/mypy -p orbridge
	$(CARGO) clippy --quiet --locked --all-targets $(MANIFEST) -- -D warnings
	$(CARGO) clippy --quiet --locked --features python $(MANIFEST) -- -D warnings
	cd web && npm run --silent check

bench: setup-test  ## measure against peers; results in build/bench.json
	$(PY) -m tests.bench

fuzz: setup-test  ## long fuzzing of every parser, FUZZ_SECONDS each
	ORBRIDGE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(CARGO) test --release --locked --no-default-features $(MANIFEST) --test fuzz_formats -- --nocapture
	ORBRIDGE_FUZZ_SECONDS=$(FUZZ_SECONDS) $(PY) -m pytest tests/fuzz --timeout=0

wheel: setup  ## dist/orbridge-*.whl with the engine and the pages in it
	CARGO_TARGET_DIR=$(CACHE)/engine-target $(PY) -m pip wheel -q --no-deps --no-build-isolation -w dist .
	@ls dist/orbridge-*.whl

clean:  ## remove what was built in the checkout; the cache outside stays
	rm -rf build dist .venv *.egg-info codecs/_engine*.so gateway/http/static/*.js gateway/http/static/*.css web/node_modules
