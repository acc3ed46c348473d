# Aletheia. `make` lists the targets.

.DEFAULT_GOAL := help
.PHONY: help install demo up down doctor test check lint format coverage services neo4j \
	configuration openapi constraints clean

BIN := .venv/bin
STAMP := .venv/.installed
TESTS ?= tests
WORKERS ?= 4
export UV_SYSTEM_CERTS ?= true
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# The tests start some hundred processes: each would compile what the one before it has compiled.
unexport PYTHONDONTWRITEBYTECODE

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt deployments/install.sh
	@PYTHON='$(PYTHON)' TORCH='$(TORCH)' sh deployments/install.sh
	@touch $@

install: $(STAMP) ## Make .venv with everything (PYTHON=python3.12, TORCH=cpu)

demo: $(STAMP) ## Tasks and a gather before your eyes (PROCESSING_MODE=hybrid, KEEP=1)
	@$(BIN)/aletheia demo $(if $(KEEP),--keep)

up: $(STAMP) ## Start server, worker, and examples of what API_BASE_URL and NEXT_PUBLIC_APP_URL lack
	@$(BIN)/aletheia up

down: $(STAMP) ## End what `make up` or `make demo KEEP=1` left running
	@$(BIN)/aletheia down

doctor: $(STAMP) ## Check a set-up end to end
	@$(BIN)/aletheia doctor

test: $(STAMP) ## Run the tests (TESTS=tests/aletheia, WORKERS=4 processes)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

check: lint test ## Everything before a commit: format, lint, types, layers, tests

lint: $(STAMP) ## Format, lint, types and layers, without the tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python -m deployments.generated --check

format: $(STAMP) ## Format, and mend what ruff can mend
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format

coverage: $(STAMP) ## Branch coverage of the library: 90 % in all, 80 % of each file
	@$(BIN)/python -m pytest $(TESTS) --cov=aletheia --cov-branch --cov-report=term:skip-covered \
		--cov-report=json:.pytest_cache/coverage.json --cov-fail-under=90
	@$(BIN)/python tests/policies/file_coverage.py .pytest_cache/coverage.json 80

services: $(STAMP) ## Install the test servers that PyPI, npm and Maven offer, into .services/
	@sh tests/services/install_nx.sh
	@sh tests/services/install_oauth2.sh
	@sh tests/services/install_neo4j.sh
	@sh tests/services/install_browser.sh

neo4j: $(STAMP) ## For developers: run the Neo4j of the tests, empty, until Ctrl-C (needs Java and Maven)
	@sh tests/services/install_neo4j.sh
	@$(BIN)/python -m tests.services.neo4j_server

configuration: $(STAMP) ## Write the pages of docs/ that are generated, and .env.example
	@$(BIN)/python -m deployments.generated

openapi: $(STAMP) ## Write docs/openapi.json from the service
	@$(BIN)/python -m deployments.generated

constraints: $(STAMP) ## Lock versions again after changing pyproject.toml (UPGRADE=1: all of them)
	@printf 'uv\nhatchling\n' | $(BIN)/uv pip compile pyproject.toml - --extra dev --extra gpu --extra ocr --extra offline --extra otel --extra speech --extra translation --extra ui \
		--universal --python-version 3.11 --no-header --no-annotate --system-certs \
		$(if $(UPGRADE),--upgrade) --output-file constraints.txt >/dev/null
	@echo "constraints.txt locks $$(grep -c == constraints.txt) packages"

clean: ## Remove what can be made again; .venv and .aletheia stay
	rm -rf .pytest_cache .ruff_cache .import_linter_cache .coverage .services dist build
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
