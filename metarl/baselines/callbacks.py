"""Callbacks of stable-baselines3, which importing this module takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stable_baselines3.common.callbacks import BaseCallback


class EvaluateAt(BaseCallback):
    """Evaluates after certain numbers of training episodes, and ends the learning after the last.

    Args:
        points: Numbers of episodes, ascending from 0.
        evaluate: Is called at each.
        tell: Is told the number of training episodes played since it was last told.
    """

    def __init__(self, points: Sequence[int], evaluate: Callable[[], object], tell: Callable[[int], object]) -> None:
        super().__init__()
        self._ahead = list(points)
        self._evaluate, self._tell = evaluate, tell
        self._played = 0

    def _on_training_start(self) -> None:
        self._evaluate_due()

    def _on_step(self) -> bool:
        ended = int(self.locals["dones"].sum())
        if ended:
            self._played += ended
            self._tell(ended)
            self._evaluate_due()
        return bool(self._ahead)

    def _evaluate_due(self) -> None:
        while self._ahead and self._ahead[0] <= self._played:
            self._ahead.pop(0)
            self._evaluate()
