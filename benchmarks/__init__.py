"""What is edited and how that is scored: data, models, edit requests, control sets, records and metrics."""
