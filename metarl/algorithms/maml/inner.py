"""Inner rule: gradient steps on support episodes (Finn et al. 2017, algorithm 3, line 7), and their derivatives.

All tasks of a chunk are treated at once: parameters have a leading axis `task`, or are shared by all tasks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import InnerConfig
from metarl.algorithms.maml.losses import Batch, importance_ratios, subsample_indices
from metarl.optim.vectors import Parameters
from metarl.policies.derivatives import ForwardPass, Gradient, PolicyDerivatives
from metarl.policies.distributions import ActionDistribution

_HEAD = "head."
"""Prefix of the parameters that ANIL adapts: the last layer and the log standard deviation.

The log standard deviation is, like the last layer's bias, a parameter of the action distribution that no observation
passes through.
"""
_STEP_SIZES = "step_sizes."


class InnerStep(NamedTuple):
    """Gradient step from phi to phi' on one support batch, with all that its derivatives need."""

    start: Parameters
    """phi."""
    batch: Batch
    """The support samples."""
    ratios: Float[Tensor, "task sample"] | None
    """Importance ratios of the samples; None for the estimator that takes none."""
    forward: ForwardPass
    """The forward pass at phi."""
    gradient: Gradient
    """Gradient of the loss L at phi."""
    end: Parameters
    """phi'."""


