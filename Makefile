# Two commands on a fresh machine: `make run` and `make test`.
# PYTHON names another interpreter than the first that fits: make run PYTHON=python3.13

.DEFAULT_GOAL := help
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
# One that is named must fit; without a name the first that fits is taken.
CANDIDATES := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Root inside a container is the ordinary case, and the environment is our own.
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help run demo bench test matrix mutants fuzz check lint types imports security audit lock clean venv runtime dev

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

# The launcher passes the death of make on, so that a killed `make run` leaves nothing behind.
run: runtime ## Start everything; Ctrl-C stops it
	@exec $(BIN)/python -I -S app/local/launch_shim.py $$PPID 15 - $(BIN)/sluice up

demo: runtime ## Pay one deposit through to the wallet and print its timeline
	@exec $(BIN)/sluice demo

# What the set-up says goes to standard error: on standard output there is one JSON document.
bench: ## Compare the product with its baselines; ARGS="--long", ARGS="--only KEY"
	@$(MAKE) --no-print-directory runtime >&2
	@exec $(BIN)/sluice bench --json $(ARGS)

# Two stages: files side by side, in the order of their names, whose last folder (unit) has the shortest ones; then, one
# by one, the tests that bound a time closely. Three processes fill two processors, because tests mostly wait. pytest
# exits with 5 if ARGS leave no test to a stage.
PROCESSES ?= 3
test: dev ## Run the whole suite; ARGS="-k name" for a part
	@$(BIN)/pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder -m "not serial" $(ARGS); \
	first=$$?; case $$first in 0|1|5) ;; *) exit $$first ;; esac; \
	$(BIN)/pytest -m serial $(ARGS); \
	case $$first$$? in 00|05|50) ;; *) exit 1 ;; esac

matrix: dev ## Run the conformance kit for every adapter and write docs/PROVIDERS.md
	@$(BIN)/python -m app.conformance.matrix

# Atheris has wheels for some Pythons only, so it is no part of the lock; the rest runs without it. Each day has a seed
# of its own, which a failure names.
FUZZ_SECONDS ?= 60
FUZZ_EXAMPLES ?= 200
FUZZ_SEED ?= $(shell date +%Y%m%d)
mutants: dev ## Plant each known bug and see a test go red for it; ARGS="words" for a part
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: dev ## Fuzz the API and the parsers for longer; FUZZ_SECONDS=60 for each parser, FUZZ_EXAMPLES=200 for each call
	@FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) FUZZ_SEED=$(FUZZ_SEED) FUZZ_LIMIT_SECONDS=1800 \
		$(BIN)/pytest tests/security/http/test_openapi_fuzz.py
	@if $(BIN)/python -m pip install --quiet --only-binary :all: 'atheris==3.0.0'; then \
		for target in signature amount body; do \
			$(BIN)/python tests/fuzz/parsers.py $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
		done; \
	else echo "WARNING: no Atheris for this Python: the parsers were not fuzzed"; fi

check: lint types imports security audit ## Lint, types, import contracts, known weaknesses

lint: dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: dev
	@$(BIN)/mypy

imports: dev
	@$(BIN)/lint-imports

# Medium and above: the low ones are every assert and every started program. What is skipped, ruff asks with its own
# rules S104 and S608, and one opt-out for each place is enough.
security: dev
	@$(BIN)/bandit --quiet --recursive --severity-level medium --skip B104,B608 \
		app clients examples models tasks sandbox web.py worker.py celeryconfig.py

# pip-audit exits with 0 where it skipped every package, and with 1 where the network is down: its report says which.
# AUDIT=strict fails where anything was not audited; without it only a machine that cannot reach the service may pass.
AUDIT ?=
audit: dev ## Check the dependencies for known vulnerabilities; AUDIT=strict fails where a package could not be audited
	@rm -f $(VENV)/audit.json; \
	$(BIN)/pip-audit --disable-pip --require-hashes --progress-spinner off --timeout 10 \
		-r requirements/runtime.txt --format json --output $(VENV)/audit.json >$(VENV)/audit.log 2>&1; \
	$(BIN)/python requirements/audit.py $(VENV)/audit.json $(VENV)/audit.log $(AUDIT)

lock: dev ## Compile requirements/*.txt from requirements/*.in
	@command -v uv >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/"; exit 1; }
	@for name in runtime dev; do \
		uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-header --no-annotate --upgrade requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done

clean: ## Remove the environment, the caches and the embedded data (refused while it runs)
	@if [ -e .sluice/lock ] && ! python3 -c 'import fcntl; fcntl.flock(open(".sluice/lock"), fcntl.LOCK_EX | fcntl.LOCK_NB)' \
		2>/dev/null; then echo "Sluice is running from here: stop it first"; exit 1; fi
	rm -rf $(VENV) .sluice .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		chosen=; \
		for candidate in $(CANDIDATES); do \
			if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
			then chosen=$$candidate; break; fi; \
		done; \
		if [ -z "$$chosen" ]; then \
			echo "Sluice needs Python 3.11 or newer, and none of these is: $(CANDIDATES)"; \
			echo "Install one, or name it: make run PYTHON=/path/to/python3.12"; \
			exit 1; \
		fi; \
		rm -rf $(VENV); \
		if ! "$$chosen" -m venv $(VENV); then \
			rm -rf $(VENV); \
			echo "$$chosen cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv"; \
			exit 1; \
		fi; \
	fi

# The environment holds a copy of the lock it was made from; pip runs only when the lock is another one.
runtime: venv
	@if ! cat requirements/runtime.txt setup.cfg pyproject.toml | cmp -s - $(VENV)/installed-runtime; then \
		echo "Installing the locked dependencies into $(VENV)"; \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements/runtime.txt && \
		$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e . && \
		cat requirements/runtime.txt setup.cfg pyproject.toml >$(VENV)/installed-runtime; \
	fi

dev: runtime
	@if ! cmp -s requirements/dev.txt $(VENV)/installed-dev; then \
		echo "Installing the tools for tests and checks"; \
		$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt && \
		cp requirements/dev.txt $(VENV)/installed-dev; \
	fi
	@if ! cmp -s clients/python/pyproject.toml $(VENV)/installed-client; then \
		$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e clients/python && \
		cp clients/python/pyproject.toml $(VENV)/installed-client; \
	fi
