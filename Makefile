# Every command of a developer. CI calls `make test` and nothing else.
.DEFAULT_GOAL := help
.PHONY: help up down plan setup check test machine unit roles mutants campaign lab molecule faults playbooks bench docs lock clean

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
	@$(bin)/python -m docs.stale

# Ansible is started for every one of these; they are most of the time of all tests in tests/unit.
role_tests := tests/unit/ansible_roles tests/unit/ansible_host_roles

unit: setup ## the fast tests: those of the Python packages
	$(bin)/pytest -q tests/unit $(addprefix --ignore=,$(role_tests))

roles: setup ## the tests of the Ansible roles that need no host of their own
	$(bin)/pytest -q $(role_tests)

# Before tests are collected: what is missing here must fail, not be skipped.
machine: setup ## install and build what tests need: Debian's packages, Consul, Nomad
	$(bin)/python -m tests.lab setup

# The results of mutants change the generated page: they come last.
test: check machine ## all tests, those on a lab of hosts too, and the killed mutants whose file or tests have changed
	$(bin)/pytest --strict-skips
	$(bin)/python -m tests.mutants --changed --no-lab --seconds 1200

campaign: machine ## what nobody waits for: playbooks, Molecule, faults, all mutants; writes docs/results
	$(bin)/python -m tests.campaign

mutants: setup ## break the product on purpose, the new and stale mutants or those of ROW=id: marked tests see it
	$(bin)/python -m tests.mutants $(ROW)

lab: machine ## three blank hosts on this machine, to try the cluster on
	$(bin)/python -m tests.lab up lab

molecule: machine ## the Molecule scenarios of all roles, or of ROLE=name
	$(bin)/python -m tests.lab.molecule_run $(ROLE)

faults: machine ## the fault campaign on a lab, or only CASE=name
	$(bin)/python -m tests.faults $(CASE)

playbooks: machine ## the cluster's playbooks on labs of three hosts; half an hour
	$(bin)/pytest tests/playbooks

bench: setup ## benchmarks, printed as ratios beside a peer
	$(bin)/python -m tests.benchmarks

docs: setup ## write the generated reference pages anew
	$(bin)/python -m docs.generate

lock: ## resolve the dependencies anew
	cd locks && sh ./compile.sh

clean: ## remove what was built or installed here
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