class InnerRule:
    """Adapts a policy to a task: phi' = phi - alpha * grad L(phi), alpha a number, or learned (Meta-SGD).

    The meta-parameters theta are the policy's initial parameters by name and, if step sizes are learned, one tensor
    `step_sizes.<name>` for each adapted parameter.

    Args:
        config: The settings.
        derivatives: Outputs of the policy and their derivatives.
        distribution: The action distribution.
    """

    def __init__(self, config: InnerConfig, derivatives: PolicyDerivatives, distribution: ActionDistribution) -> None:
        self.config = config
        self.derivatives = derivatives
        self._distribution = distribution

    def initial_step_sizes(self, parameters: Parameters) -> Parameters:
        """Learned step sizes before training, all of them `lr`; empty if none are learned."""
        if not self.config.learned_lr:
            return {}
        return {
            _STEP_SIZES + name: torch.full_like(value, self.config.lr)
            for name, value in parameters.items()
            if self._is_adapted(name)
        }

    def policy_parameters(self, theta: Parameters) -> Parameters:
        """Selects the policy's initial parameters from the meta-parameters."""
        return {name: value for name, value in theta.items() if not name.startswith(_STEP_SIZES)}

    def adapt(self, parameters: Parameters, theta: Parameters, batch: Batch) -> Parameters:
        """Takes one inner step on samples of the policies that it starts from, a chunk of tasks at a time.

        Args:
            parameters: phi, with a leading axis `task`.
            theta: The meta-parameters, of which the learned step sizes are used.
            batch: The samples.

        Returns:
            phi', with a leading axis `task`.
        """
        ends = []
        for tasks in batch.task_chunks():
            start = {name: value[tasks] for name, value in parameters.items()}
            ends.append(self.step(start, theta, batch.of(tasks)).end)
        return {name: torch.cat([end[name] for end in ends]) for name in parameters}

    def step(
        self,
        start: Parameters,
        theta: Parameters,
        batch: Batch,
        old_outputs: Float[Tensor, "task sample p"] | None = None,
    ) -> InnerStep:
        """Takes one gradient step and keeps what its derivatives need.

        Args:
            start: phi.
            theta: The meta-parameters, of which the learned step sizes are used.
            batch: The samples.
            old_outputs: Distribution parameters of the policies that took the samples; None if these are the policies
                at phi.
        """
        forward = self.derivatives.forward(start, batch.observations)
        ratios = None
        if self.config.estimator == "likelihood_ratio":
            old = forward.outputs if old_outputs is None else old_outputs
            ratios = importance_ratios(self._distribution, forward.outputs, old, batch)
        gradient = self._gradient(start, forward, batch, ratios)
        # phi' = phi - alpha * grad L(phi); ANIL: phi' = phi outside of the head
        end = {
            name: value - self._step_size(name, theta) * gradient.parameters[name] if self._is_adapted(name) else value
            for name, value in start.items()
        }
        return InnerStep(start, batch, ratios, forward, gradient, end)

    def jvp(self, step: InnerStep, theta: Parameters, direction: Parameters) -> Parameters:
        """Jacobian-vector product of (phi, alpha) -> (phi', alpha).

        Args:
            step: The step.
            theta: The meta-parameters it was made with.
            direction: d phi, and d alpha of any learned step sizes.
        """
        moved = {name: direction[name] for name in step.start}
        # H d phi with H = grad² L; FOMAML: H = 0
        hessian = None if self.config.first_order else self._hessian_product(step, moved)
        for name in filter(self._is_adapted, step.start):
            # d phi' = d phi - alpha * H d phi - d alpha * grad L
            if hessian is not None:
                moved[name] = moved[name] - self._step_size(name, theta) * hessian[name]
            if _STEP_SIZES + name in direction:
                moved[name] = moved[name] - direction[_STEP_SIZES + name] * step.gradient.parameters[name]
        return moved | {name: value for name, value in direction.items() if name.startswith(_STEP_SIZES)}

    def vjp(self, step: InnerStep, theta: Parameters, end_gradient: Parameters) -> Parameters:
        """Vector-Jacobian product of (phi, alpha) -> (phi', alpha): the transpose of `jvp`.

        Args:
            step: The step.
            theta: The meta-parameters it was made with.
            end_gradient: w, the derivatives with respect to phi', and to step sizes as far as later steps used them.

        Returns:
            The derivatives with respect to phi and alpha.
        """
        result = dict(end_gradient)
        scaled = {}
        for name, value in step.start.items():
            adapted = self._is_adapted(name)
            scaled[name] = self._step_size(name, theta) * end_gradient[name] if adapted else torch.zeros_like(value)
            if _STEP_SIZES + name in theta:
                # with respect to alpha: -w * grad L, summed over the inner steps
                used = -end_gradient[name] * step.gradient.parameters[name]
                result[_STEP_SIZES + name] = result.get(_STEP_SIZES + name, 0.0) + used
        if not self.config.first_order:
            # with respect to phi: w - Hᵀ (alpha * w), H being symmetric
            for name, value in self._hessian_product(step, scaled).items():
                result[name] = result[name] - value
        return result

    def subsampled(self, step: InnerStep, every: int) -> InnerStep:
        """Returns the same step with its Hessian estimated from one of every so many samples."""
        batch = step.batch.subsampled(every)
        at = subsample_indices(step.batch.weights.shape[1], every, step.batch.weights.device)
        ratios = None if step.ratios is None else step.ratios[:, at]
        forward = self.derivatives.forward(step.start, batch.observations)
        gradient = self._gradient(step.start, forward, batch, ratios)
        return step._replace(batch=batch, ratios=ratios, forward=forward, gradient=gradient)

    def _gradient(self, start: Parameters, forward: ForwardPass, batch: Batch, ratios: Tensor | None) -> Gradient:
        """Gradient of L = -mean of log pi A (Finn et al. 2017, equation 4), or of L = -mean of (pi / pi_old) A.

        Both have the same gradient at pi = pi_old, but not the same curvature. The ratio's is that of ProMP's
        low-variance estimator, pi / stop_gradient(pi) (Rothfuss et al. 2019, section 5); away from pi_old the ratio
        corrects for samples of the old policy (ibid., J^LR in section 6).
        """
        # dL/do = -w A s, or -w (pi / pi_old) A s, with the score s = d log pi / do and w = 1 / (number of samples)
        score = self._distribution.score(forward.outputs, batch.actions)
        return self.derivatives.vjp(start, forward, -_gains(batch, ratios) * score)

    def _hessian_product(self, step: InnerStep, direction: Parameters) -> Parameters:
        """Computes H v, H = grad² L."""
        outputs, actions = step.forward.outputs, step.batch.actions

        def output_hessian(moved: Float[Tensor, "task sample p"]) -> Float[Tensor, "task sample p"]:
            # log pi: d²L/do² = -w A S with S = d² log pi / do²
            change = self._distribution.score_jvp(outputs, actions, moved)
            if step.ratios is not None:
                # pi / pi_old: d²L/do² = -w (pi / pi_old) A (S + s sᵀ)
                score = self._distribution.score(outputs, actions)
                change = change + score * (score * moved).sum(-1, keepdim=True)
            return -_gains(step.batch, step.ratios) * change

        return self.derivatives.hessian_product(step.start, step.forward, step.gradient, direction, output_hessian)

    def _step_size(self, name: str, theta: Parameters) -> Tensor | float:
        return theta.get(_STEP_SIZES + name, self.config.lr)

    def _is_adapted(self, name: str) -> bool:
        return self.config.adapted == "all" or name.startswith(_HEAD)


def _gains(batch: Batch, ratios: Tensor | None) -> Float[Tensor, "task sample 1"]:
    """Factor of each sample's score in the loss's gradient: w A, or w A times the importance ratio."""
    gains = batch.weights * batch.advantages
    return (gains if ratios is None else gains * ratios).unsqueeze(-1)
