# `make demo` and `make test` set everything up on a machine with Python 3.11 or newer.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ENGINES := .venv-engines
AUDIT  := .venv-audit
LOWEST := .venv-lowest

.PHONY: demo test slow browser engines lowest pythons soak bench peers audit sbom docs lint lock clean

demo: $(VENV)/ready  ## a sweep on real data: 300 runs, stored, mirrored, analysed
	$(BIN)/harness train -m experiment=demo
	$(BIN)/harness analyze runs/demo

test: $(VENV)/ready lint  ## lint, types, doctests and tests
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow and not browser and not engines"
	@echo "The report in Chromium: make browser (needs one: apt-get install chromium)"

slow: $(VENV)/ready $(VENV)/docs  ## the long proofs
	$(BIN)/pytest -n 2 --dist worksteal -m slow

browser: $(VENV)/ready  ## the report in Chromium: every control, the explorer's numbers, axe-core
	$(BIN)/pytest -m browser tests/test_browser.py

engines: $(ENGINES)/ready  ## Ray, and stand-ins for Slurm, S3 and GCS, in an environment of their own; Python up to 3.13
	$(ENGINES)/bin/pytest -m engines tests/test_engines.py tests/test_clusters.py

soak: $(VENV)/ready  ## 20,000 runs with a fault every few seconds, and a sweep killed at 50 moments
	SOAK=20000 $(BIN)/pytest -s -m slow tests/test_soak.py \
	  tests/test_resume.py::test_a_sweep_killed_at_random_moments_goes_on

lowest: $(LOWEST)/ready  ## a wheel built, installed and run, under the oldest versions that pyproject.toml allows
	$(LOWEST)/bin/pytest -m slow tests/test_release.py

# Under pyenv those are here that PYENV_VERSION names, such as 3.11.7:3.12.1:3.13.0.
pythons:  ## the same under each Python from 3.11 to 3.13 that is here, with the versions of the lock
	@for python in python3.11 python3.12 python3.13; do \
	  $$python -c "" 2>/dev/null || { echo "no $$python here"; continue; }; \
	  $(MAKE) PYTHON=$$python VENV=.venv-$$python .venv-$$python/ready || exit; \
	  .venv-$$python/bin/pytest -m slow tests/test_release.py || exit; \
	done

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

audit: sbom  ## known vulnerabilities of what is locked; where nobody answers, that is said
	@said=$$($(AUDIT)/bin/pip-audit --requirement requirements.lock --disable-pip \
	  --vulnerability-service osv --progress-spinner off 2>&1) && { echo "$$said"; exit 0; }; \
	if echo "$$said" | grep -q "^Found .*known vulnerabilit"; then echo "$$said"; exit 1; fi; \
	echo "AUDIT SKIPPED: nobody who knows of vulnerabilities answers: $$(echo "$$said" | tail -1)"

sbom: $(AUDIT)/ready  ## the bill of materials of what is locked, sbom.cdx.json (CycloneDX); needs no network
	$(AUDIT)/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml \
	  --output-reproducible --output-format JSON --output-file sbom.cdx.json

docs: $(VENV)/ready $(VENV)/docs  ## the documentation, into docs/_build/html; a warning is an error
	$(BIN)/python -m sphinx -W --keep-going -E -a -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The lock files hold versions and hashes for all supported Python versions.
$(VENV)/ready: requirements.lock
$(ENGINES)/ready: requirements-engines.lock
$(LOWEST)/ready: requirements-lowest.lock
$(VENV)/ready $(ENGINES)/ready $(LOWEST)/ready: %/ready: pyproject.toml
	$(PYTHON) -m venv $*
	$*/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(filter %.lock,$^)
	$*/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(AUDIT)/ready: requirements-audit.lock
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# What builds the documentation, of the versions above where both need it.
$(VENV)/docs: docs/requirements.lock $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

LOCKED := uv pip compile --universal --python-version 3.11 --fork-strategy requires-python \
  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock:  ## renew the lock files; needs uv
	$(LOCKED) pyproject.toml --extra dev --output-file requirements.lock
	sed '/^python-dateutil/,/[^\\]$$/d' requirements.lock | $(LOCKED) pyproject.toml \
	  --extra dev --extra ray --extra slurm --extra remote --group engines \
	  --constraint /dev/stdin --output-file requirements-engines.lock  # botocore has an older one
	$(LOCKED) --resolution lowest-direct pyproject.toml --group smoke --output-file requirements-lowest.lock
	$(LOCKED) --group docs --constraint requirements.lock --output-file docs/requirements.lock
	$(LOCKED) --group audit --output-file requirements-audit.lock

clean:
	rm -rf $(VENV) $(ENGINES) $(LOWEST) .venv-python* $(AUDIT) $(TORCH) runs sbom.cdx.json docs/_build docs/reference/generated
