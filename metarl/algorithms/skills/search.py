"""Search over skills by the return of one episode each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float64]


class Search:
    """Search on one task: given weights in turn, then mixtures of the best ones with others.

    Args:
        candidates: Weights `(skill,)` to try, in this order; at least one.
        rng: Generator of the mixtures.
    """

    def __init__(self, candidates: Sequence[Weights], rng: np.random.Generator) -> None:
        self._rng = rng
        self._ahead = list(candidates)
        self._tried: list[tuple[float, Weights]] = []
        self.candidate: Weights = self._ahead.pop(0)
        """Weights `(skill,)` to play the next episode with."""

    @property
    def best(self) -> Weights:
        """Weights `(skill,)` of the episode with the highest return; before any, the first candidate."""
        return max(self._tried, key=lambda tried: tried[0])[1] if self._tried else self.candidate

    def tell(self, episode_return: float) -> None:
        """Takes the return of the candidate's episode and moves on to the next candidate.

        Args:
            episode_return: Undiscounted return, in the environment's units.
        """
        self._tried.append((episode_return, self.candidate))
        self.candidate = self._ahead.pop(0) if self._ahead else self._mixture()

    def _mixture(self) -> Weights:
        """Mixes the best weights with those of another try, drawn by rank."""
        ranked = [weights for _, weights in sorted(self._tried, key=lambda tried: -tried[0])]
        if len(ranked) == 1:
            return ranked[0]
        # other ~ Geometric(1/2) over the ranks below the best; w = (1 - a) w_best + a w_other,  a ~ U(0, 1/2)
        other = min(int(self._rng.geometric(0.5)), len(ranked) - 1)
        share = self._rng.uniform(0.0, 0.5)
        return (1 - share) * ranked[0] + share * ranked[other]
