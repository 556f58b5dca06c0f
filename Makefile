# make demo: watch otjd work.  make test: everything that CI checks.  make help: the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# how many processes share the tests, which wait as much as they work; 0: one without others, as a debugger needs it
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? 2 * n : 8)))
PYTEST := -m pytest --numprocesses $(WORKERS) --dist worksteal
# what lives through hours, tries thousands of inputs or starts processes runs hardly a line that other tests do not,
# and would take three times as long were coverage measured
UNMEASURED := tests/end_to_end tests/faults tests/fuzz tests/test_habits.py tests/gather/test_calendar_day.py \
  tests/gather/test_exchange_end_to_end.py tests/rules/test_damaged_invitations.py tests/rules/test_fuzz.py \
  tests/rules/test_mutations.py tests/serve/test_ews_fuzz.py
SMOKES := $(patsubst bench/%.py,smoke-%,$(wildcard bench/*.py))
# else every process that a test starts compiles otjd anew
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --config-settings editable_mode=compat

.PHONY: help demo install test lint types check-tests interop bench-smoke docs clean $(SMOKES)

help:
	@echo "make demo     run otjd over demo calendars with simulated endpoints"
	@echo "make install  make $(VENV) with otjd in it"
	@echo "make test     lint, types, tests with coverage, benchmark smoke"
	@echo "make interop  try the calendar sources against servers of other makes (needs Node.js and Java)"
	@echo "make docs     write the generated parts of docs/"
	@echo "make clean    remove $(VENV) and everything that was built"

demo: $(VENV)/.installed
	@$(BIN)/otjd demo

install: $(VENV)/.installed

test: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy otjd twisted tests bench
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run $(PYTEST) $(UNMEASURED:%=--ignore=%)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report
	$(BIN)/python $(PYTEST) $(UNMEASURED)
	$(MAKE) --no-print-directory --jobs 2 --output-sync bench-smoke

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .

types: $(VENV)/.installed-test
	$(BIN)/mypy otjd twisted tests bench

check-tests: $(VENV)/.installed-test
	$(BIN)/python $(PYTEST) -q

# without them these tests are skipped, in make test too
interop: $(VENV)/.installed-test tests/interop/node_modules/.installed
	$(BIN)/python -m pytest tests/interop

tests/interop/node_modules/.installed: tests/interop/package.json tests/interop/package-lock.json
	cd tests/interop && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

bench-smoke: $(SMOKES)

$(SMOKES): smoke-%: $(VENV)/.installed-test
	$(BIN)/python bench/$*.py --smoke

docs: $(VENV)/.installed
	$(BIN)/python -m otjd.config.reference > docs/configuration.md

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "otjd needs Python 3.11 or newer; try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python could not make $(VENV); on Debian: apt install python3-venv"; exit 1; }

# the last line of each lets twistd find the plugin without having to write its cache later
$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) -e .
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(BIN)/python
	$(INSTALL) -e '.[test]'
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* .mypy_cache .ruff_cache .hypothesis tests/interop/node_modules
