"""A benchmark's results in one file: `results` packs them, reads what others packed, and merges it."""
