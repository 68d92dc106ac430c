"""The error that a user sees for bad input: one sentence instead of a traceback."""

FINGERPRINTED = False  # decides no number

FINGERPRINTED = False  # decides no number


class InputError(ValueError):
    """Bad input; the message is one sentence that names the file or value, what was found, and what is allowed."""
