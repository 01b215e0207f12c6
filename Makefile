PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup check test test-sdk demo run format clean

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --editable . --group dev
	touch $@

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/test_architecture.py

test: setup
	$(BIN)/pytest -q

# The vendor's own SDK against our agent server: heavy (some 300 MB), therefore apart.
SDK := .venv-sdk

$(SDK)/ready: tests/agent/sdk/requirements.txt
	$(PYTHON) -m venv $(SDK)
	$(SDK)/bin/python -m pip install --quiet --requirement $<
	$(SDK)/bin/python -m pip install --quiet --no-deps xpander-sdk==2.0.537
	touch $@

test-sdk: setup $(SDK)/ready
	$(BIN)/python -m tests.agent.sdk.run $(SDK)/bin/python

demo: setup
	$(BIN)/agent-bridge demo

run: setup
	$(BIN)/agent-bridge serve

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
