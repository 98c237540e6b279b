"""Networks run along whole trials, a chunk after the other."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import ActorCritic


def chunks(inputs: PolicyInput, length: int) -> Iterator[PolicyInput]:
    """The inputs of trials, cut along time."""
    for start in range(0, inputs.episode_start.shape[1], length):
        yield PolicyInput(*(x[:, start : start + length] for x in inputs))


@torch.no_grad()
def unroll(
    network: ActorCritic, inputs: PolicyInput, length: int
) -> tuple[Float[Tensor, "task time"] | None, Float[Tensor, "row state"]]:
    """Values along trials, and the state that each of their chunks starts from.

    Args:
        network: The network.
        inputs: Of whole trials.
        length: Steps of a chunk.

    Returns:
        Values in standard units, None without a critic; and states in the order of `losses.cut`.
    """
    state = network.initial_state(len(inputs.episode_start))
    states, values = [], []
    parts = list(chunks(inputs, length))
    for index, part in enumerate(parts):
        states.append(state)
        if network.critic is None and index == len(parts) - 1:
            break  # nothing is asked of the last chunk
        _, value, state = network.sequence(part, state)
        values.append(value)
    return (
        None if network.critic is None else torch.cat([each for each in values if each is not None], dim=1),
        torch.stack(states, dim=1).flatten(0, 1),
    )
