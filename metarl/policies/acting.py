"""Steps of a recurrent policy while it acts on the CPU, in as few operations as possible.

Between two steps of many environments the simulator fills the processor's caches, so that each operation takes several
microseconds, however small its arrays. NumPy's are the cheaper ones there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.policies.inputs import JointEncoder, PolicyInput
from metarl.policies.normalizer import LINEAR

if TYPE_CHECKING:
    from metarl.policies.recurrent import RecurrentPolicy


class ActingStep:
    """The policy's `step` on the CPU, without a gradient, as long as weights and statistics stay as they are now.

    Args:
        policy: Policy with a joint encoder.
    """

    def __init__(self, policy: RecurrentPolicy) -> None:
        encoder = policy.body.encoder
        assert isinstance(encoder, JointEncoder)
        self._policy, self._encoder = policy, encoder.network
        self._core_step = policy.body.core.prepare_step()
        observation, reward = policy.observation_normalizer, policy.reward_normalizer
        self._observation_size = len(observation.mean)
        dtype = next(policy.parameters()).dtype
        # Columns of the encoder's input: observation, previous action, previous reward, episode start. Those that are
        # not standardised have mean 0 and standard deviation 1.
        unchanged = encoder.input_size - self._observation_size - 2
        zeros, ones = (make(unchanged, dtype=torch.float64) for make in (torch.zeros, torch.ones))
        self._mean = torch.cat([observation.mean, zeros, reward.mean, zeros.new_zeros(1)]).numpy()
        self._std = torch.cat([observation.std, ones, reward.std, ones.new_ones(1)]).to(dtype).numpy()
        self._resize(0)

    @torch.no_grad()
    def __call__(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """See `RecurrentPolicy.step`."""
        if len(self._raw) != len(state):
            self._resize(len(state))
        raw, standard, size = self._raw, self._standard, self._observation_size
        raw[:, :size] = inputs.observations.numpy()
        raw[:, size:-2] = inputs.previous_actions.numpy()
        raw[:, -2] = inputs.previous_rewards.numpy()
        raw[:, -1] = inputs.episode_start.numpy()
        # z = (x - mean) / std, the difference in float64
        np.subtract(raw, self._mean, out=raw)
        standard[:] = raw
        np.divide(standard, self._std, out=standard)
        if np.abs(standard).max() > LINEAR:  # the normalisers compress such inputs
            return self._policy.step(inputs, state)
        hidden, state = self._core_step(self._encoder(self._features), state)
        return self._policy.head(hidden, self._features[:, :size]), state

    def _resize(self, batch: int) -> None:
        """Allocates what all steps of a batch share."""
        self._raw = np.empty((batch, len(self._mean)))
        self._standard = np.empty_like(self._raw, dtype=self._std.dtype)
        self._features = torch.from_numpy(self._standard)
