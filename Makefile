# Beamdesk. Plain `make` prints this help.

.DEFAULT_GOAL := help
VENV := .venv
RUN := $(VENV)/bin

help:  ## This help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup:  ## Install what is missing: Debian packages, the virtual environment, the browser's files
	@./setup.sh

demo: setup  ## Start everything on this machine; Ctrl-C stops it and leaves nothing behind
	@$(RUN)/beamdesk demo

peers: setup  ## Install what the tests are held against: a real OpenStack, an EC2 API, an OpenID provider
	@./setup.sh peers

test: peers lint  ## Run all tests, the browser's ones included (ARGS="-k launch" for some)
	@$(RUN)/python -m pytest $(ARGS)

lint: setup  ## ruff, bandit, mypy, the import contracts, and known vulnerabilities of packages
	@$(RUN)/ruff check . && $(RUN)/ruff format --check --quiet . && $(RUN)/mypy && $(RUN)/lint-imports
	@$(RUN)/bandit --quiet --configfile pyproject.toml --recursive broker web agents
	@$(RUN)/python .ci/vulnerabilities.py

bench: setup  ## Measure (NAME=launch for one); prints a table and writes build/bench.json
	@$(RUN)/python -m bench $(NAME)

fuzz: setup  ## Feed the gateways' parsers whatever leads somewhere new (NAME=x224 for one; SECONDS=600 for each)
	@[ -d build/atheris ] || $(RUN)/pip install --quiet --no-deps --target build/atheris -r tests/fuzz/requirements.txt
	@SECONDS=$(or $(SECONDS),60) PYTHONPATH=build/atheris $(RUN)/python -m tests.fuzz $(NAME)

picture: setup  ## Make the README's picture anew, as the tests see it
	@$(RUN)/python -m pytest -n 0 -q tests/journeys -k readme && cp build/pictures/desktop.png docs/desktop.png

format:  ## Format the code as `make lint` wants it
	@$(RUN)/ruff format . && $(RUN)/ruff check --fix .

clean:  ## Remove what setup and demo made in this folder, and the demo's homes
	@if [ -x $(RUN)/beamdesk ]; then $(RUN)/beamdesk demo --clean; fi
	@rm -rf $(VENV) .venv-openstack .venv-ec2 node_modules tests/peers/oidc/node_modules web/static/vendor build var

.PHONY: help setup peers demo test lint bench fuzz picture format clean
