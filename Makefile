# Every target installs its requirements; a new machine needs only make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
DEMO := $(VENV)/.demo-installed
SECURITY := $(VENV)/.security-installed
BENCH := $(VENV)/.bench-installed
SECONDS ?= 60
# Modules are compiled once: without it each relay that the tests start compiles all of them.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test coverage test-long check format bench-polling bench-speed bench-waiting lock renew image habits fuzz guards torture simulate \
  audit sbom release tag workflows chart manifests proxies clients bodies receivers walk docs browser screenshots clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(DEMO) ## Show the relay at work: a stand-in for Exec, relay and receiver on this machine, no account
	@$(RUN)/relay demo

test: $(DEV) browser ## Run the tests on all cores; a selection: make test ARGS="-k budget"
	$(RUN)/python -m pytest -q -n auto --dist worksteal $(ARGS)

coverage: $(DEV) browser ## Run the tests, and measure the coverage of branches
	$(RUN)/python -m pytest -q -n auto --dist worksteal --cov --cov-report=term --no-cov-on-fail $(ARGS)

test-long: $(DEV) browser ## Run the slow tests: tortures, schemathesis, the benchmarks' own tests
	$(RUN)/python -m pytest -q -n auto --dist worksteal -m long $(ARGS)

check: $(DEV) ## Check lint, formatting and types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(DEV) ## Format the code
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

habits: $(DEV) ## Install a git hook that checks each commit like `make check`
	$(RUN)/pre-commit install

bench-polling: $(DEV) ## Compare the relay's polls with the optimum, and simulate whole days: minutes
	$(RUN)/python -m benchmarks.polling $(ARGS)

bench-speed: $(BENCH) ## Compare deliveries and registrations with the limits of two cores: half an hour
	$(RUN)/python -m benchmarks.speed $(ARGS)

bench-waiting: $(DEV) ## Measure what 10,000 open waits cost, and how soon they are answered: a few minutes
	$(RUN)/python -m benchmarks.waiting $(ARGS)

lock: $(DEV) ## Pin all requirements, with hashes
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null RELAY_PIP_COMPILE=$(RUN)/pip-compile sh requirements/lock.sh

renew: $(DEV) ## Update the digests of base images and actions; needs the network
	@$(RUN)/python -m requirements.renew $(ARGS)

image: ## Build the container image
	docker buildx bake

fuzz: $(SECURITY) ## Fuzz every parser, a minute each; longer: make fuzz SECONDS=600
	$(RUN)/python -m tests.fuzz $(SECONDS)

guards: $(DEV) ## Remove each guard that SECURITY.md names, and check that its test fails; takes minutes
	$(RUN)/python -m tests.security $(ARGS)

torture: $(DEV) ## Kill relays, disconnect databases, fill disks, many times, and count losses: an hour or more; one: make torture ARGS="kill-sqlite"
	$(RUN)/python -m tests.torture $(ARGS)

simulate: $(DEV) ## Run whole relays in simulated time under faults drawn from seeds: 1,000 seeds; more: make simulate ARGS="--seeds 100000"
	$(RUN)/python -m tests.simulation $(ARGS)

audit: $(SECURITY) ## Check the pins for known vulnerabilities; needs the network
	@RELAY_PIP_AUDIT=$(RUN)/pip-audit sh requirements/audit.sh

sbom: $(SECURITY) ## List the contents of the image, as CycloneDX: build/sbom.cdx.json
	@RELAY_RUN=$(RUN) sh requirements/sbom.sh

release: $(DEV) ## Build wheel and source distribution in dist/, install the wheel in an empty environment, run the demo from it
	@RELAY_RUN=$(RUN) sh requirements/release.sh

tag: $(DEV) ## Make a release's section of CHANGELOG.md, its commit and its tag; everything except the push
	@$(RUN)/python -m requirements.tagging

workflows: $(DEV) ## Check .github/workflows with actionlint, and what a release may do; builds actionlint with Go
	$$(sh requirements/tool.sh actionlint)
	$(RUN)/python -m pytest -q tests/deploy/workflows.py $(ARGS)

chart: $(DEV) ## Lint and render deploy/helm with Helm, and check the result; builds Helm with Go
	@sh requirements/tool.sh helm > /dev/null
	$(RUN)/python -m pytest -q tests/deploy/chart.py $(ARGS)

manifests: ## Generate deploy/kubernetes from the chart
	@sh requirements/manifests.sh

proxies: $(DEV) ## Test each recipe of deploy/proxies in front of a real relay; lists missing proxies
	@for one in nginx caddy; do sh requirements/tool.sh $$one > /dev/null || true; done
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/proxies.txt
	$(RUN)/python -m pytest -q -rs tests/deploy/proxies.py $(ARGS)

clients: $(DEV) ## Lint the OpenAPI document, and try clients that are generated from it; lists what is missing
	@$(PYTHON) -m venv build/openapi-client
	@build/openapi-client/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/clients.lock
	$(RUN)/python -m pytest -q -rs tests/deploy/clients.py $(ARGS)

bodies: $(DEV) ## Judge the bodies for chats by the services' own types and parsers; needs node
	$(RUN)/python -m pytest -q -rs tests/deploy/bodies.py $(ARGS)

receivers: $(DEV) ## Start each receiver of the documentation in its language; lists missing languages
	$(RUN)/python -m pytest -q -rs tests/deploy/receivers.py $(ARGS)

walk: $(DEV) ## Walk the page "Ten minutes" on a clean Debian with its own systemd; needs root, debootstrap and the network
	$(RUN)/python -m pytest -q -rs tests/deploy/walk.py $(ARGS)

browser: $(DEV) ## Install a browser for the dashboard's tests, if there is none
	@$(RUN)/python -m tests.dashboard.browsers

screenshots: $(DEV) browser ## Redraw the README's pictures of the dashboard
	@$(RUN)/python -m tests.dashboard.screenshots docs/images

docs: $(DEV) ## Build the documentation into docs/_build/html; a dead link is an error
	$(RUN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean: ## Remove the virtual environment and the files of tests and builds
	rm -rf $(VENV) build dist docs/_build docs/reference integrations/zapier/node_modules tests/javascript/node_modules tests/openapi/node_modules \
	  .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "The relay needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "This Python can't make virtual environments; on Debian: apt install python3-venv"; exit 1; }

$(DEMO): requirements/runtime.txt requirements/build.txt pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) (once) ..."
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/runtime.txt
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): requirements/dev.txt $(DEMO)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(SECURITY): requirements/security.txt $(DEV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/security.txt
	@touch $@

$(BENCH): requirements/bench.txt $(DEV)
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@
