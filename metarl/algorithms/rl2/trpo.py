"""TRPO over whole trials (Schulman et al. 2015)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad_and_value

from metarl.algorithms.rl2.config import TRPOConfig, ValueBaselineConfig
from metarl.algorithms.rl2.descent import Descent, Guard
from metarl.algorithms.rl2.losses import Samples, surrogate, value_loss
from metarl.algorithms.rl2.unrolling import chunks
from metarl.optim.curvature import jacobian_products, twice_differentiable
from metarl.optim.trust_region import TrustRegionStep, trust_region_step
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import ActorCritic

_MAX_VALUE_GRADIENT = 1.0
"""Gradients of the critic longer than this are shortened to it."""


class TRPO:
    """One trust-region step of the policy, after which the critic, if there is one, is fitted.

    Args:
        network: What is learned; a critic has a body of its own.
        distribution: The action distribution.
        config: The settings.
        baseline: Those of the critic, None if there is none.
        guard: Keeps out numbers that are not finite.
    """

    def __init__(
        self,
        network: ActorCritic,
        distribution: ActionDistribution,
        config: TRPOConfig,
        baseline: ValueBaselineConfig | None,
        guard: Guard,
    ) -> None:
        self._network = network
        self._policy = network.policy
        self._distribution = distribution
        self._config = config
        self._baseline = baseline
        self._guard = guard
        self._descent = None
        if network.critic is not None and baseline is not None:
            critic = network.critic
            self._descent = Descent(critic, [critic], baseline.lr, _MAX_VALUE_GRADIENT, guard)

    def update(
        self, samples: Samples, states: Float[Tensor, "row state"], chunk: int, generator: torch.Generator
    ) -> dict[str, float]:
        """The step; states at chunk starts follow the parameters under trial, so those given are not needed.

        Args:
            samples: Whole trials.
            states: Not used.
            chunk: Steps that back-propagation goes back.
            generator: Not used: the step takes the whole meta-batch.

        Returns:
            Metrics.

        Raises:
            RunFailure: See `Guard`.
        """
        theta = {name: parameter.detach() for name, parameter in self._policy.named_parameters()}
        vector = flatten(theta)
        step = self.step(vector, samples, chunk)
        metrics = {"train/line_search_failed": 1.0}
        if step is not None:
            self._policy.load_state_dict(unflatten(step.vector, theta), strict=False)
            metrics = {
                "train/loss": step.loss,
                "train/kl": step.kl,
                "train/line_search_steps": float(step.tried),
                "train/line_search_failed": float(not step.accepted),
            }
        return metrics | self._fit_critic(samples, chunk)

    def step(self, vector: Float[Tensor, "n"], samples: Samples, chunk: int) -> TrustRegionStep | None:
        """The trust-region step from a vector of the policy's parameters; None if the guard objects.

        The curvature of the mean divergence is JᵀFJ, J being the Jacobian of the policy's outputs along the trials,
        through the core, and F the Fisher matrix of the outputs, weighted.
        """
        distribution, valid = self._distribution, samples.valid

        def outputs(parameters: Tensor) -> Tensor:
            return self.outputs(parameters, samples.inputs, chunk)

        with twice_differentiable():
            old, push_forward, pull_back = jacobian_products(outputs, vector)
            slope, loss = grad_and_value(lambda new: surrogate(distribution, new, samples))(old)
            gradient = pull_back(slope)
            if not self._guard.passes(loss, gradient):
                return None

            def curvature_product(tangent: Tensor) -> Tensor:
                fisher = distribution.fisher_product(old, push_forward(tangent))
                return pull_back(torch.where(valid.unsqueeze(-1), fisher, 0.0) / valid.sum())

            @torch.no_grad()
            def evaluate(candidate: Tensor) -> tuple[float, float]:
                new = outputs(candidate)
                return surrogate(distribution, new, samples).item(), samples.mean(distribution.kl(old, new)).item()

            settings = self._config.model_dump(exclude={"kind"})
            return trust_region_step(vector, loss.item(), gradient, curvature_product, evaluate, **settings)

    def outputs(self, vector: Float[Tensor, "n"], inputs: PolicyInput, chunk: int) -> Float[Tensor, "task time p"]:
        """Distribution parameters along trials; derivatives go back to the start of each chunk and no further."""
        theta = unflatten(vector, dict(self._policy.named_parameters()))
        state = self._policy.initial_state(len(inputs.episode_start))
        parts = []
        for part in chunks(inputs, chunk):
            output, state = functional_call(self._policy, theta, (part, state.detach()))
            parts.append(output)
        return torch.cat(parts, dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's of the critic."""
        return {} if self._descent is None else self._descent.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        if self._descent is not None:
            self._descent.load_state_dict(state)

    def _fit_critic(self, samples: Samples, chunk: int) -> dict[str, float]:
        """Gradient steps of the critic on all trials."""
        critic, baseline = self._network.critic, self._baseline
        if self._descent is None or critic is None or baseline is None:
            return {}
        assert critic.body is not None
        inputs = self._policy.standardize(samples.inputs)
        targets = critic.to_standard(samples.returns)
        losses = []
        for _ in range(baseline.epochs):
            state = critic.body.core.initial_state(len(samples.valid))
            values = []
            for part in chunks(inputs, chunk):
                hidden, state = critic.body.sequence(part, state.detach())
                values.append(critic(hidden, part.observations))
            loss = self._descent.differentiate([value_loss(torch.cat(values, dim=1), targets, samples)])
            self._descent.step(loss)
            losses.append(loss)
        return {"train/value_loss": torch.stack(losses).mean().item()}
