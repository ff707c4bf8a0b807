# Every command of a developer. CI calls `make test` and nothing else.
.DEFAULT_GOAL := help
.PHONY: help up down plan setup check test unit mutants lab molecule faults playbooks bench docs lock clean

bin := .venv/bin
packages := clusterkit llama_expert moe_gateway pipecatapp hearth
playbooks = playbook.yaml heal_cluster.yaml e2e-tests.yaml $(wildcard ansible/playbooks/*.yaml)

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

up: ## set Hearth up on this machine and start it
	./bootstrap.sh

down: ## stop it
	$(bin)/hearth down

plan: ## what playbook.yaml would change and restart: status 0 nothing, 2 something
	@ansible/plan.sh

# Touched after a successful set-up; newer than the locks means there is nothing to do.
.cache/setup: bootstrap.sh pyproject.toml locks/dev.txt
	./bootstrap.sh --install-only --dev
	@mkdir -p .cache && touch $@

setup: .cache/setup ## install everything that developing needs

# Starts Ansible for every role and playbook, so only when something of them changed.
.cache/ansible-linted: $(playbooks) inventory.yaml $(shell find .config ansible group_vars -type f) | .cache/setup
	$(bin)/ansible-lint --nocolor
	@touch $@

# Nothing here is encrypted: checking must not make the password of a site.
check: export HEARTH_VAULT_PASSWORD_FILE := $(CURDIR)/.cache/checks-vault-password
check: setup .cache/ansible-linted ## lint, types, import contracts, playbooks, repository rules: under a minute
	$(bin)/ruff format --check $(packages) tests docs
	$(bin)/ruff check $(packages) tests docs
	$(bin)/mypy
	$(bin)/lint-imports --no-cache
	$(bin)/ansible-playbook --syntax-check $(playbooks) >/dev/null
	$(bin)/pytest -q tests/repository

unit: setup ## the fast tests
	$(bin)/pytest -q tests/unit

test: check ## all tests, those on a lab of hosts too
	-$(bin)/python -m tests.lab setup
	$(bin)/pytest

mutants: setup ## break the product on purpose, the new and stale mutants or those of ROW=id: marked tests see it
	$(bin)/python -m tests.mutants $(ROW)

lab: setup ## three blank hosts on this machine, to try the cluster on
	$(bin)/python -m tests.lab setup
	$(bin)/python -m tests.lab up lab

molecule: setup ## the Molecule scenarios of all roles, or of ROLE=name
	$(bin)/python -m tests.lab setup
	$(bin)/python -m tests.lab.molecule_run $(ROLE)

faults: setup ## the fault campaign on a lab, or only CASE=name
	$(bin)/python -m tests.lab setup
	$(bin)/python -m tests.faults $(CASE)

playbooks: setup ## the cluster's playbooks on labs of three hosts; half an hour
	$(bin)/python -m tests.lab setup
	$(bin)/pytest tests/playbooks

bench: setup ## benchmarks, printed as ratios beside a peer
	$(bin)/python -m tests.benchmarks

docs: setup ## write the generated reference pages anew
	$(bin)/python -m docs.generate

lock: ## resolve the dependencies anew
	cd locks && sh ./compile.sh

clean: ## remove what was built or installed here
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
