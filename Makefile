# `make` lists the targets. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Named after the interpreter, so that another PYTHON makes a new environment.
STAMP := $(VENV)/.ready-$(subst /,_,$(PYTHON))

.DEFAULT_GOAL := help
.PHONY: help demo test test-ci lint accuracy clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

$(STAMP): pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh "$(PYTHON)" $(VENV)
	@touch $@

demo: $(STAMP) ## see the gate fail a planted slowdown and pass harmless changes in a real library (some minutes)
	$(BIN)/python scripts/demo.py

test: $(STAMP) ## run the tests, then the lint
	@sh scripts/ci-tools.sh .tools
	$(BIN)/python -m pytest
	@$(MAKE) --no-print-directory lint

test-ci: $(STAMP) ## execute the CI templates in every scenario (some minutes); see docs/ci/README.md
	@sh scripts/ci-tools.sh .tools
	BLCPERF_TEST_CI=1 $(BIN)/python -m pytest tests/test_ci_templates.py

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

accuracy: $(STAMP) ## measure detection and false failures of the gate (hours); see docs/accuracy.md
	$(BIN)/python tests/accuracy/gate_accuracy.py

clean: ## remove the virtual environment, the demo and every cache
	rm -rf $(VENV) .tools .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
