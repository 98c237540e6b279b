"""Named parameters as one flat vector, and back."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Parameters = dict[str, Tensor]


def flatten(parameters: Parameters) -> Float[Tensor, "n"]:
    """Concatenates all parameters, in the dictionary's order."""
    return torch.cat([tensor.reshape(-1) for tensor in parameters.values()])


def unflatten(vector: Float[Tensor, "n"], like: Parameters) -> Parameters:
    """Splits a vector into parameters with the names and shapes of `like`: the inverse of `flatten`."""
    parts = torch.split(vector, [tensor.numel() for tensor in like.values()])
    return {name: part.reshape(tensor.shape) for (name, tensor), part in zip(like.items(), parts, strict=True)}
