"""Failures that end a run with one line and exit code 1."""


class RunFailure(RuntimeError):
    """A run cannot go on (non-finite numbers, a full disk, a dead simulator); the message is one line for the user."""
