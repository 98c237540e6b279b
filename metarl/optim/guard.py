"""Guard against updates whose numbers are not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.errors import RunFailure

_MAX_SKIPPED_IN_A_ROW = 5
_SKIPPED_IN_A_ROW = "skipped_in_a_row"


class UpdateGuard:
    """Counts the updates that are skipped because a loss, gradient or parameter is not finite.

    Five in a row end the run: the parameters no longer change, and more of the same would follow.

    Args:
        remedy: Setting that the failure message advises to lower, by its name in the configuration.
    """

    def __init__(self, remedy: str) -> None:
        self._remedy = remedy
        self._in_iteration = 0
        self._in_a_row = 0

    def start_iteration(self) -> None:
        """Sets the count of this iteration's skipped updates to zero."""
        self._in_iteration = 0

    def passes(self, *numbers: Tensor) -> bool:
        """Counts an update as made or skipped; returns true if all its numbers are finite.

        Args:
            *numbers: Loss, gradient or parameters of the update, of any shape.

        Raises:
            RunFailure: If this is the fifth update in a row that is skipped.
        """
        finite = all(bool(torch.isfinite(each).all()) for each in numbers)
        if finite:
            self.accept()
        else:
            self.skip()
        return finite

    def accept(self) -> None:
        """Counts an update that is made."""
        self._in_a_row = 0

    def skip(self) -> None:
        """Counts an update that is skipped.

        Raises:
            RunFailure: If this is the fifth in a row.
        """
        self._in_iteration += 1
        self._in_a_row += 1
        if self._in_a_row >= _MAX_SKIPPED_IN_A_ROW:
            raise RunFailure(
                f"a loss, gradient or parameter was not finite, {self._in_a_row} updates in a row; lower {self._remedy}"
                " or check the task's rewards; the last checkpoint is as it was"
            )

    @property
    def skipped(self) -> int:
        """Number of updates skipped in this iteration."""
        return self._in_iteration

    def state_dict(self) -> dict[str, Tensor]:
        """Number of updates skipped since the last one that was made."""
        return {_SKIPPED_IN_A_ROW: torch.tensor(self._in_a_row)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned; ignores other entries."""
        self._in_a_row = int(state[_SKIPPED_IN_A_ROW])
