"""Standardisation of network inputs by statistics that are saved with the network."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

_MIN_STD = 0.01
"""Inputs that hardly vary (a resting object, a hidden goal) are not blown up beyond a hundredfold."""
_LIMIT = 10.0
"""Standardised inputs are clipped to this many standard deviations."""


class Normalizer(nn.Module):
    """Maps inputs to (input - mean) / std by the mean and standard deviation of all inputs given to `update`.

    Before the first update it is the identity, but for the clipping to ±10.

    Args:
        size: Length of the input vectors.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor
    std: Tensor
    """What inputs are divided by; follows from the others, but taking it anew in every step of acting costs more than
    using it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("std", torch.ones(size, dtype=torch.float64), persistent=False)
        self.register_load_state_dict_post_hook(_refresh)  # type: ignore[no-untyped-call]

    def forward(self, inputs: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """Standardises and clips."""
        return ((inputs - self.mean.to(inputs.dtype)) / self.std.to(inputs.dtype)).clamp(-_LIMIT, _LIMIT)

    def restore(self, standardised: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """The inverse of `forward`, but for the clipping."""
        return standardised * self.std.to(standardised.dtype) + self.mean.to(standardised.dtype)

    @torch.no_grad()
    def update(self, inputs: Float[Tensor, "*b n"], valid: Bool[Tensor, "*b"]) -> None:
        """Takes in those inputs where `valid` (Chan et al. 1979, the pairwise update of mean and sum of squares)."""
        batch = inputs[valid].to(torch.float64)
        count = self.count + len(batch)
        mean = batch.mean(0)
        shift = mean - self.mean
        self.squares += ((batch - mean) ** 2).sum(0) + shift**2 * (self.count * len(batch) / count)
        self.mean += shift * (len(batch) / count)
        self.count.copy_(count)
        _refresh(self)


def _refresh(normalizer: Normalizer, _: object = None) -> None:
    variance = torch.where(normalizer.count > 0, normalizer.squares / normalizer.count.clamp(min=1), 1.0)
    normalizer.std.copy_(variance.sqrt().clamp(min=_MIN_STD))
