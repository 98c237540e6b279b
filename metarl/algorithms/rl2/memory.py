"""Memory of an RL² agent, and the choice among those that an adaptation went through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actors import PreviousStep
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
    """Memory of each environment from which the episode with the highest return so far started.

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
        self._return = np.zeros(len(memory.state))

    def step(self, memory: Memory, timestep: TimestepLike, valid: BoolArray | None) -> None:
        """Counts the rewards of a step, after which the memory is as given; see `RL2Agent.step`."""
        played = np.ones(len(self._return), dtype=np.bool_) if valid is None else valid
        self._return += np.where(played, timestep.reward, 0.0)
        ended = played & (timestep.terminated | timestep.truncated)
        better = ended & (self._return > self._highest)
        self.memory = self._start.where(better, self.memory)
        self._start = memory.where(ended, self._start)
        self._highest = np.where(better, self._return, self._highest)
        self._return = np.where(ended, 0.0, self._return)
