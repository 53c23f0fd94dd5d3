PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEPLOY_VENV := .venv-deploy
RELEASE_VENV := .venv-release
DIST_VENV := .venv-dist
SBOM := dist/rerank-gateway.cdx.json
VALUES ?= dev
RELEASE ?= rerank
NAMESPACE ?= rerank
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' app/__init__.py)
PEERS_VENV := .venv-peers
DOCKER ?= docker
IMAGE ?= rerank-gateway:local

.DEFAULT_GOAL := help

.PHONY: help
help:  ## show this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 18

$(VENV)/.installed: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

.PHONY: install
install: $(VENV)/.installed  ## make .venv with pinned requirements

.PHONY: demo
demo: install  ## serve over the embedded worker and show a first ranking
	$(BIN)/rerank-gateway demo

# The table of faults needs a quiet machine, the rest of the chaos suite doesn't.
.PHONY: test
test: install  ## the tests that need neither vLLM nor a browser, but those of `make test-long`
	$(BIN)/python -m pytest --numprocesses 3 --dist worksteal -m "not long" --ignore=tests/live --ignore=tests/release \
		--ignore=tests/page --ignore=tests/clients/installed --ignore=tests/chaos/test_chaos.py
	$(BIN)/python -m pytest tests/chaos/test_chaos.py

.PHONY: test-long
test-long: install  ## what takes long: more seeds of the simulation, failovers of Redis, name servers, verify, a compiled client
	$(BIN)/python -m pytest --numprocesses 2 -m long tests/simulation tests/chaos tests/cache tests/integration

# What another version of Python may break: pure code, what clients read, all that has a virtual clock, the commands.
.PHONY: test-python
test-python: VERSION_VENV = .venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
test-python:  ## the quick part of the tests on another Python, in a venv of its own: make test-python PYTHON=python3.13
	$(MAKE) --no-print-directory install VENV=$(VERSION_VENV)
	$(VERSION_VENV)/bin/python -m pytest --numprocesses 3 --dist worksteal \
		tests/policy tests/contract tests/security tests/workers/discovery tests/clients/test_milvus_errors.py tests/integration/test_cli.py \
		$(filter-out tests/test_bench.py tests/test_docs%,$(wildcard tests/test_*.py))

.PHONY: live
live: install  ## tests against two real vLLM workers on CPU; installs vLLM (2.4 GB) when it is missing
	tests/live/run.sh

.PHONY: live-models
live-models: install  ## five kinds of models, each served rightly and wrongly, 50 starts before each right one; half an hour
	TEST_LIVE_STARTS=1 tests/live/models.sh

.PHONY: page
page: install  ## tests of the page at /ui in a browser; as root on Debian, installs Chromium when it is missing
	tests/page/run.sh

.PHONY: clients
clients: install  ## install other people's clients (1 GB) and run them; as root on Debian, installs Node.js when it is missing
	tests/clients/run.sh

.PHONY: chaos
chaos: install  ## the long form of the chaos suite: every fault for 10 s and more, without hedging and with it
	$(BIN)/python -m tests.chaos

SEEDS ?= 10000
.PHONY: simulate
simulate: install  ## simulated schedules on both cores: make simulate SEEDS=100000
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs 2

$(DEPLOY_VENV)/.installed: deploy/requirements.txt
	$(PYTHON) -m venv $(DEPLOY_VENV)
	$(DEPLOY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.PHONY: deploy-install
deploy-install: $(DEPLOY_VENV)/.installed

.PHONY: deploy-check
deploy-check: deploy-install  ## manifests, compose files and Dockerfile against schemas, scanners and our own policies
	$(DEPLOY_VENV)/bin/python -m pytest deploy/checks

.PHONY: render
render: deploy-install  ## print what Helm would install, as plain YAML: make render VALUES=prod RELEASE=rerank NAMESPACE=rerank
	@PYTHONPATH=deploy $(DEPLOY_VENV)/bin/python -m checks.render $(VALUES) $(RELEASE) $(NAMESPACE)

.PHONY: chart
chart: deploy-install  ## package the Helm chart into dist/, to be pushed to an OCI registry
	@$(DEPLOY_VENV)/bin/python -c 'import sys; from helm_python import Chart; print(Chart.load(sys.argv[1]).save(sys.argv[2]))' deploy/chart dist

.PHONY: manifests
manifests:  ## write the chart's copies of rules and dashboard anew
	cp deploy/monitoring/rules.yaml deploy/monitoring/dashboard.json deploy/chart/files/

.PHONY: image
image:  ## build the container image
	$(DOCKER) build $(IMAGE_FLAGS) --tag $(IMAGE) \
		--build-arg SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct)" \
		--build-arg VERSION="$(VERSION)" \
		--build-arg REVISION="$$(git rev-parse HEAD)" .

