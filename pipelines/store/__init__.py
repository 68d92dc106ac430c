"""Files: where they lie (``layout``), when they are up to date (``fingerprint``), what made them (``provenance``)."""
