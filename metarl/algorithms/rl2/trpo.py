"""TRPO (Schulman et al. 2015) on whole trials."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, grad_and_value

from metarl.algorithms.rl2.chunk_states import input_chunks
from metarl.algorithms.rl2.clipped_adam import ClippedAdam
from metarl.algorithms.rl2.config import RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import Samples, surrogate, value_loss
from metarl.optim.config import TrustRegionConfig
from metarl.optim.curvature import jacobian_products, twice_differentiable
from metarl.optim.guard import UpdateGuard
from metarl.optim.trust_region import TrustRegionStep, trust_region_step
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import ActorCritic
from metarl.ranks import ALONE, Ranks

_MAX_VALUE_GRADIENT = 1.0
"""Norm that longer gradients of the critic are scaled down to."""


class TRPO:
    """One trust-region step of the policy, then gradient steps of the critic, if there is one.

    Args:
        network: Policy and critic, both learned; the critic has a body of its own.
        distribution: Action distribution.
        config: Settings.
        baseline: Settings of the critic; None without one.
        guard: Skips steps whose loss or gradient is not finite.
    """

    def __init__(
        self,
        network: ActorCritic,
        distribution: ActionDistribution,
        config: TrustRegionConfig,
        baseline: RL2ValueBaselineConfig | None,
        guard: UpdateGuard,
    ) -> None:
        self._network = network
        self._policy = network.policy
        self._distribution = distribution
        self._config = config
        self._baseline = baseline
        self._guard = guard
        self._critic_optimizer = None
        if network.critic is not None and baseline is not None:
            critic = network.critic
            self._critic_optimizer = ClippedAdam(critic, [critic], baseline.lr, _MAX_VALUE_GRADIENT, guard)

    def update(
        self,
        samples: Samples,
        states: Float[Tensor, "row state"],
        chunk: int,
        generator: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> dict[str, float]:
        """Takes the step of the policy and fits the critic.

        Args:
            samples: Whole trials.
            states: Not used: states at chunk starts are recomputed for each candidate of the line search.
            chunk: Steps that back-propagation goes back.
            generator: Not used: the step takes the whole meta-batch.
            ranks: Ranks that learn together, each from its own trials.

        Returns:
            Metrics.

        Raises:
            RunFailure: See `UpdateGuard`.
        """
        theta = {name: parameter.detach() for name, parameter in self._policy.named_parameters()}
        vector = flatten(theta)
        step = self.step(vector, samples, chunk, ranks)
        metrics = {"train/line_search_failed": 1.0}
        if step is not None:
            self._policy.load_state_dict(unflatten(step.vector, theta), strict=False)
            metrics = {
                "train/loss": step.loss,
                "train/kl": step.kl,
                "train/line_search_steps": float(step.tried),
                "train/line_search_failed": float(not step.accepted),
            }
        return metrics | self._fit_critic(samples, chunk, ranks)

    def step(
        self, vector: Float[Tensor, "n"], samples: Samples, chunk: int, ranks: Ranks = ALONE
    ) -> TrustRegionStep | None:
        """Trust-region step from a flat vector of the policy's parameters; None if the loss or gradient is not finite.

        The Hessian of the mean KL divergence is Jᵀ F J, J being the Jacobian of the policy's outputs along the trials
        (through the core and through time) with respect to the parameters, and F the Fisher matrix of the outputs,
        block-diagonal over steps and divided by their number N.

        Args:
            vector: Parameters θ of the policy.
            samples: Whole trials.
            chunk: Steps that back-propagation goes back.
            ranks: Ranks that learn together.
        """
        distribution, valid = self._distribution, samples.valid
        share = _share_of_steps(samples, ranks)

        def over_ranks(*means: Tensor) -> tuple[Tensor, ...]:
            # a mean over the N steps of all ranks = Σ_ranks N_rank / N times the rank's mean
            return ranks.sum(*(share * mean for mean in means))

        def outputs(parameters: Tensor) -> Tensor:
            return self.outputs(parameters, samples.inputs, chunk)

        with twice_differentiable():
            # jvp(v) = J v and vjp(u) = Jᵀ u
            old, jvp, vjp = jacobian_products(outputs, vector)
            # g = dL/dθ = Jᵀ dL/d(outputs)
            output_gradient, loss = grad_and_value(lambda new: surrogate(distribution, new, samples))(old)
            loss, gradient = over_ranks(loss, vjp(output_gradient))
            if not self._guard.passes(loss, gradient):
                return None

            def curvature_product(direction: Tensor) -> Tensor:
                # H v = Jᵀ (1/N) F (J v), zero in padding
                fisher = distribution.fisher_product(old, jvp(direction))
                return over_ranks(vjp(torch.where(valid.unsqueeze(-1), fisher, 0.0) / valid.sum()))[0]

            @torch.no_grad()
            def evaluate(candidate: Tensor) -> tuple[float, float]:
                # L(θ') and mean KL(π_θ || π_θ')
                new = outputs(candidate)
                loss, kl = over_ranks(surrogate(distribution, new, samples), samples.mean(distribution.kl(old, new)))
                return loss.item(), kl.item()

            settings = self._config.model_dump(exclude={"kind"})
            return trust_region_step(vector, loss.item(), gradient, curvature_product, evaluate, **settings)

    def outputs(self, vector: Float[Tensor, "n"], inputs: PolicyInput, chunk: int) -> Float[Tensor, "task time p"]:
        """Distribution parameters along trials; derivatives stop at the start of each chunk."""
        theta = unflatten(vector, dict(self._policy.named_parameters()))
        state = self._policy.initial_state(len(inputs.episode_start))
        outputs = []
        for steps in input_chunks(inputs, chunk):
            output, state = functional_call(self._policy, theta, (steps, state.detach()))
            outputs.append(output)
        return torch.cat(outputs, dim=1)

    def state_dict(self) -> dict[str, Tensor]:
        """State of the critic's optimiser; empty without a critic."""
        return {} if self._critic_optimizer is None else self._critic_optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        if self._critic_optimizer is not None:
            self._critic_optimizer.load_state_dict(state)

    def _fit_critic(self, samples: Samples, chunk: int, ranks: Ranks) -> dict[str, float]:
        """Takes gradient steps of the critic, each on all trials."""
        critic, baseline = self._network.critic, self._baseline
        if self._critic_optimizer is None or critic is None or baseline is None:
            return {}
        assert critic.body is not None
        inputs = self._policy.standardize(samples.inputs)
        targets = critic.to_standard(samples.returns)
        share = _share_of_steps(samples, ranks)
        losses = []
        for _ in range(baseline.epochs):
            state = critic.body.core.initial_state(len(samples.valid))
            values = []
            for steps in input_chunks(inputs, chunk):
                hidden, state = critic.body.sequence(steps, state.detach())
                values.append(critic(hidden, steps.observations))
            error = share * value_loss(torch.cat(values, dim=1), targets, samples)
            (loss,) = self._critic_optimizer.accumulate_gradient([error.unsqueeze(0)], ranks=ranks)
            self._critic_optimizer.step(loss)
            losses.append(loss)
        return {"train/value_loss": torch.stack(losses).mean().item()}


def _share_of_steps(samples: Samples, ranks: Ranks) -> float:
    """Returns this rank's share N_rank / N of the steps of all ranks."""
    own = samples.valid.sum()
    return int(own) / int(ranks.sum(own)[0])
