# Needs git, make and Python 3.11 to 3.13. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
UV ?= uv
# More options for pytest: make test PYTEST_ARGS="-k kinship"
PYTEST_ARGS ?=

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export MPLBACKEND ?= Agg

# The stamps are written last, so that an interrupted setup starts again from nothing.
LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed

# A virtual environment holds absolute paths: one that was copied or moved here is made again.
ifneq ($(shell cat $(LOCKED) 2>/dev/null),$(CURDIR))
.PHONY: $(LOCKED)
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format bench docs notebooks lock clean distclean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(INSTALLED)  ## make .venv from requirements.lock, if it is missing or out of date
	@:

demo: setup  ## run the whole job on a simulated cohort, into demo/
	$(BIN)/genoweave demo $(DEMO)/
	@echo "Report: $(DEMO)/report/index.html   Files to give away: $(DEMO)/release/"

test: setup  ## run the tests
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: setup  ## check style, format and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: setup  ## time each stage
	$(BIN)/python benchmarks/stages.py

docs: setup  ## build the documentation, warnings are errors
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

# Notebooks are kept as percent scripts; they run as copies, so that nothing is written beside them.
notebooks: setup  ## run every notebook
	@set -e; \
	set -- notebooks/*.py; \
	if [ ! -e "$$1" ]; then echo "No notebooks to run."; exit 0; fi; \
	work=$$(mktemp -d); trap 'rm -rf "$$work"' EXIT; \
	cp "$$@" "$$work"; \
	export PATH="$(CURDIR)/$(BIN):$$PATH" JUPYTER_PREFER_ENV_PATH=1; \
	export GENOWEAVE_TEST_DATA="$${GENOWEAVE_TEST_DATA:-$(abspath ../shared/data)}"; \
	cd "$$work"; \
	jupytext --quiet --to ipynb --set-kernel python3 *.py; \
	pytest -ra --nbmake *.ipynb

lock:  ## resolve requirements.lock anew from pyproject.toml (needs uv)
	$(UV) pip compile pyproject.toml --extra demo --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header -o requirements.lock

clean:  ## remove what the other targets made, except .venv
	rm -rf demo build dist docs/_build docs/jupyter_execute
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests benchmarks notebooks docs -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean  ## clean, and remove .venv
	rm -rf $(VENV)

# --- the virtual environment ---------------------------------------------------------------------

# Shims can exist and fail, and Debian's Python can lack venv: a candidate has to prove itself.
# It prints its base interpreter, because the one on PATH may belong to the .venv being replaced.
PYTHONS := $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python)
PROOF := import sys, ensurepip, venv; assert (3, 11) <= sys.version_info < (3, 14); \
  print(getattr(sys, "_base_executable", sys.executable))

$(LOCKED): requirements.lock
	@set -e; \
	for candidate in $(PYTHONS); do \
	  if python=$$("$$candidate" -c '$(PROOF)' 2>/dev/null); then break; else python=; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "genoweave needs Python 3.11, 3.12 or 3.13 with its venv module, and none of these is one:" \
	    $(PYTHONS)". Install one (on Debian: python3 and python3-venv) or name it, as in" \
	    "make setup PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up .venv with $$python (one to three minutes) ..."; \
	rm -rf $(VENV); \
	"$$python" -m venv $(VENV); \
	$(BIN)/python -m pip install -qq --require-hashes -r requirements.lock; \
	printf '%s\n' "$(CURDIR)" > $@

$(INSTALLED): $(LOCKED) pyproject.toml
	@rm -f $@
	@$(BIN)/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@
