"""Plain cloning, the control of imitation: learns from scratch, from the demonstrations of one task alone."""

from __future__ import annotations

from copy import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from metarl.acting.agents import TrainedAgent
from metarl.algorithms.imitation.agent import check_imitates
from metarl.algorithms.imitation.library import Steps
from metarl.algorithms.imitation.losses import cloning_loss
from metarl.algorithms.imitation.way import Memory, OwnNetworks, mlp
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import flatten, unflatten
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

    @torch.enable_grad()
    def watch(self, shown: Steps) -> Memory:
        """See `Way`; the parameters of each task's network."""
        observations, actions = (each.flatten(1, 2) for each in shown)
        start = {name: value.detach() for name, value in self.network.named_parameters()}
        like = {name: value.expand(len(observations), *value.shape) for name, value in start.items()}
        if not observations.shape[1]:
            return {name: value.clone() for name, value in like.items()}
        vector = flatten(like)
        adam = adam_start(vector)
        for _ in range(_STEPS):
            vector.requires_grad_()
            # the sum over tasks, whose gradients are apart, as Adam's steps are
            loss = cloning_loss(self.outputs(observations, unflatten(vector, like)), actions).mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, vector)
            vector, adam = adam_step(vector.detach(), gradient, adam, _LR)
        return unflatten(vector, like)

    def outputs(
        self, observations: Float[Tensor, "task sample obs"], memory: Memory
    ) -> Float[Tensor, "task sample action"]:
        """See `OwnNetworks`."""

        def of_one_task(parameters: Memory, inputs: Tensor) -> Tensor:
            outputs: Tensor = functional_call(self.network, parameters, (inputs,))
            return outputs

        outputs: Tensor = vmap(of_one_task)(memory, observations)
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
