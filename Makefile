# On a fresh machine: `make demo` runs the main job, `make test` passes the tests. Both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
# One worker a core, a file of tests to one of them; each works with one thread, as the library itself does.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile
APT := DEBIAN_FRONTEND=noninteractive timeout 240 apt-get -qq -y --no-install-recommends -o Acquire::Retries=0 -o DPkg::Lock::Timeout=60
QUIET := --quiet --disable-pip-version-check
INSTALL := $(BIN)/pip install $(QUIET) -c constraints.txt
# What the libraries are to take the processor for: one without AVX-512, as many of AMD's are, and one without AVX.
WITHOUT_AVX512 := OPENBLAS_CORETYPE=Haswell ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \
	ONEDNN_MAX_CPU_ISA=AVX2 NPY_DISABLE_CPU_FEATURES="X86_V4 AVX512_ICL AVX512_SPR"
WITHOUT_AVX := OPENBLAS_CORETYPE=Prescott ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 \
	ONEDNN_MAX_CPU_ISA=SSE41 NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR"
EXTRAS := dev,text,lm,cleanlab,hub

.PHONY: demo test test-all test-kernels test-newest wheel-test lint docs locks licences audit clean

demo: .venv/core.stamp
	$(BIN)/monosemy study --out runs/demo

test: .venv/dev.stamp .venv/browser.stamp
	$(PYTEST)

test-all: .venv/dev.stamp .venv/browser.stamp
	$(PYTEST) -m "slow or not slow"

# In which order sums are added up, and so their last bits, depends on the processor. No test may hang on that: here they
# run as on two older ones (of x86; elsewhere the variables say nothing).
test-kernels: .venv/dev.stamp .venv/browser.stamp
	$(WITHOUT_AVX512) $(PYTEST)
	$(WITHOUT_AVX) $(PYTEST)

# The newest versions that there are, but torch's, which is large: what users get who know nothing of constraints.txt.
test-newest:
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/pip install $(QUIET) -e ".[$(EXTRAS)]" "$(shell grep '^torch==' constraints.txt)"
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n auto --dist loadfile

# The tests against the wheel, from a copy outside the sources.
wheel-test: .venv/dev.stamp
	rm -rf build dist
	$(BIN)/python -m build --quiet
	$(PYTHON) -m venv build/venv
	build/venv/bin/pip install $(QUIET) -c constraints.txt "$$(echo dist/*.whl)[$(EXTRAS)]"
	cp -r tests examples docs benchmarks tools *.md pyproject.toml Makefile build/venv
	cd build/venv && OMP_NUM_THREADS=1 bin/python -m pytest -n auto --dist loadfile tests

locks: .venv/dev.stamp
	$(BIN)/python tools/locks.py

licences: .venv/dev.stamp
	$(BIN)/python tools/licences.py

# In an environment of its own; asks PyPI for known vulnerabilities of every pin.
audit:
	test -x .venv-audit/bin/pip-audit || ($(PYTHON) -m venv .venv-audit && .venv-audit/bin/pip install $(QUIET) pip-audit)
	.venv-audit/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

lint: .venv/dev.stamp
	$(BIN)/ruff format --check src tests benchmarks examples docs tools
	$(BIN)/ruff check src tests benchmarks examples docs tools
	$(BIN)/mypy

# The site, in build/docs. A warning, a broken link among them, stops it.
docs: .venv/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

.venv/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) -e .
	touch $@

.venv/dev.stamp: .venv/core.stamp
	$(INSTALL) -e ".[$(EXTRAS)]"
	touch $@

# Pages are tested in a real browser. Where none can be installed these tests skip, and say so.
.venv/browser.stamp: .venv/dev.stamp
	command -v chromium || command -v chromium-browser || command -v google-chrome || { $(APT) update && $(APT) install chromium; } || true
	touch $@

.venv/docs.stamp: .venv/dev.stamp
	$(INSTALL) -e ".[docs]"
	touch $@

clean:
	rm -rf .venv .venv-newest .venv-audit build dist docs/generated runs .pytest_cache .ruff_cache
