# The two commands of the README, and the longer ones. Needs Python 3.11 or later and make; everything else it installs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Quiet: package managers print addresses of their index, which belong in no log.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet

.PHONY: demo test check soak bench pictures clean

demo: $(VENV)/.run
	@$(BIN)/console demo

test: $(VENV)/.dev
	@$(MAKE) --no-print-directory check

check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not long"

# The long forms of the fault tests.
soak: $(VENV)/.dev
	$(BIN)/python -m pytest -m long

# Prints ratios; run it on a machine that does nothing else.
bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# The README's pictures, from the running demo.
pictures: $(VENV)/.dev
	$(BIN)/python -m tools.pictures

$(VENV)/.run: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once) ..."
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once) ..."
	@$(PIP) install --editable '.[dev]'
	@touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
