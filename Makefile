# Everything runs in .venv, which is made on first use from $(PYTHON) (3.10 or later) and never needs root.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
C_FILES := $(wildcard csrc/*.c csrc/*.h)
C_TEST_FILES := $(wildcard tests/*/*.[ch] tests/*/*/*.[ch])
STRICT := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wundef -Wshadow -Wconversion -Werror
SOAK_MINUTES ?= 10

.DEFAULT_GOAL := help
.PHONY: help build demo test crash bench lint types format sanitize soak clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "  PYTHON=python3.x chooses the interpreter; it takes effect when .venv is made (make clean removes it)."

build: $(VENV)/.built ## compile the core and install the package into .venv

demo: build ## the main job on real input, while processes are killed
	@$(BIN)/tablemgr demo

test: build ## all tests, with a seeded sample of the crash tests
	@$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal tests

crash: build ## kill at every instruction of every write operation and of the repair
	@$(BIN)/python -m tests.crash

bench: $(VENV)/.bench ## measure against the peers
	@$(BIN)/tablemgr bench

lint: build $(VENV)/.dev ## ruff, clang-format, and every C warning as an error
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/clang-format --dry-run -Werror $(C_FILES) $(C_TEST_FILES)
	@for file in $(filter %.c,$(C_FILES)); do \
	    $${CC:-cc} -fsyntax-only -O2 $(STRICT) -isystem "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')" $$file || exit 1; \
	done

types: build $(VENV)/.dev ## mypy --strict
	@$(BIN)/mypy

format: $(VENV)/.dev ## bring Python and C files into shape
	@$(BIN)/ruff check --fix-only --exit-zero .
	@$(BIN)/ruff format .
	@$(BIN)/clang-format -i $(C_FILES) $(C_TEST_FILES)

sanitize: build ## C tests under ASan+UBSan and under TSan
	@$(BIN)/python tests/c/run.py

soak: build ## random kill storms, model and ETS runs with fresh seeds, SOAK_MINUTES=10
	@TABLEMGR_SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest --timeout 0 -s \
	    tests/sharing tests/model tests/erlang tests/manager/test_torture.py tests/manager/test_protocol_machine.py

clean: ## remove what was built, .venv included
	rm -rf $(VENV) build dist *.egg-info tablemgr/_core.*.so tablemgr/_codec.*.so tablemgr/_core.c
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- how .venv comes to be ----------------------------------------------------------------------------------------------

PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
define EXPLAIN
{ echo; \
  echo "The dependencies could not be installed: the reason is in the lines above. Usual ones:"; \
  echo "  no network or no package index: set PIP_INDEX_URL or PIP_FIND_LINKS to one that is reachable"; \
  echo "  ffi.h is missing (cffi was compiled): sudo apt-get install libffi-dev   (Fedora: libffi-devel)"; \
  echo "  posix_ipc did not compile: sudo apt-get install build-essential python3-dev"; \
  exit 1; } >&2
endef

$(VENV)/.python:
	@command -v $(PYTHON) > /dev/null || { echo "$(PYTHON) is missing: install Python 3.10 or later, or name yours with make PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) setup.py preflight
	@echo "Making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.built: $(VENV)/.python $(C_FILES) pyproject.toml setup.py tablemgr/_build.py
	@if [ ! -e $(VENV)/.installed ] || [ pyproject.toml -nt $(VENV)/.installed ]; then \
	    $(BIN)/python setup.py preflight || exit 1; \
	    echo "Installing dependencies and compiling"; \
	    $(PIP) install 'setuptools>=77' 'cffi>=1.16' || $(EXPLAIN); \
	    $(PIP) install --no-build-isolation --editable '.[test]' || $(EXPLAIN); \
	    touch $(VENV)/.installed; \
	else \
	    echo "Compiling"; \
	    $(BIN)/python setup.py --quiet build_ext --inplace || exit 1; \
	fi
	@touch $@

$(VENV)/.dev: $(VENV)/.built pyproject.toml
	@[ $(VENV)/.dev -nt pyproject.toml ] || $(PIP) install --no-build-isolation --editable '.[dev]' || $(EXPLAIN)
	@touch $@

$(VENV)/.bench: $(VENV)/.built pyproject.toml
	@[ $(VENV)/.bench -nt pyproject.toml ] || $(PIP) install --no-build-isolation --editable '.[bench]' || $(EXPLAIN)
	@touch $@
