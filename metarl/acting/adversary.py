"""Adversary that perturbs what a policy sees, by one gradient step (Goodfellow et al. 2015, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.agents import Agent, TrainedAgent
from metarl.data.steps import BoolArray, Timestep, TimestepLike
from metarl.policies.distributions import ActionDistribution, Gaussian
from metarl_envs.core import FloatArray
from metarl_envs.errors import UserError
from metarl_envs.perturbed import check_strength

ADVERSARIAL = "adversarial"
"""Name of the perturbation in commands and results."""


def ascent_direction(
    distribution: ActionDistribution,
    outputs_of: Callable[[Float[Tensor, "env obs"]], Float[Tensor, "env p"]],
    observations: Float[Tensor, "env obs"],
) -> Float[Tensor, "env obs"]:
    """Computes the gradient, in the observations, of how likely a policy is to do something else than it would.

    For continuous actions that is the log-density of the opposite action; for discrete ones it is the negative
    log-probability of the likeliest, the loss of Huang et al. (2017, "Adversarial attacks on neural network policies").

    Args:
        distribution: Action distribution of the policy.
        outputs_of: The policy: maps observations to parameters of the distribution, each environment by itself.
        observations: `(env, obs)`, in the environment's units.
    """
    with torch.enable_grad():
        seen = observations.detach().requires_grad_()
        outputs = outputs_of(seen)
        action = distribution.mode(outputs).detach()
        # J(o) = log p(-a*; y(o)) for a Gaussian, -log p(a*; y(o)) for a choice;  a* = argmax_a p(a; y(o)), held fixed
        if isinstance(distribution, Gaussian):
            objective = distribution.log_prob(outputs, -action)
        else:
            objective = -distribution.log_prob(outputs, action)
        (gradient,) = torch.autograd.grad(objective.sum(), seen)
    return gradient


def attack_obstacle(agent: Agent) -> str | None:
    """Says why an agent cannot be attacked; None if it can."""
    if isinstance(agent, TrainedAgent) and agent.attackable:
        return None
    kind = type(agent).__name__
    return f"{ADVERSARIAL} needs a policy of the MAML family or of RL², whose gradient is known: {kind} has none"


class AttackedAgent(TrainedAgent):
    """Agent that sees each observation moved by one gradient step of an adversary who knows its policy.

    The observation o becomes o + strength * scale * sign(dJ/do), with J of `ascent_direction`, in adaptation and
    evaluation episodes alike. The agent adapts to what it saw.

    Args:
        agent: Agent to attack; must have an `attack_gradient`.
        strength: Largest change of an element, in units of `scale`.
        scale: Standard deviation of each element, `(obs,)`.

    Raises:
        UserError: If the strength is negative or not finite, or the agent has no gradient.
    """

    def __init__(self, agent: TrainedAgent, strength: float, scale: FloatArray) -> None:
        check_strength(ADVERSARIAL, strength, 0.0, np.inf)
        if reason := attack_obstacle(agent):
            raise UserError(reason)
        self._agent, self._bound = agent, strength * scale
        self.adaptation_steps = agent.adaptation_steps
        self.action_space, self.observation_size = agent.action_space, agent.observation_size
        self.exploration, self.samples = agent.exploration, agent.samples

    def init(self) -> None:
        """See `Agent`."""
        self._agent.init()

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        return self._agent.adapt_action(self._attack(observations))

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        return self._agent.eval_action(self._attack(observations))

    def sample_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `TrainedAgent`."""
        return self._agent.sample_action(self._attack(observations))

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`."""
        seen = Timestep(
            self._seen,
            timestep.action,
            timestep.reward,
            timestep.terminated,
            timestep.truncated,
            timestep.aux_policy_outputs,
        )
        self._agent.step(seen, valid)

    def adapt(self) -> None:
        """See `Agent`."""
        self._agent.adapt()

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        self._agent.reset(env_mask)

    def _attack(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        # o' = o + epsilon sigma sign(dJ/do)  (equation of section 4, with a bound for each element)
        self._seen = observations + self._bound * np.sign(self._agent.attack_gradient(observations))
        return self._seen
