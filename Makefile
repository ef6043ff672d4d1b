# tallystick: `make setup run test bench lint docs`. Needs Python 3.11+, make, gcc and git; everything else comes from the locks.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKS := $(wildcard requirements/*.txt)
ARGS ?=
AREA ?=
WORKERS ?= 2
FUZZ_RUNS ?= 20000

.PHONY: help setup run test bench lint style types format docs fuzz lock build clean

help:
	@echo "make setup              a virtual environment from the hashed locks"
	@echo "make run                that, then a house and four machines on this computer (ARGS=--once exits at the end)"
	@echo "make test               all tests (ARGS='-k knock' for some of them)"
	@echo "make bench              side-by-side figures into bench/results.json (AREA=pair for one area)"
	@echo "make lint               ruff and mypy --strict over everything"
	@echo "make docs               the documentation is complete and its links hold"
	@echo "make fuzz               every fuzz target for FUZZ_RUNS inputs"
	@echo "make lock               the lock files anew from pyproject.toml"
	@echo "make build              wheel and sdist into dist/"

setup: $(READY)

# uv comes from a lock with hashes too; it then installs the rest in seconds.
$(READY): $(LOCKS) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: Python 3.11 or newer is needed"; echo "hint: make setup PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "error: this Python cannot make virtual environments"; echo "hint: apt install python3-venv (Debian, Ubuntu), then make setup again"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --only-binary :all: -r requirements/fuzz.txt 2>/dev/null \
		|| echo "setup: atheris has no wheel for this Python; fuzzing is left out"
# Judges that others wrote, programs of their own; they ask for Python 3.12 and run on 3.11.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --ignore-requires-python --upgrade \
		--target $(VENV)/foreign -r requirements/foreign.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(READY)
	@$(BIN)/tally quickstart $(ARGS)

# One worker takes whole files: network namespaces and module fixtures stay where they were made.
test: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

bench: $(READY)
	$(BIN)/python bench/run.py $(AREA) $(ARGS)

lint: style types

style: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)
	$(BIN)/python docs/reference.py
	$(BIN)/python -m pytest -q tests/docs tests/test_project.py

# What a target prints is shown only when it finds something; the input lies in crash-* then.
fuzz: $(READY)
	@for target in fuzz/fuzz_*.py; do \
		printf '%s ' "$$target"; \
		PYTHONPATH=src:. $(BIN)/python $$target -runs=$(FUZZ_RUNS) -max_total_time=60 -artifact_prefix=$(VENV)/ >$(VENV)/fuzz.log 2>&1 || { cat $(VENV)/fuzz.log; exit 1; }; \
		tail -n 1 $(VENV)/fuzz.log | cut -c1-80; \
	done

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate
lock: $(READY)
	$(COMPILE) pyproject.toml --all-extras -o requirements/runtime.txt
	$(COMPILE) pyproject.toml --all-extras --group dev --group peers -c requirements/runtime.txt -o requirements/dev.txt
	$(COMPILE) --group fuzz -o requirements/fuzz.txt
	echo 'uv>=0.9' | $(COMPILE) - -o requirements/bootstrap.txt

build: $(READY)
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python

clean:
	rm -rf $(VENV) dist build bench/results.json .mypy_cache .ruff_cache .pytest_cache .hypothesis
