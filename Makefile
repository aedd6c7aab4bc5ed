# make play, make test: each sets up what it needs on a fresh machine, and does nothing twice.

.POSIX:
.SUFFIXES:

PYTHON = python3
ARGS =
BIN = .venv/bin
READY = .venv/.ready

help:
	@echo "make play    set up what is missing and play; choices: make play ARGS='pong --scale 6'"
	@echo "make test    what must hold before a commit: lint, types, tests; choices: make test ARGS='-k shards'"
	@echo "make lint    ruff and mypy alone"
	@echo "make clean   forget .venv and caches; data sets, runs and worlds in saves/ stay"
	@echo "another interpreter: make play PYTHON=python3.12"

play: $(READY)
	@$(BIN)/python play.py play $(ARGS)

test: lint
	@OMP_NUM_THREADS=1 SDL_VIDEODRIVER=dummy $(BIN)/python -m pytest -n 2 $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

clean:
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache *.egg-info

# Installing is skipped until pyproject.toml is newer than the last time it went well.
$(READY): pyproject.toml $(BIN)/python
	@echo "installing Dreamcade into .venv (the first time this fetches torch and takes some minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $(READY)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Dreamcade needs Python 3.11 or newer and $(PYTHON) is not; name one: make play PYTHON=python3.12" >&2; exit 1; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	    echo "$(PYTHON) cannot make a virtual environment; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

.PHONY: help play test lint clean
