"""The inner rule: gradient steps on support episodes (Finn et al. 2017, algorithm 3, line 7), and their derivatives.

All tasks of a batch are treated at once: parameters have a leading axis `task`, or are shared by all tasks.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import InnerConfig
from metarl.algorithms.maml.losses import Batch, importance_ratios, thin
from metarl.optim.vectors import Parameters
from metarl.policies.distributions import ActionDistribution
from metarl.policies.passes import Gradient, MLPPasses, Trace

_HEAD = "head."
"""What the names of the last layer's parameters begin with.

The log standard deviation is among them: it is, like the layer's bias, a parameter of the action distribution that no
observation passes through, where ANIL freezes the features.
"""
_STEP_SIZES = "step_sizes."


class InnerStep(NamedTuple):
    """A gradient step on one support batch, with all that its derivatives are computed from."""

    start: Parameters
    """The parameters phi before it."""
    batch: Batch
    """The samples."""
    ratios: Float[Tensor, "task sample"] | None
    """The samples' importance ratios; None for the estimator that takes none."""
    trace: Trace
    """The forward pass at phi."""
    gradient: Gradient
    """Of the loss at phi."""
    end: Parameters
    """The parameters after it."""


class InnerRule:
    """Adapts a policy to a task: phi' = phi - alpha * grad L(phi), alpha a number, or learned (Meta-SGD).

    The meta-parameters are the policy's initial parameters by name and, if step sizes are learned, one tensor
    `step_sizes.<name>` for each adapted parameter.

    Args:
        config: The settings.
        passes: The policy's architecture.
        distribution: What its outputs are the parameters of.
    """

    def __init__(self, config: InnerConfig, passes: MLPPasses, distribution: ActionDistribution) -> None:
        self.config = config
        self.passes = passes
        self._distribution = distribution

    def initial_step_sizes(self, parameters: Parameters) -> Parameters:
        """The step sizes that are learned, as they start out: `lr` everywhere."""
        if not self.config.learned_lr:
            return {}
        return {
            _STEP_SIZES + name: torch.full_like(value, self.config.lr)
            for name, value in parameters.items()
            if self._is_adapted(name)
        }

    def policy_parameters(self, theta: Parameters) -> Parameters:
        """Those of the meta-parameters that are the policy's."""
        return {name: value for name, value in theta.items() if not name.startswith(_STEP_SIZES)}

    def step(
        self,
        start: Parameters,
        theta: Parameters,
        batch: Batch,
        old_outputs: Float[Tensor, "task sample p"] | None = None,
    ) -> InnerStep:
        """One gradient step.

        Args:
            start: The policies' parameters.
            theta: The meta-parameters, of which the learned step sizes are used.
            batch: The samples.
            old_outputs: Distribution parameters of the policies that took the samples; left out where these are the
                very policies that the step starts from.
        """
        trace = self.passes.forward(start, batch.observations)
        ratios = None
        if self.config.estimator == "likelihood_ratio":
            old = trace.outputs if old_outputs is None else old_outputs
            ratios = importance_ratios(self._distribution, trace.outputs, old, batch)
        gradient = self._gradient(start, trace, batch, ratios)
        end = {
            name: value - self._step_size(name, theta) * gradient.parameters[name] if self._is_adapted(name) else value
            for name, value in start.items()
        }
        return InnerStep(start, batch, ratios, trace, gradient, end)

    def tangent(self, step: InnerStep, theta: Parameters, tangents: Parameters) -> Parameters:
        """How a step's end moves with phi and alpha: d phi' = d phi - alpha H d phi - d alpha grad L, H = grad² L.

        Args:
            step: The step.
            theta: The meta-parameters it was made with.
            tangents: Of phi, and of any step sizes.
        """
        moved = {name: tangents[name] for name in step.start}
        hessian = None if self.config.first_order else self._hessian_product(step, moved)
        for name in filter(self._is_adapted, step.start):
            if hessian is not None:
                moved[name] = moved[name] - self._step_size(name, theta) * hessian[name]
            if _STEP_SIZES + name in tangents:
                moved[name] = moved[name] - tangents[_STEP_SIZES + name] * step.gradient.parameters[name]
        return moved | {name: value for name, value in tangents.items() if name.startswith(_STEP_SIZES)}

    def cotangent(self, step: InnerStep, theta: Parameters, cotangents: Parameters) -> Parameters:
        """The transpose of `tangent`: from derivatives with respect to phi' to those with respect to phi and alpha.

        Args:
            step: The step.
            theta: The meta-parameters it was made with.
            cotangents: With respect to phi', and to step sizes as far as later steps used them.
        """
        result = dict(cotangents)
        scaled = {}
        for name, value in step.start.items():
            adapted = self._is_adapted(name)
            scaled[name] = self._step_size(name, theta) * cotangents[name] if adapted else torch.zeros_like(value)
            if _STEP_SIZES + name in theta:
                used = -cotangents[name] * step.gradient.parameters[name]
                result[_STEP_SIZES + name] = result.get(_STEP_SIZES + name, 0.0) + used
        if not self.config.first_order:
            for name, value in self._hessian_product(step, scaled).items():
                result[name] = result[name] - value
        return result

    def thinned(self, step: InnerStep, every: int) -> InnerStep:
        """The same step, its Hessian estimated from one of every so many samples."""
        batch = step.batch.thinned(every)
        at = thin(step.batch.weights.shape[1], every, step.batch.weights.device)
        ratios = None if step.ratios is None else step.ratios[:, at]
        trace = self.passes.forward(step.start, batch.observations)
        gradient = self._gradient(step.start, trace, batch, ratios)
        return step._replace(batch=batch, ratios=ratios, trace=trace, gradient=gradient)

    def _gradient(self, start: Parameters, trace: Trace, batch: Batch, ratios: Tensor | None) -> Gradient:
        """Of minus the mean over samples of log pi A (Finn et al. 2017, equation 4) or (pi / pi_old) A.

        Both have the same gradient at pi = pi_old, but not the same curvature. The ratio's is that of ProMP's
        low-variance estimator, pi / stop_gradient(pi) (Rothfuss et al. 2019, section 5); away from pi_old it corrects
        for the samples being old ones (ibid., J^LR in section 6).
        """
        score = self._distribution.score(trace.outputs, batch.actions)
        return self.passes.backward(start, trace, -_gains(batch, ratios) * score)

    def _hessian_product(self, step: InnerStep, tangents: Parameters) -> Parameters:
        """H times a direction: of log pi A it is A times the Hessian of log pi, and a ratio adds score scoreᵀ."""
        outputs, actions = step.trace.outputs, step.batch.actions

        def curvature(tangent: Float[Tensor, "task sample p"]) -> Float[Tensor, "task sample p"]:
            change = self._distribution.score_jvp(outputs, actions, tangent)
            if step.ratios is not None:
                score = self._distribution.score(outputs, actions)
                change = change + score * (score * tangent).sum(-1, keepdim=True)
            return -_gains(step.batch, step.ratios) * change

        return self.passes.second(step.start, step.trace, step.gradient, tangents, curvature)

    def _step_size(self, name: str, theta: Parameters) -> Tensor | float:
        return theta.get(_STEP_SIZES + name, self.config.lr)

    def _is_adapted(self, name: str) -> bool:
        return self.config.adapted == "all" or name.startswith(_HEAD)


def _gains(batch: Batch, ratios: Tensor | None) -> Float[Tensor, "task sample 1"]:
    """Each sample's weight in the loss's gradient."""
    gains = batch.weights * batch.advantages
    return (gains if ratios is None else gains * ratios).unsqueeze(-1)
