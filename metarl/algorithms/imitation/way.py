"""Contract of ways from demonstrations to a policy: each makes a memory of what it is shown, and acts by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.imitation.library import Lesson, Steps
from metarl.algorithms.imitation.losses import cloning_loss
from metarl.policies.normalizer import Normalizer

Memory = dict[str, Tensor]
"""What a way remembers of each task, with the leading axis `task`; empty before anything was shown."""


class Way(nn.Module, ABC):
    """Way from demonstrations to a policy.

    Args:
        observation_size: Length of an observation.
    """

    window: int = 1
    """Steps that are cloned in one piece."""
    changing: tuple[str, ...] = ()
    """Names of the parts of the memory that change while the policy acts."""

    def __init__(self, observation_size: int) -> None:
        super().__init__()
        self.normalizer = Normalizer(observation_size)

    @abstractmethod
    def watch(self, shown: Steps) -> Memory:
        """Makes the memory of demonstrations, which may be none.

        Args:
            shown: Their steps, with the axes `task shot look` and standardised observations.
        """

    @abstractmethod
    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """Actions in units of the action space, and the memory after them.

        Args:
            observations: Standardised observation of each task.
            memory: Memory of each.
        """

    @abstractmethod
    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """Actions along pieces of episodes, each from the memory.

        Args:
            observations: Standardised observations.
            memory: Memory of each task.
        """

    def forward(
        self, shown: Steps, observations: Float[Tensor, "task piece step obs"]
    ) -> Float[Tensor, "task piece step action"]:
        """Actions along pieces of episodes, after what was shown: see `watch` and `clone`."""
        return self.clone(observations, self.watch(shown))

    def loss(self, lesson: Lesson) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """Loss of a lesson with standardised observations, and metrics of its own by their logged names."""
        outputs = self(lesson.shown, lesson.cloned.observations)
        return cloning_loss(outputs, lesson.cloned.actions).mean(), {}

    def one_for_all(
        self, observations: Float[Tensor, "batch obs"], memory: Memory
    ) -> tuple[Float[Tensor, "batch action"], Memory]:
        """As `act`, with the memory of a single task for all observations, but for what changes."""
        own = {name: memory[name] for name in self.changing}
        shared = {name: value.expand(observations.shape[0], *value.shape[1:]) for name, value in memory.items()}
        return self.act(observations, shared | own)


class OwnNetworks(Way):
    """Way that makes a network of each task's own."""

    @abstractmethod
    def outputs(
        self, observations: Float[Tensor, "task sample obs"], memory: Memory
    ) -> Float[Tensor, "task sample action"]:
        """Actions of each task's network."""

    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """See `Way`."""
        return self.outputs(observations.unsqueeze(1), memory).squeeze(1), memory

    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """See `Way`."""
        return self.outputs(observations.flatten(1, 2), memory).reshape(*observations.shape[:3], -1)


def mlp(sizes: Sequence[int]) -> nn.Sequential:
    """Makes a network with ReLU between its layers, of the lengths of input, hidden layers and output."""
    layers = [module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(*layers[:-1])
