# make run and make test are all that a fresh machine needs: Python 3.11 or newer, a C++ compiler, a package registry.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SCRIPT ?= scripts/dragon.sculpt
ARGS ?=
# Threads that wait do not spin: the tests stay quick on a machine that also does something else.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help setup run test test-slow test-gpu check format docs clean

help:
	@echo "make setup      set up the virtual environment in $(VENV)"
	@echo "make run        run SCRIPT=$(SCRIPT) with ARGS=\"$(ARGS)\"; results land in out/"
	@echo "make test       the quick suite (under 20 minutes on two cores)"
	@echo "make test-slow  the slow tests: whole scripts, long optimizations"
	@echo "make test-gpu   the tests that need a CUDA device"
	@echo "make check      linter, formatter and type checker"
	@echo "make docs       the documentation as web pages in out/docs/, Sculpt coloured as in the editor"

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt tools/display_packages.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable ".[dev,train,window]"
	bash tools/display_packages.sh
	$(BIN)/interactive3d doctor
	touch $@

run: setup
	$(BIN)/interactive3d run $(SCRIPT) $(ARGS)

test: setup
	$(BIN)/python -m pytest -q -m "not slow and not gpu" $(ARGS)

test-slow: setup
	$(BIN)/python -m pytest -q -m "slow and not gpu" $(ARGS)

test-gpu: setup
	$(BIN)/python -m pytest -q -m gpu tests/gpu tests/kernels $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/link_packages.py
	MYPYPATH=.typing $(BIN)/mypy -p interactive3d.dsl -p interactive3d.runtime -p interactive3d.kernels

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup
	$(BIN)/python tools/build_docs.py $(ARGS)

clean:
	rm -rf build *.egg-info .typing .pytest_cache .mypy_cache .ruff_cache
