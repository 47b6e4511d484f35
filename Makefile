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
PARTS ?=
VERSIONS ?= 16 17
ARGS ?=

PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

.PHONY: help site check test test-all slow unit lint sanity molecule pytest versions attack bench docs docsite changelog dist prices test-venv clean

help: ## Say what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

site: ## Provision this machine (ARGS="--check --diff" and the like are handed on)
	@scripts/site $(ARGS)

check: test-venv ## Lint, types and unit tests: what one runs while working
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint unit

test: ## check, ansible-test, integration tests, Molecule's everyday scenarios, and the slow parts whose files have changed
	@MAKE="$(MAKE)" PYTEST="$(PYTEST)" scripts/test

test-all: ## Everything: also every slow part (other versions of PostgreSQL, attacks, kills, the other scenarios)
	@MAKE="$(MAKE)" PYTEST="$(PYTEST)" scripts/test --all

slow: ## Some slow parts alone (PARTS="backup kills"); tests/slow_parts.yml names them
	@$(if $(PARTS),PYTEST="$(PYTEST)" scripts/test $(PARTS),echo 'usage: make slow PARTS="NAME …", from tests/slow_parts.yml' >&2; exit 2)

test-venv:
	@scripts/venv requirements-test.txt

lint: test-venv ## ansible-lint (production), yamllint, ruff, mypy, squawk, shellcheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/ansible-lint --offline --strict
	$(BIN)/squawk $$(git ls-files 'files/sql/migrations/*.sql' 'files/sql/repeatable/*.sql' 'files/sql/runner/*.sql')
	$(BIN)/shellcheck $$(git ls-files scripts .ci molecule files | xargs grep -lE '^#!.*sh$$')

sanity: test-venv ## ansible-test sanity, and Galaxy's importer, on the collection as it is built and installed
	@$(BIN)/python scripts/sanity.py
	@scripts/galaxy-importer

molecule: test-venv ## Booted Debian hosts under Podman (SCENARIOS="default homelab" for some of them)
	@scripts/install-test-packages
	@scripts/molecule $(SCENARIOS)

unit: test-venv ## Unit tests
	@$(PYTEST) tests/unit $(ARGS)

pytest: test-venv ## Unit tests, and the everyday integration tests on a throw-away cluster (ARGS are handed to pytest)
	@scripts/install-test-packages
	@$(PYTEST) -m "not slow" $(ARGS)

versions: test-venv ## What speaks SQL alone, with other versions of PostgreSQL (VERSIONS="16 17")
	@scripts/install-test-packages
	@scripts/postgresql-versions $(VERSIONS)
	@MISSION_CONTROL_TEST_PG_VERSIONS="$(VERSIONS)" $(PYTEST) -m "slow(other_version=True)" tests/integration $(ARGS)

attack: test-venv ## Attack audit log, privileges, inputs and runs for longer than `make test-all` does (WRITERS, TRANSACTIONS, ROUNDS, EDITS, INPUTS, PLAYS, KILLS, PLAYBOOK_KILLS, RECORDER_KILLS, TOOL_KILLS, USAGES, DECISIONS, DRILLS, SEED)
	@scripts/install-test-packages
	@MISSION_CONTROL_ATTACK_WRITERS=$(or $(WRITERS),32) MISSION_CONTROL_ATTACK_TRANSACTIONS=$(or $(TRANSACTIONS),60) \
	  MISSION_CONTROL_ATTACK_ROUNDS=$(or $(ROUNDS),20) MISSION_CONTROL_ATTACK_EDITS=$(or $(EDITS),3000) \
	  MISSION_CONTROL_ATTACK_INPUTS=$(or $(INPUTS),1000) MISSION_CONTROL_ATTACK_PLAYS=$(or $(PLAYS),150) \
	  MISSION_CONTROL_ATTACK_KILLS=$(or $(KILLS),16) MISSION_CONTROL_ATTACK_PLAYBOOK_KILLS=$(or $(PLAYBOOK_KILLS),15) \
	  MISSION_CONTROL_ATTACK_RECORDER_KILLS=$(or $(RECORDER_KILLS),25) MISSION_CONTROL_ATTACK_TOOL_KILLS=$(or $(TOOL_KILLS),300) \
	  MISSION_CONTROL_ATTACK_USAGES=$(or $(USAGES),3000000) \
	  MISSION_CONTROL_ATTACK_DECISIONS=$(or $(DECISIONS),1000000) $(if $(SEED),MISSION_CONTROL_ATTACK_SEED=$(SEED)) \
	  $(BIN)/pytest --capture=no tests/integration/test_attack_*.py tests/integration/test_recorder_faults.py tests/integration/test_tool_kills.py \
	    tests/integration/test_permissions.py $(ARGS)
	@MISSION_CONTROL_DRILLS=$(or $(DRILLS),100) $(if $(SEED),MISSION_CONTROL_ATTACK_SEED=$(SEED)) scripts/molecule cluster

prices: test-venv ## Write the price list from the pinned genai-prices; read the difference
	@$(BIN)/python scripts/prices.py

bench: test-venv ## Print figures; asserts nothing (NAMES="views site" for some of them)
	@scripts/install-test-packages
	@scripts/bench $(NAMES)

docs: test-venv ## Write again what is generated: the tables of variables, health checks and the API, the picture of the tables, the matrix of privileges
	for specs in roles/*/meta/argument_specs.yml; do $(BIN)/aar-doc --output-template scripts/variables.md.j2 "$${specs%%/meta/*}" markdown || exit; done
	$(BIN)/python scripts/reference_tables.py
	$(BIN)/python scripts/er_diagram.py
	$(BIN)/python scripts/permissions.py

docsite: test-venv ## Check the documentation of plugins and roles, and build a site of it: build/docsite/html/index.html
	@scripts/docsite

changelog: test-venv ## Check the changelog and its fragments (ARGS=release makes them the release that galaxy.yml names)
	@scripts/changelog $(ARGS)

dist: test-venv ## Build what is published from the last commit, reproducibly: collection, wheel, source distribution, checksums
	@$(BIN)/python scripts/dist.py

clean: ## Remove what the targets above have made in this directory
	rm -rf .venv .cache .ansible dist .pytest_cache .ruff_cache .mypy_cache .hypothesis build *.egg-info
