# make repro         the whole default benchmark            make test    ruff and pytest
# make ui            MLflow's pages on 127.0.0.1:5000       make speed   every loop against the naive way
# make translation   Table 6; compiles fairseq at first     make help    this list
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
# Commands of dvc.yaml find the environment's python first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.PHONY: help repro speed test translation ui

help:
	@sed -n '1,3s/^# //p' Makefile

# Constraints hold for build environments too, where a bare `torch` would fetch another build.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (about 2 GB, a few minutes, only once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --progress-bar off -e ".[pipelines,test]"
	@touch $@

repro: .venv/installed
	@$(BIN)/dvc repro

speed: .venv/installed
	@$(BIN)/python -m pipelines.speed

# fairseq is compiled while it is installed, which takes some minutes.
translation: .venv/installed
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --progress-bar off -e ".[translation]"
	@$(BIN)/python -m pipelines.translation toy_translation

test: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -m "not slow" --numprocesses auto --dist loadfile

ui: .venv/installed
	@test -f mlflow/mlflow.db || { echo "There is no mlflow/mlflow.db yet: run 'make repro' first."; exit 2; }
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	@$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db --host 127.0.0.1 --port $(PORT)
