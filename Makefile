# make demo          a first look in two minutes        make test    ruff and pytest
# make repro         the whole default benchmark         make speed   every loop against the naive way
# make ui            MLflow's pages on 127.0.0.1:5000    make help    this list
.DEFAULT_GOAL := help
PYTHON ?= python3
PORT ?= 5000
BIN := .venv/bin
PIP := PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet --progress-bar off
# Commands of dvc.yaml find the environment's python first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
# Tests that need a GPU: run on an emulated one, which is compiled once.
ON_GPU := tests/emulated_gpu \
	tests/benchmarks/data/test_augmentation.py::test_a_cpu_generator_gives_the_same_crops_on_the_gpu

.PHONY: demo help repro speed test ui

help:
	@sed -n '1,3s/^# //p' Makefile

# Constraints hold for build environments too, where a bare `torch` would fetch another build.
.venv/installed: pyproject.toml constraints.txt
	@echo "Installing into .venv (about 2 GB, a few minutes, only once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) -e ".[pipelines,test]"
	@touch $@

# Nothing is compiled: fairseq's own switch leaves out its extensions, of which nothing here is used. Its setup imports
# torch, and takes the one that is installed rather than another 2 GB of it.
.venv/translation: .venv/installed
	@echo "Installing what translation needs (some seconds, only once) ..."
	@$(PIP) "setuptools>=77"
	@READTHEDOCS=1 $(PIP) --no-build-isolation -e ".[translation]" \
		|| { echo "fairseq could not be installed. Without it: take toy_translation out of 'run' in params.yaml, then 'source .venv/bin/activate && dvc repro'"; exit 2; }
	@touch $@

# The stages of dvc.yaml in a folder of their own, which git ignores.
demo: .venv/installed
	@mkdir -p demo
	@cd demo && export PYTHONPATH=.. && for stage in prepare train tune evaluate report; do \
		python -m pipelines.$$stage demo --params ../params.yaml || exit $$?; done
	@echo "" && grep '^|' demo/results/demo/table1.md | grep -v '^| ---' | cut -d '|' -f 3,8-10,12,14 | tr -d '*' | { column -t -s '|' 2>/dev/null || cat; }
	@echo "" && echo "The whole table: demo/results/demo/table1.md; a picture of it: demo/results/demo/figures/table1.png"
	@echo "What was run: benchmarks/configs/demo.yaml. An editor of your own is one more line there."

repro: .venv/translation
	@$(BIN)/dvc repro

speed: .venv/installed
	@$(BIN)/python -m pipelines.speed

test: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -q -m "not slow" --numprocesses auto --dist loadfile --no-loadscope-reorder
	@$(BIN)/python tests/emulated_gpu/emulate.py --or-skip -m pytest -q --numprocesses auto --dist loadfile \
		--no-loadscope-reorder $(ON_GPU)

ui: .venv/installed
	@test -f mlflow/mlflow.db || { echo "There is no mlflow/mlflow.db yet: run 'make repro' first."; exit 2; }
	@$(BIN)/python -c "import sqlite3; sqlite3.connect('file:mlflow/mlflow.db?mode=ro', uri=True).execute('select * from experiments')" 2>/dev/null \
		|| { echo "mlflow/mlflow.db is broken: move it away, 'make repro' makes it anew from the results."; exit 2; }
	@$(BIN)/python -c "import socket; socket.create_server(('127.0.0.1', int('$(PORT)'))).close()" 2>/dev/null \
		|| { echo "Port $(PORT) is in use, or none: 'make ui PORT=5001' takes another."; exit 2; }
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	@$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow/mlflow.db --artifacts-destination mlflow/artifacts --host 127.0.0.1 --port $(PORT)
