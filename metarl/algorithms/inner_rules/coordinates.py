"""Networks that look at one parameter at a time: small, and of use for networks of any size."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

_P = 10.0
"""p of the preprocessing: gradients below e^-p are taken as they are."""


def preprocess(gradient: Float[Tensor, "*n"]) -> Float[Tensor, "*n 2"]:
    """Magnitude and sign of gradients, both of the order of 1 (Andrychowicz et al. 2016, appendix A; p = 10)."""
    # (log|g| / p, sign g) where |g| >= e^-p, (-1, e^p g) elsewhere
    small = math.exp(-_P)
    size = gradient.abs().clamp_min(small).log() / _P
    sign = (gradient / small).clamp(-1.0, 1.0)
    return torch.stack([size, sign], dim=-1)
