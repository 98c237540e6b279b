"""The contract between the training loop and an algorithm."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from metarl.agents import TrainedAgent
from metarl.sampling import Sampler


@runtime_checkable
class Algorithm(Protocol):
    """Learns to adapt, one meta-batch of tasks at a time; a new algorithm is a folder that provides one of these."""

    device: torch.device
    """Where it learns and acts."""
    num_envs: int
    """Environments it samples from; a multiple of the meta-batch."""
    largest_kept: int
    """Bytes, see `metarl.devices.keep_freed_memory`."""

    def warm_up(self, sampler: Sampler) -> None:
        """Prepares before the first iteration of a run that is not resumed."""

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> dict[str, float]:
        """Collects trajectories for one meta-batch and updates; what it draws, it draws from `generator`.

        Returns:
            Metrics by their logged names.
        """

    def make_agent(self, seed: int) -> TrainedAgent:
        """A fresh agent that adapts from the current parameters."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that training has changed, by name: training goes on from it exactly."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave, all or nothing."""
