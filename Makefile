# Two commands for people: `make run` (the simulated station) and `make test`. Needs git, make and Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# On a Raspberry Pi the GPIO library is the operating system's own package, so the venv must see it.
SITE := $(shell $(PYTHON) -c 'import importlib.util as u; print("--system-site-packages" if u.find_spec("RPi") else "")' 2>/dev/null)
# The tests start hundreds of processes: what is compiled once is kept, whatever the machine is used to.
unexport PYTHONDONTWRITEBYTECODE
LOCK_FLAGS := --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11 --quiet

.PHONY: run test soak sweep mutants bench docs lock clean

run: $(VENV)/.sim
	$(BIN)/python main.py --simulate $(ARGS)

test: $(VENV)/.dev
	$(BIN)/ruff check .
	@# on the other processor meanwhile the tests are compiled, once and not in each of six workers
	$(BIN)/pytest --collect-only -q > /dev/null & $(BIN)/mypy && wait
	$(BIN)/pytest -n 6 -m "not soak"

soak: $(VENV)/.dev
	$(BIN)/pytest -n 2 -m soak -vv -rP --durations=0

# Every request of six guns with every set of failed modules, for every rule: 27 million allocations, an hour of both cores.
sweep: $(VENV)/.dev
	$(BIN)/python -m tests.allocation_sweep

# Changes the code of the interlock, the switching sequence and the limits, one small change at a time, and counts what
# no test notices. `mutmut show NAME` in the same place shows a change.
mutants: $(VENV)/.mutants
	$(BIN)/python tests/mutation.py

bench: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m bench

# Renews what README.md and docs/ take from the code; a test says when that is due.
docs: $(VENV)/.site
	$(BIN)/python -m docs.renew

$(VENV): $(VENV)/.site

$(VENV)/.site: requirements.txt
	@test -d $(VENV) || (echo "Making .venv" && $(PYTHON) -m venv $(SITE) $(VENV))
	@echo "Installing the packages of requirements.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.sim: $(VENV)/.site requirements-sim.txt
	@echo "Installing the packages of the simulator"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-sim.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.sim requirements-dev.txt
	@echo "Installing the packages of the tests"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.mutants: $(VENV)/.dev requirements-mutants.txt
	@echo "Installing mutmut"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-mutants.txt
	@touch $@

# Renews the locks from the .in files (needs `pip install uv` once).
lock:
	for set in requirements requirements-sim requirements-dev requirements-mutants; do \
		uv pip compile $(LOCK_FLAGS) $$set.in -o $$set.txt; done

clean:
	rm -rf $(VENV) mutants .pytest_cache .mypy_cache .ruff_cache
