"""Failures that end a run with one line and exit code 1."""


class RunFailure(RuntimeError):
    """Failure that ends a run (non-finite numbers, a full disk, a dead simulator), with one line for the user."""


class RankLostError(RunFailure):
    """Failure of a process because another one that trains with it has ended, which the launcher tells."""
