# The front door. `make` alone lists what there is. Everything runs from .venv, which `make setup` makes.
.DEFAULT_GOAL := help
.PHONY: help setup run down lint test bench soak lock purge
BIN := .venv/bin

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup:  ## install everything missing (Debian packages, .venv); .venv/bin/gapless afterwards
	@./bootstrap setup

run: setup  ## start the stack, run the hourly pipeline once, show what it brought
	@$(BIN)/gapless run --setup-times .venv/.gapless-setup-times

down: setup  ## stop the stack; no process stays behind
	@$(BIN)/gapless down

lint: setup  ## style, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## every test: the parallel ones, then those that need the whole stack
	$(BIN)/pytest -m "not stack"
	$(BIN)/pytest -m stack -n 0

bench: setup  ## the benchmarks, as ratios (at most 30 minutes)
	$(BIN)/python -m benchmarks

soak: setup  ## the long benchmarks
	$(BIN)/python -m benchmarks --soak

lock: setup  ## compile requirements.txt and requirements-dev.txt anew from pyproject.toml
	$(BIN)/python -m scripts.lock

purge:  ## remove what the project put on this machine, data included (asks; YES=1 does not)
	@./bootstrap purge
