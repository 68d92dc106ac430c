# make repro         the whole default benchmark            make test    ruff and pytest
# make ui            MLflow's pages on 127.0.0.1:5000       make speed   every loop against the naive way
# make help          this list
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
# Commands of dvc.yaml find the environment's python first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Tests that need a GPU: run on an emulated one, which is compiled once.
ON_GPU := tests/emulated_gpu tests/editors/test_kinds_of_models.py::test_edits_on_cuda_equal_those_on_cpu \
	tests/benchmarks/data/test_augmentation.py

.PHONY: help repro speed test ui

help:
	@sed -n '1,3s/^# //p' Makefile

# Constraints hold for build environments too, where a bare `torch` would fetch another build.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (about 2 GB, a few minutes, only once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --progress-bar off -e ".[pipelines,test]"
	@touch $@

# Translation needs fairseq, which is compiled while it is installed: some minutes, only once. `make test` does without.
.venv/translation: .venv/installed
	@echo "Installing what translation needs (compiles fairseq, some minutes, only once) ..."
	@PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --progress-bar off -e ".[translation]" \
		|| { echo "fairseq could not be installed: it needs a C++ compiler. Without it: take toy_translation out of 'run' in params.yaml, then 'source .venv/bin/activate && dvc repro'"; exit 2; }
	@touch $@

repro: .venv/translation
	@$(BIN)/dvc repro

speed: .venv/installed
	@$(BIN)/python -m pipelines.speed

test: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -m "not slow" --numprocesses auto --dist loadfile --no-loadscope-reorder
	@$(BIN)/python tests/emulated_gpu/emulate.py --or-skip -m pytest -q --numprocesses auto --dist loadfile $(ON_GPU)

ui: .venv/installed
	@test -f mlflow/mlflow.db || { echo "There is no mlflow/mlflow.db yet: run 'make repro' first."; exit 2; }
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	@$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db --artifacts-destination mlflow/artifacts --host 127.0.0.1 --port $(PORT)
