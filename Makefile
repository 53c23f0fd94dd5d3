PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help

.PHONY: help
help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: install
install: $(VENV)/.installed  ## make .venv with pinned requirements

.PHONY: demo
demo: install  ## serve over the embedded worker and show a first ranking
	$(BIN)/rerank-gateway demo

.PHONY: test
test: install  ## all tests that need no vLLM
	$(BIN)/python -m pytest --ignore=tests/live

.PHONY: live
live: install  ## tests against two real vLLM workers on CPU; installs vLLM (2.4 GB) when it is missing
	tests/live/run.sh

.PHONY: chaos
chaos: install  ## the long form of the chaos suite: every fault for 10 s and more, without hedging and with it
	$(BIN)/python -m tests.chaos

.PHONY: bench
bench: install  ## the figures the documents give
	$(BIN)/python -m bench.cache

.PHONY: check
check: install  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

.PHONY: format
format: install  ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: install  ## write docs/configuration.md anew
	$(BIN)/python docs/generate.py

.PHONY: lock
lock: install  ## pin requirements anew, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-dev.in -o requirements-dev.txt
