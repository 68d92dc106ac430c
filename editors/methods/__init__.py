"""One editor a file, found by name. See ``gd.py`` for the shortest."""
