"""What a user gets for bad input: one sentence instead of a traceback."""

FINGERPRINTED = False  # decides no number


class InputError(ValueError):
    """Bad input: one clear sentence that names the file or value, what was found, and what is allowed."""
