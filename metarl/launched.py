"""What torchrun tells a process that it has started, without importing PyTorch."""

import os


def is_launched() -> bool:
    """Returns true in a process that torchrun, or `metarl train --processes`, has started."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Returns true in a process that nobody has started beside others, and in the first of those that torchrun has."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def restarts() -> int:
    """Returns how often torchrun has started the processes again, because one had failed."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if is_launched() else 0


def may_restart() -> bool:
    """Returns true if torchrun starts the processes again when one fails."""
    return is_launched() and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0
