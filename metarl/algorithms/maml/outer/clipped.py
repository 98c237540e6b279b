"""MAML-PPO and ProMP: several Adam steps on the clipped surrogate, adapting anew from each candidate."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import MAMLPPOConfig, ProMPConfig
from metarl.algorithms.maml.losses import importance_ratios
from metarl.algorithms.maml.outer.base import AdamRule, OuterStep, check_finite
from metarl.algorithms.maml.problem import Problem
from metarl.algorithms.maml.unrolling import Unrolled
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import Parameters, flatten, unflatten


class Clipped(AdamRule):
    """Maximises J^CLIP(theta') - eta KL(pi_old, pi_theta), theta' = U(theta) (Rothfuss et al. 2019, section 6).

    J^CLIP is PPO's objective for the adapted policies on the query samples; the divergence is that of the policies that
    took the support samples. MAML-PPO is eta = 0. Inner steps use the old support samples at every candidate; ProMP's
    likelihood ratio corrects for that (see `InnerRule`).

    Args:
        config: The settings.
        theta: Meta-parameters, for their shapes.
    """

    def __init__(self, config: MAMLPPOConfig | ProMPConfig, theta: Parameters) -> None:
        super().__init__(adam_start(flatten(theta)))
        self._config = config
        self._penalty = config.inner_kl_penalty if isinstance(config, ProMPConfig) else 0.0

    def step(self, problem: Problem) -> OuterStep:
        """See `OuterRule`."""
        config, theta = self._config, problem.theta
        vector, adam = flatten(theta), self._adam
        old = problem.unroll(theta)
        norms = []
        for _ in range(config.epochs):
            candidate = unflatten(vector, theta)
            gradient, loss = problem.gradient(lambda new: self._loss(problem, new, old), candidate, old)
            norms.append(check_finite(loss, gradient))
            vector, adam = adam_step(vector, gradient, adam, config.lr)
        new = problem.unroll(unflatten(vector, theta), old)
        check_finite(self._loss(problem, new, old), vector)
        self._adam = adam
        return OuterStep(unflatten(vector, theta), self._metrics(problem, new, old) | {"train/grad_norm": norms[0]})

    def _loss(self, problem: Problem, new: Unrolled, old: Unrolled) -> Float[Tensor, ""]:
        loss = problem.surrogate(new, old, self._config.clip)
        return loss + self._penalty * problem.support_kl(new, old) if self._penalty else loss

    def _metrics(self, problem: Problem, new: Unrolled, old: Unrolled) -> dict[str, float]:
        ratios = importance_ratios(problem.distribution, new.query, old.query, problem.query)
        clipped = (ratios - 1).abs() > self._config.clip
        return {
            "train/loss": self._loss(problem, new, old).item(),
            "train/kl": problem.query_kl(new, old).item(),
            "train/inner_kl": problem.support_kl(new, old).item(),
            "train/clip_fraction": (problem.query.weights * clipped).sum(-1).mean().item(),
        }
