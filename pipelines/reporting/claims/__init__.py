"""Claims held against results: what is claimed, the comparisons that decide it, and their statistics."""
