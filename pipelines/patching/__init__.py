"""Patching a model of one's own: `own_models` loads it, `correction` edits it, `page` says what else changed."""
