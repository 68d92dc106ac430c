"""Patches of checkpoints: `checkpoint_files` reads and rewrites them, `patches` are what an edit changed of one."""
