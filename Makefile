# `make demo` runs the first example, `make test` everything that must hold. Both make the environment they need.
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo test unit lint format bench docs lock clean

help:            ## show this list
	@grep -hE '^[a-z]+: .*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 18

$(VENV)/runtime: pyproject.toml requirements.lock
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -q src || true
	@touch $@

$(VENV)/tests: $(VENV)/runtime requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@

demo: $(VENV)/runtime  ## run examples/first-workflow, rehearsed offline
	@$(BIN)/autoglm run examples/first-workflow/config/workflow.yaml --offline

test: lint unit  ## install what the tests need, then check and test everything

unit: $(VENV)/tests  ## the tests alone
	@$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/tests  ## formatting, lint, types, floors
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

format: $(VENV)/tests  ## format and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: $(VENV)/tests  ## measure against peers and limits (makes their environments)
	@$(BIN)/python bench/run.py

docs: $(VENV)/tests  ## write again what the documentation takes from the code
	@$(BIN)/python docs/generate.py

lock:            ## pin what is installed, with hashes and without addresses (needs uv)
	uv export --quiet --format requirements.txt --no-emit-project --no-default-groups --no-annotate --no-header -o requirements.lock
	uv export --quiet --format requirements.txt --no-emit-project --all-groups --no-annotate --no-header -o requirements-dev.lock
	rm -f uv.lock

clean:           ## remove what the other targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/*/.autoglm examples/*/out examples/*/models examples/*/data/records.jsonl
