"""Plain cloning, the control of imitation: learns from scratch, from the demonstrations of one task alone."""

from __future__ import annotations

from copy import copy
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.imitation.agent import check_imitates
from metarl.algorithms.imitation.fitting import fit, own_parameters
from metarl.algorithms.imitation.library import Steps
from metarl.algorithms.imitation.losses import cloning_loss
from metarl.algorithms.imitation.way import Memory, OwnNetworks, mlp
from metarl.policies.normalizer import Normalizer

_HIDDEN, _STEPS, _LR, _LOOKS = (64, 64), 500, 3e-3, 100


class Cloning(OwnNetworks):
    """Each task has a network of its own, which clones its demonstrations by 500 steps of Adam, from the same start.

    Nothing of it is meta-learned but the units of the observations.

    Args:
        normalizer: Normaliser of the observations.
        action_size: Length of an action vector.
    """

    def __init__(self, normalizer: Normalizer, action_size: int) -> None:
        size = len(normalizer.mean)
        super().__init__(size)
        self.normalizer = normalizer
        self.network: nn.Module = mlp([size, *_HIDDEN, action_size])

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; the parameters of each task's network."""
        observations, actions = (each.flatten(1, 2) for each in shown)
        own = own_parameters(self.network, len(observations))
        if not observations.shape[1]:
            return own
        return fit(own, lambda own, _: cloning_loss(self.outputs(observations, own), actions).mean(1), _STEPS, _LR)

    def outputs(
        self, observations: Float[Tensor, "task sample obs"], memory: Memory
    ) -> Float[Tensor, "task sample action"]:
        """See `OwnNetworks`."""
        outputs: Tensor = vmap(partial(functional_call, self.network))(memory, observations)
        return outputs


def clone_alone(agent: TrainedAgent, seed: int) -> TrainedAgent:
    """Returns an agent that is shown what another one is shown, and clones it from scratch.

    Args:
        agent: Agent that imitates.
        seed: Seed of the network's start.

    Raises:
        UserError: If the agent does not imitate.
    """
    alone = copy(check_imitates(agent, "cloning"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        alone.way = Cloning(alone.way.normalizer, alone.action_space.shape[0]).to(alone.way.normalizer.mean.device)
    alone.looks = _LOOKS
    alone.init()
    return alone
