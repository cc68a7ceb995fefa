# evsim: `make demo` and `make test` each make .venv, install what they need, and run.
# Needs make and Python 3.11 or newer. Another interpreter: make test PYTHON=/path/to/python3.12

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet -c constraints.txt
PINNED := pyproject.toml setup.cfg constraints.txt

DEMO   := $(BIN)/python -m evsim train digits --seeds 0,1,2 --out runs/demo --force
# One thread each, and kernels compiled afresh: numba does not see a change in a kernel's callee in another file.
PINS   := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1 \
          NUMBA_CACHE_DIR=$(CURDIR)/.numba-cache

# Tests that drive the kernels: once more with every index checked.
KERNELS := $(addprefix tests/test_,blocks.py bridge.py carry.py vector.py open_blocks.py controls.py counts.py dense.py exact.py inference.py learner.py rewiring.py snap.py uoro.py)

# Nothing is written outside the checkout, pip's cache aside.
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/$(VENV)/home
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export MPLCONFIGDIR := $(CURDIR)/$(VENV)/matplotlib
export MPLBACKEND := Agg

.DEFAULT_GOAL := help
.PHONY: demo test test-all test-embedded embedded-tools lint bench docs clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/^([a-z-]+):.*## */  make \1|/' | column -t -s '|' 2>/dev/null \
	  || grep -E '^[a-z-]+:.*##' Makefile

demo: $(VENV)/.core  ## train on real handwritten digits, three seeds, and print the table
	$(DEMO)

test: lint  ## lint, type check, tests, and a subset without the JIT
	$(call run_tests,not full)

test-all: lint  ## the same with every exactness case
	$(call run_tests,full or not full)

# Debian's packages: a compiler for Cortex-M, its C library, and a machine to run on.
EMBEDDED := gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm

test-embedded: embedded-tools $(VENV)/.full  ## tests of the C export on a Cortex-M3 under QEMU; installs the tools
	$(PINS) $(BIN)/python -m pytest -rs tests/test_embedded.py \
	  tests/test_c_learner_use.py::test_on_a_cortex_m3 tests/test_c_fixed_learn.py::test_so_they_are_on_a_cortex_m3

embedded-tools:
	@if command -v arm-none-eabi-gcc >/dev/null && command -v qemu-system-arm >/dev/null; then exit 0; fi; \
	become=; if [ "$$(id -u)" != 0 ]; then become="sudo -n"; fi; \
	if command -v apt-get >/dev/null && { [ -z "$$become" ] || sudo -n true 2>/dev/null; }; then \
	  $$become apt-get update -qq && $$become apt-get install -y --no-install-recommends $(EMBEDDED); \
	else \
	  echo "Install these packages first (names as in Debian): $(EMBEDDED)" >&2; exit 1; \
	fi

lint: $(VENV)/.full  ## ruff and pyright
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.full  ## time learning and inference beside other libraries, and a stack against its blocks of M
	$(PINS) $(BIN)/python -m evsim bench --out bench.json
	$(PINS) $(BIN)/python examples/bench_stack.py

docs: $(VENV)/.core  ## write docs/cells.md anew, the page about cells
	$(BIN)/python -m evsim.describe --out docs/cells.md

clean:  ## remove .venv, caches and builds; runs/ stays
	rm -rf $(VENV) .numba-cache .pytest_cache .ruff_cache .coverage build evsim.egg-info
	find evsim models tests examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

define run_tests
rm -rf .numba-cache
$(PINS) $(BIN)/python -m pytest -m "$(1)"
$(PINS) NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=$(CURDIR)/.numba-cache/checked $(BIN)/python -m pytest -q -m "not full" -k "not mean and not draws" $(KERNELS)
$(PINS) NUMBA_DISABLE_JIT=1 $(BIN)/python -m coverage run -m pytest -q -m "nojit and not full"
$(BIN)/python -m coverage report
endef

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "evsim needs Python 3.11 or newer, and '$(PYTHON)' is `$(PYTHON) --version 2>/dev/null || echo missing`:" \
	       "install one and name it, as in 'make PYTHON=/path/to/python3.11 test'." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.core: $(VENV)/.made $(PINNED)
	@echo "Installing evsim and its light dependencies into $(VENV) ..."
	$(PIP) -e ".[data]"
	@touch $@

$(VENV)/.full: $(VENV)/.made $(PINNED)
	@echo "Installing evsim, torch and the development tools into $(VENV): the first time takes some minutes ..."
	$(PIP) -e ".[dev,torch,nir,data,plot]"
	@touch $@ $(VENV)/.core
