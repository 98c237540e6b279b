"""The contract between training and an algorithm: all that training needs of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import TrainedAgent
from metarl.acting.sampler import Sampler
from metarl.data.trajectories import Trajectories
from metarl.ranks import ALONE, Ranks
from metarl.strict import Count, StrictModel
from metarl_envs.core import TaskDistribution


class EpisodeMeans(NamedTuple):
    """Means over some of an iteration's training episodes."""

    episode_return: float
    """Undiscounted return of an episode."""
    success_rate: float
    """Share of episodes in which the task was solved at any step."""

    @staticmethod
    def of(trajectories: Trajectories, episodes: slice = slice(None), ranks: Ranks = ALONE) -> EpisodeMeans:
        """Returns the means over some of the episodes of each task, those of all ranks together."""
        returns, solved = trajectories.returns[:, episodes], trajectories.solved[:, episodes]
        number = torch.tensor(returns.numel(), dtype=torch.float64, device=returns.device)
        # the ranks' sums over the ranks' numbers of episodes
        total, successes, count = ranks.sum(returns.sum(dtype=torch.float64), solved.sum(dtype=torch.float64), number)
        return EpisodeMeans((total / count).item(), (successes / count).item())


class IterationResult(NamedTuple):
    """Outcome of a meta-iteration; docs/metrics.md lists the metrics that training makes of it."""

    before: EpisodeMeans | None
    """Means over the episodes played before any adaptation to their task; None where none are played."""
    after: EpisodeMeans | None
    """Means over the last episodes, after all adaptation; None where none are played."""
    skipped_updates: int
    """Updates left out because a loss, a gradient or a parameter was not finite."""
    metrics: dict[str, float]
    """The algorithm's own, by their logged names, such as "train/loss"."""
    score: float | None = None
    """What picks the best checkpoint, higher is better; None is the mean return after adaptation."""


@runtime_checkable
class Algorithm(Protocol):
    """Learns to adapt, one meta-batch of tasks at a time."""

    device: torch.device
    """Device of learning and acting."""
    meta_batch: int
    """Tasks per meta-iteration."""
    num_envs: int
    """Environments it samples from; a multiple of the meta-batch, or 0 if it learns from demonstrations."""

    def warm_up(self, sampler: Sampler) -> None:
        """Prepares before the first iteration of a run that is not resumed."""

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Collects trajectories for one meta-batch and updates; what it draws, it draws from `generator`.

        Raises:
            RunFailure: If training cannot go on.
            torch.OutOfMemoryError: If the device's memory does not hold an iteration.
        """

    def make_agent(self, seed: int) -> TrainedAgent:
        """Makes an agent that adapts from the current parameters; `seed` seeds its exploration."""

    def state_dict(self) -> dict[str, Tensor]:
        """Returns all that training has changed, by name: training goes on from it exactly.

        Names, shapes and dtypes are always the same.
        """

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave; the layout has been checked."""


@runtime_checkable
class HasTrainingState(Protocol):
    """Algorithm that tells which part of its state no agent needs, so that pretrained policies are small."""

    training_state: tuple[str, ...]
    """How the names of that part in `state_dict` begin, such as "optimizer."."""


def is_training_state(algorithm: Algorithm, name: str) -> bool:
    """Returns true if only training needs an element of the algorithm's `state_dict`.

    Args:
        algorithm: The algorithm; if it does not tell, agents need all of its state.
        name: Name of the element.
    """
    return isinstance(algorithm, HasTrainingState) and name.startswith(algorithm.training_state)


@runtime_checkable
class DataParallel(Protocol):
    """Algorithm that several processes can train, each on its share of the meta-batch; see `metarl.ranks`."""

    def join(self, ranks: Ranks) -> None:
        """Learns together with other ranks from now on; called once, before anything else.

        N ranks then take the step that one process takes on the whole meta-batch: whatever is a mean, a statistic or a
        decision over tasks goes over those of all ranks.
        """


class AlgorithmConfig(StrictModel, ABC):
    """Settings of an algorithm, and the way from them to the algorithm; see `metarl.algorithms.registry`."""

    adapts_on: ClassVar[AdaptsOn] = AdaptsOn.EPISODES
    """What its agents adapt on; demonstrations if they are `metarl.acting.agents.Shown`."""

    kind: str
    """Name that the algorithm is registered under."""
    meta_batch: Count
    """Tasks per meta-iteration."""

    def told(self) -> tuple[str, ...]:
        """Says, a sentence each, what training is told of its tasks that acting and adapting are not."""
        return ()

    def told_in_training(self) -> str:
        """Says what `told` does, for everything that shows results of such a training; empty if nothing is told."""
        told = self.told()
        return " ".join([*told, "Neither acting nor adapting sees that."]) if told else ""

    @abstractmethod
    def build(self, distribution: TaskDistribution, device: torch.device) -> Algorithm:
        """Makes the algorithm.

        Args:
            distribution: The tasks to train on, for their spaces and horizon.
            device: Where to learn and act.

        Raises:
            UserError: If settings contradict each other.
        """
