# `make` lists the targets. PYTHON=python3.12 picks another interpreter.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Named after the interpreter, so that another PYTHON makes a new environment.
STAMP := $(VENV)/.ready-$(subst /,_,$(PYTHON))

# Browsers, servers and samples on a busy shared machine: what fails there is run once more, alone, and named.
RUN_AGAIN = { echo "make: some tests failed; running those once more, alone"; \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none; }

.DEFAULT_GOAL := help
.PHONY: help demo test test-ci lint test-matrix public-suites accuracy reporttools clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 22

$(STAMP): pyproject.toml scripts/setup.sh
	@sh scripts/setup.sh "$(PYTHON)" $(VENV)
	@touch $@

demo: $(STAMP) ## see the gate fail a planted slowdown and pass harmless changes in a real library (some minutes)
	$(BIN)/python scripts/demo.py

test: $(STAMP) ## run the tests, then the lint
	@sh scripts/ci-tools.sh .tools/gitlab
	$(BIN)/python -m pytest || $(RUN_AGAIN)
	@$(MAKE) --no-print-directory lint

test-ci: $(STAMP) ## execute the CI templates in every scenario (some minutes); see docs/ci/README.md
	@sh scripts/ci-tools.sh .tools/gitlab
	BLCPERF_TEST_CI=1 $(BIN)/python -m pytest tests/test_ci_templates.py

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test-matrix: $(STAMP) ## run tests/matrix with many releases of pytest, Python and other plugins (half an hour)
	$(BIN)/nox

public-suites: $(STAMP) ## run the benchmark suites of public projects under --blcperf; see docs/compatibility.md (half an hour)
	$(BIN)/python scripts/public_suites.py

accuracy: $(STAMP) ## measure detection and false failures of the gate (hours); see docs/accuracy.md
	$(BIN)/python tests/accuracy/gate_accuracy.py

reporttools: ## install Chromium, speedscope and the Firefox Profiler's command line for the report tests
	sh scripts/report_tools.sh .tools

clean: ## remove the virtual environment, the demo and every cache
	rm -rf $(VENV) .nox .public-suites .demo .tools build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