.PHONY: monitoring-check
monitoring-check:  ## alert rules, their tests and Prometheus's configuration; installs promtool when it is missing
	deploy/monitoring/check

.PHONY: dist
dist: install  ## build the wheel and the sdist into dist/
	rm -rf dist
	$(BIN)/python -m hatchling build

# What a user gets who installs the wheel with the pinned requirements, and nothing else.
.PHONY: dist-install
dist-install: dist
	$(PYTHON) -m venv --clear --without-pip $(DIST_VENV)
	$(BIN)/python -m pip --python $(DIST_VENV)/bin/python install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip --python $(DIST_VENV)/bin/python install --quiet --disable-pip-version-check --no-index --no-deps dist/*.whl

$(RELEASE_VENV)/.installed: deploy/requirements-release.txt
	$(PYTHON) -m venv $(RELEASE_VENV)
	$(RELEASE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

.PHONY: sbom
sbom: dist-install $(RELEASE_VENV)/.installed  ## write what an installed gateway consists of as CycloneDX, into dist/
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml >$(DIST_VENV)/pyproject.toml
	$(RELEASE_VENV)/bin/cyclonedx-py environment --output-reproducible --pyproject $(DIST_VENV)/pyproject.toml --output-file $(SBOM) $(DIST_VENV)

.PHONY: release-check
release-check: sbom  ## the wheel as a user installs it, the sdist, the SBOM and the licences in it
	$(BIN)/python -m pytest tests/release

.PHONY: notes
notes:  ## print the newest section of CHANGELOG.md
	@awk '/^## / { section++; next } section == 1' CHANGELOG.md

# All that is needed is pinned; pip before 23.3 takes the pin of a package for none where another wants it with extras.
$(PEERS_VENV)/.installed: bench/requirements-peers.txt
	$(PYTHON) -m venv $(PEERS_VENV)
	$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $<
	touch $@

.PHONY: bench-peers
bench-peers: $(PEERS_VENV)/.installed

# Who can't install the peers measures the rest; the page then says what is missing.
.PHONY: bench
bench: install  ## the figures the documents give, in 20 minutes; installs peers (700 MB), writes docs/performance.md
	-$(MAKE) --no-print-directory bench-peers
	$(BIN)/python -m bench

.PHONY: bench-quick
bench-quick: install  ## the same in two minutes, about right
	-$(MAKE) --no-print-directory bench-peers
	$(BIN)/python -m bench --quick

.PHONY: bench-live
bench-live: install  ## 1000 documents over a real vLLM worker on CPU; installs vLLM (2.4 GB) when it is missing
	TEST_VLLM_VENV=$${TEST_VLLM_VENV:-$(CURDIR)/.vllm/venv} $(BIN)/python -m bench live

.PHONY: bench-guard
bench-guard: install  ## whether a request costs more CPU time than it did
	$(BIN)/python -m bench.guard

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
docs: install  ## write docs/clients.md, docs/configuration.md and docs/metrics.md anew
	$(BIN)/python docs/generate.py

.PHONY: lock
lock: install  ## pin requirements anew, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra traces --constraint requirements.txt pyproject.toml -o requirements-traces.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header requirements-dev.in -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header deploy/requirements.in -o deploy/requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header deploy/requirements-build.in -o deploy/requirements-build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header deploy/requirements-release.in -o deploy/requirements-release.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header bench/requirements-peers.in -o bench/requirements-peers.txt
