"""Bars of a progress display."""

from collections.abc import Callable

from rich.progress import Progress


def add_bar(progress: Progress | None, description: str, total: int) -> Callable[[int], None]:
    """Adds a bar, and returns a function that advances it.

    Args:
        progress: Display that gets the bar; None shows none.
        description: What is counted.
        total: Number at which the bar is full.
    """
    if progress is None:
        return lambda count: None
    bar = progress.add_task(description, total=total)
    return lambda count: progress.advance(bar, count)
