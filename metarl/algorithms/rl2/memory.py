"""Memory of an RL² agent, and the choice among those that an adaptation went through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actors import PreviousStep
from metarl.acting.episode_returns import EpisodeReturns
from metarl.data.steps import BoolArray, TimestepLike


class Memory(NamedTuple):
    """Memory of an RL² agent for each environment, with the leading axis `env`."""

    state: Float[Tensor, "env state"]
    """Recurrent state of the policy."""
    previous: PreviousStep
    """Previous step, an input of the policy."""

    def where(self, mask: BoolArray, other: Memory) -> Memory:
        """Returns this memory where the mask `(env,)` is true, another one elsewhere."""
        (state, (actions, *rest)), (other_state, (other_actions, *other_rest)) = self, other
        rows = torch.as_tensor(mask, device=state.device).unsqueeze(1)
        chosen = (np.where(mask, mine, others) for mine, others in zip(rest, other_rest, strict=True))
        previous = PreviousStep(torch.where(rows, actions, other_actions), *chosen)
        return Memory(torch.where(rows, state, other_state), previous)


class BestMemory:
    """Best memory of each environment so far: the episode that started from it has the highest return.

    Args:
        memory: Memory before the first episode.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self._highest = np.full(len(memory.state), -np.inf)
        self.begin(memory)

    def begin(self, memory: Memory) -> None:
        """Begins an episode in all environments from a memory; one that was not played to its end is dropped."""
        self._start = memory
        self._returns = EpisodeReturns(len(memory.state))

    def step(self, memory: Memory, timestep: TimestepLike, valid: BoolArray | None) -> None:
        """Counts the rewards of a step, after which the memory is as given; see `RL2Agent.step`."""
        returns, ended = self._returns.step(timestep, valid)
        better = ended & (returns > self._highest)
        self.memory = self._start.where(better, self.memory)
        self._start = memory.where(ended, self._start)
        self._highest = np.where(better, returns, self._highest)
