"""MAML-PPO and ProMP: Adam steps on the clipped surrogate, with adaptation from each candidate anew."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import MAMLPPOConfig, ProMPConfig
from metarl.algorithms.maml.linearization import PolicyOutputs
from metarl.algorithms.maml.losses import importance_ratios
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer.base import AdamRule, OuterStep, check_finite
from metarl.optim.adam import adam_start, adam_step
from metarl.optim.vectors import Parameters, flatten, unflatten


class Clipped(AdamRule):
    """Maximises J^CLIP(theta') - eta KL(pi_old, pi_theta), theta' = U(theta) (Rothfuss et al. 2019, section 6).

    J^CLIP is PPO's objective for the adapted policies on the query samples; KL is the divergence of the policies that
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

    def step(self, objective: MetaObjective) -> OuterStep:
        """See `OuterRule`."""
        config, theta = self._config, objective.theta
        vector, adam = flatten(theta), self._adam
        old = objective.outputs(theta)
        norms = []
        for _ in range(config.epochs):
            candidate = unflatten(vector, theta)
            gradient, loss = objective.gradient(
                lambda new: self._loss(objective, new, old), objective.linearize(candidate, old)
            )
            # theta <- Adam(theta, grad loss(theta))
            norms.append(check_finite(loss, gradient))
            vector, adam = adam_step(vector, gradient, adam, config.lr)
        new = objective.outputs(unflatten(vector, theta), old)
        metrics = self._metrics(objective, new, old)
        check_finite(vector.new_tensor(metrics["train/loss"]), vector)
        self._adam = adam
        return OuterStep(unflatten(vector, theta), metrics | {"train/grad_norm": norms[0]})

    def _loss(self, objective: MetaObjective, new: PolicyOutputs, old: PolicyOutputs) -> Float[Tensor, ""]:
        # -J^CLIP(theta') + eta KL(pi_old, pi_theta)
        loss = objective.surrogate(new, old, self._config.clip)
        return loss + self._penalty * objective.support_kl(new, old) if self._penalty else loss

    def _metrics(self, objective: MetaObjective, new: PolicyOutputs, old: PolicyOutputs) -> dict[str, float]:
        ratios = importance_ratios(objective.distribution, new.query, old.query, objective.query)
        clipped = (ratios - 1).abs() > self._config.clip
        means = {
            "train/loss": self._loss(objective, new, old),
            "train/kl": objective.query_kl(new, old),
            "train/inner_kl": objective.support_kl(new, old),
            "train/clip_fraction": (objective.query.weights * clipped).sum(-1).mean(),
        }
        return {name: mean.item() for name, mean in zip(means, objective.mean(*means.values()), strict=True)}
