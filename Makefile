# Every target sets up what it needs; a fresh machine needs only make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
DEV := $(VENV)/.dev-installed
DEMO := $(VENV)/.demo-installed
SECURITY := $(VENV)/.security-installed
BENCH := $(VENV)/.bench-installed
SECONDS ?= 60

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check format bench-polling bench-scaling bench-speed lock renew image habits fuzz guards torture \
  audit sbom release tag workflows chart manifests proxies docs browser screenshots clean

help: ## Show what there is to make
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

demo: $(DEMO) ## See the relay work: sandbox Exec, relay and receiver on this machine, no account
	@$(RUN)/relay demo

test: $(DEV) browser ## Run the tests on all cores, with branch coverage; some: make test ARGS="-k budget"
	$(RUN)/python -m pytest -q -n auto --dist worksteal --cov --cov-report=term --no-cov-on-fail $(ARGS)

test-long: $(DEV) browser ## Run what takes long: tortures, schemathesis, benchmarks' own tests
	$(RUN)/python -m pytest -q -n auto --dist worksteal -m long $(ARGS)

check: $(DEV) ## Lint, formatting, types
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy

format: $(DEV) ## Format the code
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

habits: $(DEV) ## Have git check what is about to be committed, as `make check` does
	$(RUN)/pre-commit install

bench-polling: $(DEV) ## How near the relay's polls come to the optimum, and whole days of them: minutes
	$(RUN)/python -m benchmarks.polling $(ARGS)

bench-speed: $(BENCH) ## How near deliveries and registrations come to what two cores can do: half an hour
	$(RUN)/python -m benchmarks.speed $(ARGS)

bench-scaling: $(DEV) ## What several relays cost one PostgreSQL, and what it could carry: minutes
	$(RUN)/python -m benchmarks.scaling $(ARGS)

lock: $(DEV) ## Pin the requirements anew, with hashes
	env -u PIP_FIND_LINKS -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null RELAY_PIP_COMPILE=$(RUN)/pip-compile sh requirements/lock.sh

renew: $(DEV) ## Take the newest digests of base images and actions into the files that name them; needs the network
	@$(RUN)/python -m requirements.renew $(ARGS)

image: ## Build the container image
	docker buildx bake

fuzz: $(SECURITY) ## Fuzz every parser, a minute each; longer: make fuzz SECONDS=600
	$(RUN)/python -m tests.fuzz $(SECONDS)

guards: $(DEV) ## Take out each guard that SECURITY.md names, and see its test fail; takes minutes
	$(RUN)/python -m tests.security $(ARGS)

torture: $(DEV) ## Kill, cut and fill up everything, many times, and count what was lost: an hour or more; some: make torture ARGS="kill-sqlite"
	$(RUN)/python -m tests.torture $(ARGS)

audit: $(SECURITY) ## Ask for known vulnerabilities of what is pinned; needs the network
	@RELAY_PIP_AUDIT=$(RUN)/pip-audit sh requirements/audit.sh

sbom: $(SECURITY) ## List what the image runs, as CycloneDX: build/sbom.cdx.json
	@RELAY_RUN=$(RUN) sh requirements/sbom.sh

release: $(DEV) ## Make wheel and source distribution in dist/, install the wheel elsewhere, run the demo from it
	@RELAY_RUN=$(RUN) sh requirements/release.sh

tag: $(DEV) ## Make the section of CHANGELOG.md, the commit and the tag of a release; all but the push
	@$(RUN)/python -m requirements.tagging

workflows: $(DEV) ## Judge .github/workflows with actionlint, and what a release may do; builds actionlint with Go
	$$(sh requirements/tool.sh actionlint)
	$(RUN)/python -m pytest -q tests/deploy/workflows.py $(ARGS)

chart: $(DEV) ## Lint and render deploy/helm with Helm, judge what comes of it; builds Helm with Go
	@sh requirements/tool.sh helm > /dev/null
	$(RUN)/python -m pytest -q tests/deploy/chart.py $(ARGS)

manifests: ## Make deploy/kubernetes out of the chart anew
	@sh requirements/manifests.sh

proxies: $(DEV) ## Put each recipe of deploy/proxies before a real relay; says which proxies are not there to try
	@for one in nginx caddy; do sh requirements/tool.sh $$one > /dev/null || true; done
	@$(RUN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/proxies.txt
	$(RUN)/python -m pytest -q -rs tests/deploy/proxies.py $(ARGS)

browser: $(DEV) ## Install the browser that the dashboard's tests drive, where there is none
	@$(RUN)/python -m tests.dashboard.browsers

screenshots: $(DEV) browser ## Draw the README's pictures of the dashboard anew
	@$(RUN)/python -m tests.dashboard.screenshots docs/images

docs: $(DEV) ## Build the documentation into docs/_build/html; a dead link fails it
	$(RUN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

clean: ## Remove the virtual environment and what tests leave behind
	rm -rf $(VENV) build dist docs/_build docs/reference integrations/zapier/node_modules tests/javascript/node_modules \
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
