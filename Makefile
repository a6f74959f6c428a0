# `make demo` and `make test` are all that a newcomer needs. Only Python 3.11+ and make have to be there.
#   PYTHON=python3.13   the interpreter that .venv is made with; `make clean` first, or add VENV=.venv-3.13
#   PYTEST_ARGS='...'   passed on to pytest
#   REAL=no             leaves out the tests with real servers
#   WORKERS=4           processes that the other tests are shared out to
#   OTLP=http://...     where the proxy of `make real-stack` sends its spans
#   SINK_ARGS='...'     passed on to the sink, say SINK_ARGS='--protocol grpc --port 4317'
#   FUZZ_SECONDS=60     how long `make fuzz` searches; 600 without it
#   UPGRADE=1           lets `make lock` move every pin; without it only what pyproject.toml asks for moves

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 4
PY := $(VENV)/bin/python
PIP := $(PY) -m pip -qq --disable-pip-version-check --no-input
NEEDS := streambench needs Python 3.11 or newer

.DEFAULT_GOAL := help
.PHONY: help demo test check docs golden screenshot fuzz lock real-stack otlp-sink clean

help:
	@echo "make demo    install into $(VENV), then compare simulated models: no key, no network"
	@echo "make test    the whole suite, real servers included"
	@echo "make check   lint, format, types, generated docs"
	@echo "make docs    write the files in docs/ and configs/ that come from the code"
	@echo "make golden  write the texts in tests/golden/, which the tests compare the views of a run with"
	@echo "make screenshot  take the README's picture of the page anew; needs chromium"
	@echo "make fuzz    search ten minutes for bytes that break the stream reader; installs the extra: fuzz"
	@echo "make real-stack   serve a small real model behind LiteLLM, for configs/local-models.yaml; Ctrl-C stops it"
	@echo "make otlp-sink    take spans and metrics on port 4318, and print the span tree at Ctrl-C"
	@echo "make lock    write requirements/lock.txt anew from pyproject.toml"
	@echo "make clean   remove the environments and caches; results/ stays"

demo: $(VENV)/.installed
	@$(VENV)/bin/streambench run configs/quickstart.yaml

# Real servers are started once and shared, so these tests go one after another. 5: none of the tests asked for is there.
test: $(VENV)/.installed
	@$(PY) -m pytest -m "not real" -n $(WORKERS) --dist loadfile $(PYTEST_ARGS) || [ $$? -eq 5 ]
	@$(if $(filter no,$(REAL)),true,$(PY) -m pytest -m real $(PYTEST_ARGS) || [ $$? -eq 5 ])

check: $(VENV)/.installed
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) docs/generate.py --check

docs: $(VENV)/.installed
	@$(PY) docs/generate.py

golden: $(VENV)/.installed
	@PYTHONPATH=tests $(PY) -m golden.views

screenshot: $(VENV)/.installed
	@$(PY) docs/screenshot.py

fuzz: $(VENV)/.fuzz
	@$(PY) tests/fuzz/run.py --seconds $(or $(FUZZ_SECONDS),600)

real-stack: $(VENV)/.installed
	@$(PY) tests/real/stack.py --serve $(if $(OTLP),--otlp $(OTLP))

otlp-sink: $(VENV)/.installed
	@$(PY) tests/otlp_sink.py $(SINK_ARGS)

lock: $(VENV)/.made
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	$(PY) -m venv "$$dir" && \
	"$$dir/bin/python" -m pip -qq --disable-pip-version-check --no-input install uv && \
	"$$dir/bin/uv" pip compile --quiet --universal --python-version 3.11 --extra dev --generate-hashes \
	  --no-annotate --no-emit-index-url --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) \
	  --output-file requirements/lock.txt pyproject.toml >/dev/null

clean:
	@rm -rf .venv .venv-* .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Four stamps, so that each step runs again only when what it read has changed.

$(VENV)/.made:
	@command -v "$(PYTHON)" >/dev/null || \
	  { echo "$(NEEDS): there is no $(PYTHON) here. Name yours: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(NEEDS): $(PYTHON) is $$("$(PYTHON)" -c 'import platform; print(platform.python_version())')." \
	    "Name another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian, Ubuntu: python3-venv)" >&2; \
	    exit 1; }
	@"$(PYTHON)" -m venv $(VENV)
	@touch $@

$(VENV)/.locked: requirements/lock.txt $(VENV)/.made
	@echo "Installing what requirements/lock.txt pins into $(VENV); done once."
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/.installed: pyproject.toml $(VENV)/.locked
	@$(PIP) install --no-deps --editable .
	@touch $@

# The fuzzer is in no lock: it has wheels for few platforms, and would keep the others from installing anything.
$(VENV)/.fuzz: $(VENV)/.installed
	@$(PIP) install --editable '.[fuzz]'
	@touch $@
