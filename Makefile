# The two commands of the README are `make site` and `make test`; the others are their parts.
SHELL := /bin/bash
# Ansible refuses to run in a locale that is not UTF-8.
export LC_ALL := C.UTF-8
# What the caller's shell says about databases and Ansible is meant for `make site` alone.
ifeq ($(filter site,$(MAKECMDGOALS)),)
unexport $(filter PG% POSTGRES_% DATABASE_URL ANSIBLE_% MISSION_CONTROL_ENV_FILE,$(.VARIABLES))
endif
BIN := .venv/bin
SCENARIOS ?=
# Of PostgreSQL, beside this machine's own.
VERSIONS ?= 14 18
ARGS ?=

.PHONY: help site test lint sanity molecule pytest versions attack bench docs test-venv clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

site: ## Provision this machine (ARGS="--check --diff" and the like are handed on)
	@scripts/site $(ARGS)

test: ## Run everything: lint, ansible-test, Molecule on booted hosts, unit and integration tests
	@MAKE="$(MAKE)" scripts/test

test-venv:
	@scripts/venv requirements-test.txt

lint: test-venv ## ansible-lint (production), yamllint, ruff, mypy, squawk, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict
	$(BIN)/squawk $$(git ls-files 'files/sql/migrations/*.sql' 'files/sql/repeatable/*.sql' 'files/sql/runner/*.sql')
	$(BIN)/shellcheck $$(git ls-files scripts .ci molecule | xargs grep -lE '^#!.*sh$$')

sanity: test-venv ## ansible-test sanity, and Galaxy's importer, on the collection as it is built and installed
	@$(BIN)/python scripts/sanity.py
	@scripts/galaxy-importer

molecule: test-venv ## Booted Debian hosts under Podman (SCENARIOS="default homelab" for some of them)
	@scripts/install-test-packages
	@scripts/molecule $(SCENARIOS)

pytest: test-venv ## Unit tests, and integration tests on a throw-away cluster (ARGS are handed to pytest)
	@scripts/install-test-packages
	@scripts/postgresql-versions $(VERSIONS)
	@MISSION_CONTROL_TEST_PG_VERSIONS="$(VERSIONS)" $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

versions: VERSIONS = 14 16 17 18
versions: test-venv ## The tests that speak SQL alone, with other versions of PostgreSQL than this machine's own (VERSIONS)
	@scripts/install-test-packages
	@scripts/postgresql-versions $(VERSIONS)
	@MISSION_CONTROL_TEST_PG_VERSIONS="$(VERSIONS)" $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder -m other_version tests/integration $(ARGS)

attack: test-venv ## Attack audit log, privileges, inputs and runs for longer than `make pytest` does (WRITERS, TRANSACTIONS, ROUNDS, EDITS, INPUTS, PLAYS, KILLS, PLAYBOOK_KILLS, SEED)
	@scripts/install-test-packages
	@MISSION_CONTROL_ATTACK_WRITERS=$(or $(WRITERS),32) MISSION_CONTROL_ATTACK_TRANSACTIONS=$(or $(TRANSACTIONS),60) \
	  MISSION_CONTROL_ATTACK_ROUNDS=$(or $(ROUNDS),20) MISSION_CONTROL_ATTACK_EDITS=$(or $(EDITS),3000) \
	  MISSION_CONTROL_ATTACK_INPUTS=$(or $(INPUTS),1000) MISSION_CONTROL_ATTACK_PLAYS=$(or $(PLAYS),150) \
	  MISSION_CONTROL_ATTACK_KILLS=$(or $(KILLS),16) MISSION_CONTROL_ATTACK_PLAYBOOK_KILLS=$(or $(PLAYBOOK_KILLS),15) $(if $(SEED),MISSION_CONTROL_ATTACK_SEED=$(SEED)) \
	  $(BIN)/pytest --capture=no tests/integration/test_attack_*.py tests/integration/test_permissions.py $(ARGS)

bench: test-venv ## Print figures; asserts nothing (NAMES="views site" for some of them)
	@scripts/install-test-packages
	@scripts/bench $(NAMES)

docs: test-venv ## Write again what is generated: the tables of variables, health checks and the API, the picture of the tables, the matrix of privileges
	for role in roles/*; do $(BIN)/aar-doc --output-template scripts/variables.md.j2 "$$role" markdown || exit; done
	$(BIN)/python scripts/reference_tables.py
	$(BIN)/python scripts/er_diagram.py
	$(BIN)/python scripts/permissions.py

clean: ## Remove what the targets above have made in this directory
	rm -rf .venv .cache .ansible dist .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
