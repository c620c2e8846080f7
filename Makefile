# On a fresh machine: `make demo` runs the main job, `make test` passes the tests. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
# One worker a core, a file of tests to one of them; each works with one thread, as the library itself does.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile
APT := DEBIAN_FRONTEND=noninteractive timeout 240 apt-get -qq -y --no-install-recommends -o Acquire::Retries=0 -o DPkg::Lock::Timeout=60
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all lint docs clean

demo: .venv/core.stamp
	$(BIN)/monosemy study --out runs/demo

test: .venv/dev.stamp .venv/browser.stamp
	$(PYTEST)

test-all: .venv/dev.stamp .venv/browser.stamp
	$(PYTEST) -m "slow or not slow"

lint: .venv/dev.stamp
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/mypy

# The site, in build/docs. A warning, a broken link among them, stops it.
docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

.venv/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/dev.stamp: .venv/core.stamp
	$(INSTALL) -e ".[dev,text,lm,cleanlab,hub]"
	touch $@

# Pages are tested in a real browser. Where none can be installed these tests skip, and say so.
.venv/browser.stamp: .venv/dev.stamp
	command -v chromium || command -v chromium-browser || command -v google-chrome || { $(APT) update && $(APT) install chromium; } || true
	touch $@

.venv/docs.stamp: .venv/dev.stamp
	$(INSTALL) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv runs build docs/generated .pytest_cache .ruff_cache
