"""Recurrent networks run along trials chunk by chunk: their values, and the states at the chunks' starts."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import ActorCritic


def input_chunks(inputs: PolicyInput, length: int) -> Iterator[PolicyInput]:
    """Chunks of the inputs along time, in order; the last one may be shorter.

    Args:
        inputs: Inputs with the leading axes `task time`.
        length: Steps of a chunk.
    """
    for start in range(0, inputs.episode_start.shape[1], length):
        yield PolicyInput(*(x[:, start : start + length] for x in inputs))


@torch.no_grad()
def values_and_chunk_states(
    network: ActorCritic, inputs: PolicyInput, length: int
) -> tuple[Float[Tensor, "task time"] | None, Float[Tensor, "row state"]]:
    """Values along trials, and the state that each chunk of them starts from.

    Args:
        network: Policy and critic.
        inputs: Inputs of whole trials, with the leading axes `task time`.
        length: Steps of a chunk.

    Returns:
        Values in standard units, None without a critic; and states in the row order of `losses.cut_into_chunks`.
    """
    # h_0 is the initial state; chunk k starts from the state h_k that chunk k - 1 ended in.
    state = network.initial_state(len(inputs.episode_start))
    states, values = [], []
    chunks = list(input_chunks(inputs, length))
    for index, chunk in enumerate(chunks):
        states.append(state)
        if network.critic is None and index == len(chunks) - 1:
            break  # neither values nor the state after the last chunk are needed
        _, value, state = network.sequence(chunk, state)
        values.append(value)
    return (
        None if network.critic is None else torch.cat([each for each in values if each is not None], dim=1),
        torch.stack(states, dim=1).flatten(0, 1),
    )
