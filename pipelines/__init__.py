"""The stages of dvc.yaml, each of which also runs by itself: ``python -m pipelines.<stage> --help``."""
