PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup check test test-sdk test-mail test-pooler extraction hostile demo run crash-matrix bench memory soak scale format clean

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
	$(BIN)/pytest -q --numprocesses 2 --dist loadgroup

# The vendor's own SDK against our agent server: heavy (some 300 MB), therefore apart.
SDK := .venv-sdk

$(SDK)/ready: tests/agent/sdk/requirements.txt
	$(PYTHON) -m venv $(SDK)
	$(SDK)/bin/python -m pip install --quiet --requirement $<
	$(SDK)/bin/python -m pip install --quiet --no-deps xpander-sdk==2.0.537
	touch $@

test-sdk: setup $(SDK)/ready
	$(BIN)/python -m tests.agent.sdk.run $(SDK)/bin/python

# Round trips through a real Postfix, Dovecot and swaks. As root; installs them from Debian's packages where it may.
test-mail: setup
	(command -v postfix && command -v dovecot && command -v swaks) >/dev/null || \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postfix dovecot-imapd swaks
	MAIL_SERVERS=1 $(BIN)/pytest -q tests/adapters/email/test_real_servers.py

# Two bridges behind a real PgBouncer that lends connections for a transaction. As root; installs it where it may.
test-pooler: setup
	command -v pgbouncer >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer
	POOLER=1 $(BIN)/pytest -q tests/end_to_end/test_pooler.py

# How well replies are told from quotes, per corpus.
extraction: setup
	PYTHONPATH=. $(BIN)/python tests/adapters/email/extraction_table.py

# How long hostile mails take, and whether others are served meanwhile.
hostile: setup
	PYTHONPATH=. $(BIN)/python tests/adapters/email/hostile_table.py

demo: setup
	$(BIN)/agent-bridge demo

run: setup
	$(BIN)/agent-bridge serve

# Kills real processes at every step boundary, on SQLite and on PostgreSQL with a second node: some four minutes.
crash-matrix: setup
	PATIENCE_SECONDS=120 $(BIN)/python -m tests.crash.matrix
	PATIENCE_SECONDS=120 $(BIN)/python -m tests.crash.order

# Our benchmarks, each against a floor of its own run: some eight minutes, on a machine that does nothing else.
bench: setup
	$(BIN)/python -m tests.bench

# Memory of a turn in flight and of an idle conversation: some six minutes.
memory: setup
	$(BIN)/python -m tests.bench.memory

# Memory over ten minutes of steady load.
soak: setup
	$(BIN)/python -m tests.bench.soak

# Up to a million conversations, up to four nodes: some twelve minutes.
scale: setup
	$(BIN)/python -m tests.bench.scale

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
