"""Data, models, edit requests, scores: what is edited and how that is scored. README.md says what is where."""
