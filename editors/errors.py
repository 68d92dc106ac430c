"""The errors of editors."""

FINGERPRINTED = False  # decides no number


class EditError(ValueError):
    """A request that no editor can carry out; the message is one sentence that names the cause."""


class ForwardError(EditError):
    """A forward pass that fails for the inputs of a request."""
