"""Studies by hand, of which a page tells: each is a command that no stage calls."""
