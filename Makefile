# make demo     set everything up and run the main job on the built-in scene
# make test     set everything up, check style and types, run the tests
# make check    the same, by the name that other projects use
# make mutants  plant faults in a copy of the code and see whether the tests notice (some minutes)
# make clean    remove everything that make made, results excepted

# The first interpreter of a supported version; `make PYTHON=...` chooses another.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
BIN := .venv/bin
STAMP := .venv/.installed

# Settings of the caller's own environment that would reach into ours.
unexport PYTHONHOME PYTHONPATH PIP_USER PIP_TARGET PIP_PREFIX

# OpenMP threads that wait spin on a core by default, which stalls everybody on a busy machine.
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test lint format types check mutants clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 to 3.13 found; install one or run make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv .venv
	$(BIN)/python -m pip install -c constraints.txt -e ".[dev]"
	touch $@

demo: setup
	$(BIN)/bayes-splat reconstruct resolution=40 warmup=50 draws=100

# Cheap checks first.
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# mypy sees the rooms under their import names through links.
types: setup
	rm -rf build/typecheck && mkdir -p build/typecheck/bayes_splat
	ln -s "$(CURDIR)"/bayes_splat/* "$(CURDIR)"/configs "$(CURDIR)"/models "$(CURDIR)"/samplers build/typecheck/bayes_splat/
	$(BIN)/mypy

check: test

# make mutants WORDS="swap SGLD" plants the faults with such words in their names.
mutants: setup
	$(BIN)/python -m tests.mutants $(WORDS)

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
