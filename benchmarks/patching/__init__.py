"""Models of anybody: `checkpoint_files` reads and rewrites them, `own_models` loads them, `correction` edits them, and
`patches` are what an edit changed of one."""
