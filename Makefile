# `make demo` and `make test` set everything up on a machine with Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test slow browser bench peers lint lock clean

demo: $(VENV)/ready  ## a sweep on real data: 150 runs, stored, mirrored, analysed
	$(BIN)/harness train -m experiment=demo
	$(BIN)/harness analyze runs/demo

test: $(VENV)/ready lint  ## lint, types, doctests and tests
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not browser"
	@echo "The report in Chromium: make browser (needs one: apt-get install chromium)"

slow: $(VENV)/ready  ## the long proofs
	$(BIN)/pytest -n 2 --dist worksteal -m slow

browser: $(VENV)/ready  ## the report in Chromium: every control, the explorer's numbers, axe-core
	$(BIN)/pytest -m browser tests/test_browser.py

bench: $(VENV)/ready  ## the reference sweep, timed; prints medians and ratios
	$(BIN)/python -m benchmarks.reference $(BENCH)

# PyTorch has an environment of its own: it is no part of the project.
TORCH := .venv-torch
peers: $(VENV)/ready $(TORCH)/ready  ## the reference work by this harness and by its peers
	$(BIN)/python -m benchmarks.peers.compare --torch $(TORCH)/bin/python $(PEERS)

$(TORCH)/ready: benchmarks/peers/torch.txt
	$(PYTHON) -m venv $(TORCH)
	$(TORCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r benchmarks/peers/torch.txt
	touch $@

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The lock file holds versions and hashes for all supported Python versions.
$(VENV)/ready: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

lock:  ## renew requirements.lock; needs uv
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	  --fork-strategy requires-python --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --output-file requirements.lock

clean:
	rm -rf $(VENV) $(TORCH) runs
