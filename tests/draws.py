"""Actions drawn from distributions with any leading axes."""

import numpy as np
import torch
from torch import Tensor

from metarl.policies.distributions import ActionDistribution


def draw(distribution: ActionDistribution, parameters: Tensor, seed: int) -> Tensor:
    """One action per parameter vector."""
    noise = distribution.noise(np.random.default_rng(seed), parameters[..., 0].numel())
    return distribution.sample_by(
        parameters, torch.from_numpy(noise).to(parameters).reshape(*parameters.shape[:-1], -1)
    )
