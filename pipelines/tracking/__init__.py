"""MLflow, filled from result files: `run_records` makes runs of them, `sync` writes those, `server` reaches MLflow."""
