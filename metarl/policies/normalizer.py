"""Standardisation of network inputs by running statistics, which are saved with the network."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarl.ranks import ALONE, Ranks

_FLOOR, _LEAST_FLOOR = 0.1, 0.01
"""Lower bounds of the divisor: inputs that hardly vary (a resting object, a hidden goal) grow at most tenfold, and at
most a hundredfold where all inputs of the vector hardly vary."""
_LINEAR = 10.0
"""Standard deviations up to which standardised inputs are linear; beyond, they grow by the logarithm."""

_LARGEST = 1e30
_ULP = 2.0**-23
"""Relative distance of neighbouring float32 numbers."""


class Normalizer(nn.Module):
    """Maps inputs to z = (input - mean) / std, with the statistics of all inputs given to `update`.

    Beyond ±10 it compresses z to ±(10 + log(|z| - 9)): the slope is continuous, and different inputs stay different.
    What the statistics have not seen, an object that random actions never lift for example, thus reaches the network.
    Before the first update mean is 0 and std is 1.

    Args:
        size: Length of an input vector.
    """

    count: Tensor
    """n, number of inputs."""
    mean: Tensor
    """Their mean."""
    squares: Tensor
    """M = Σ (x - mean)², per component."""
    std: Tensor
    """max(sqrt(M / n), floor); a buffer, since computing it in each step of acting costs more than dividing by it."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("squares", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("std", torch.ones(size, dtype=torch.float64), persistent=False)
        self.register_load_state_dict_post_hook(_refresh)  # type: ignore[no-untyped-call]

    def forward(self, inputs: Float[Tensor, "*b n"], dtype: torch.dtype | None = None) -> Float[Tensor, "*b n"]:
        """Standardised inputs, compressed where they are far out.

        Args:
            inputs: Input vectors.
            dtype: Type of the result, such as that of a network's weights; None is the inputs' own.
        """
        z = self._standardise(inputs, dtype or inputs.dtype)
        linear = z.clamp(-_LINEAR, _LINEAR)
        # linear part + sign(excess) log(1 + |excess|); the bound keeps what overflows the type finite
        excess = z - linear
        return linear + excess.sign() * excess.abs().clamp(max=_LARGEST).log1p()

    def compressed(self, inputs: Float[Tensor, "*b n"]) -> Bool[Tensor, "*b"]:
        """Returns true for input vectors with a component so far out that `forward` compresses it."""
        return (self._standardise(inputs, inputs.dtype).abs() > _LINEAR).any(-1)

    def needs_float64(self) -> bool:
        """Returns true if neighbouring float32 inputs near the mean are more than 0.01 standard deviations apart."""
        return bool((self.mean.abs() * _ULP > 0.01 * self.std).any())

    def restore(self, standardised: Float[Tensor, "*b n"]) -> Float[Tensor, "*b n"]:
        """Inverse of `forward` for inputs that were not compressed."""
        return standardised * self.std.to(standardised.dtype) + self.mean.to(standardised.dtype)

    def _standardise(self, inputs: Float[Tensor, "*b n"], dtype: torch.dtype) -> Float[Tensor, "*b n"]:
        # The difference in float64: of map coordinates near 5,000,000 m float32 keeps half a metre only.
        return (inputs - self.mean).to(dtype) / self.std.to(dtype)

    @torch.no_grad()
    def update(self, inputs: Float[Tensor, "*b n"], valid: Bool[Tensor, "*b"], ranks: Ranks = ALONE) -> None:
        """Adds the valid inputs of all ranks to the statistics, by the pairwise update of Chan et al. (1979).

        Args:
            inputs: Input vectors.
            valid: False for inputs to leave out.
            ranks: Ranks that call this together, each with inputs of its own; their statistics stay equal.
        """
        # For the batch B of all ranks with n_B inputs and delta = mean_B - mean:
        #   n'    = n + n_B
        #   M'    = M + M_B + delta² n n_B / n'
        #   mean' = mean + delta n_B / n'
        batch = inputs[valid].to(torch.float64)
        size, total = ranks.sum(self.count.new_tensor(len(batch)), batch.sum(0))
        mean = total / size
        (squares,) = ranks.sum(((batch - mean) ** 2).sum(0))
        count = self.count + size
        delta = mean - self.mean
        self.squares += squares + delta**2 * (self.count * size / count)
        self.mean += delta * (size / count)
        self.count.copy_(count)
        _refresh(self)


def _refresh(normalizer: Normalizer, _: object = None) -> None:
    """Recomputes std from count and sum of squares, also after a checkpoint is loaded."""
    std = torch.where(normalizer.count > 0, normalizer.squares / normalizer.count.clamp(min=1), 1.0).sqrt()
    # floor = max(0.01, min(0.1, half of the largest standard deviation)): in the units of a vector that moves
    floor = (std.amax() / 2).clamp(_LEAST_FLOOR, _FLOOR)
    normalizer.std.copy_(std.maximum(floor))
