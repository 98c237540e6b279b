"""Actor of RL²'s training trials, which keeps the states that their chunks start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actors import PolicyActor
from metarl.policies.inputs import PolicyInput

if TYPE_CHECKING:
    from metarl.algorithms.rl2.algorithm import RL2


class RecurrentActor(PolicyActor):
    """Actor of one trial of each task, from the policy's initial state.

    Args:
        rl2: Algorithm of the policy.
        num_envs: Number of environments, one per task.
        noise: Generator of each environment, for the noise of its actions.
    """

    def __init__(self, rl2: RL2, num_envs: int, noise: Sequence[np.random.Generator]) -> None:
        super().__init__(rl2.action_space, rl2.device, noise)
        self._rl2 = rl2
        self._state = rl2.policy.initial_state(num_envs)
        self._steps = 0
        self._chunk_states: list[Tensor] = []

    @property
    def chunk_states(self) -> Float[Tensor, "env chunk state"]:
        """States that the chunks played so far start from."""
        return torch.stack(self._chunk_states, dim=1)

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        chunk = self._rl2.config.chunk
        if self._steps == 0 or (chunk is not None and self._steps % chunk == 0):
            self._chunk_states.append(self._state)
        self._steps += 1
        outputs, self._state = self._rl2.policy.step(inputs, self._state)
        return self.sample(outputs), outputs


def chunk_states(actors: Sequence[RecurrentActor]) -> Float[Tensor, "row state"]:
    """Returns the states that chunks start from, in the row order of `losses.cut_into_chunks`.

    Args:
        actors: Actor of each vector of environments.
    """
    played = [actor.chunk_states for actor in actors]
    # Vectors whose episodes end early have fewer chunks: their states are padded with zeros.
    most = max(states.shape[1] for states in played)
    padded = [torch.nn.functional.pad(states, (0, 0, 0, most - states.shape[1])) for states in played]
    return torch.cat(padded).flatten(0, 1)
