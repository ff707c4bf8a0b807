# Every command of a developer. CI calls `make test` and nothing else.
.DEFAULT_GOAL := help
.PHONY: help up down setup check test unit bench docs lock clean

bin := .venv/bin
packages := clusterkit llama_expert moe_gateway pipecatapp hearth

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

up: ## set Hearth up on this machine and start it
	./bootstrap.sh

down: ## stop it
	$(bin)/hearth down

# Touched after a successful set-up; newer than the locks means there is nothing to do.
.cache/setup: bootstrap.sh pyproject.toml locks/dev.txt
	./bootstrap.sh --install-only --dev
	@mkdir -p .cache && touch $@

setup: .cache/setup ## install everything that developing needs

check: setup ## lint, types, import contracts, repository rules: under a minute
	$(bin)/ruff format --check $(packages) tests docs
	$(bin)/ruff check $(packages) tests docs
	$(bin)/mypy
	$(bin)/lint-imports --no-cache
	$(bin)/pytest -q tests/repository

unit: setup ## the fast tests
	$(bin)/pytest -q tests/unit

test: check ## all tests
	$(bin)/pytest

bench: setup ## benchmarks, printed as ratios beside a peer
	$(bin)/python -m tests.benchmarks

docs: setup ## write the generated reference pages anew
	$(bin)/python -m docs.generate

lock: ## resolve the dependencies anew
	cd locks && sh ./compile.sh

clean: ## remove what was built or installed here
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
