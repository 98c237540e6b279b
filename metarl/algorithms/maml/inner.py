"""The inner rule: gradient steps on a task's support episodes (Finn et al. 2017, algorithm 3, line 7).

Everything here treats one task; `torch.func.vmap` makes it treat a meta-batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.maml.config import InnerConfig
from metarl.algorithms.maml.losses import Batch, importance_ratios
from metarl.optim.vectors import Parameters
from metarl.policies.distributions import ActionDistribution

PolicyFunction = Callable[[Parameters, Tensor], Tensor]
"""Maps a policy's parameters and observations to distribution parameters."""

_HEAD = "head."
"""What the names of the last layer's parameters begin with.

The log standard deviation is among them: it is, like the layer's bias, a parameter of the action distribution that no
observation passes through, where ANIL freezes the features.
"""
_STEP_SIZES = "step_sizes."


class InnerRule:
    """Adapts a policy to a task.

    The meta-parameters are the policy's initial parameters by name and, if step sizes are learned, one tensor
    `step_sizes.<name>` for each adapted parameter.

    Args:
        config: The settings.
        policy: The policy as a function.
        distribution: What its outputs are the parameters of.
    """

    def __init__(self, config: InnerConfig, policy: PolicyFunction, distribution: ActionDistribution) -> None:
        self.config = config
        self._policy = policy
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

    def adapt(
        self,
        parameters: Parameters,
        theta: Parameters,
        supports: Sequence[Batch],
        old_outputs: Sequence[Float[Tensor, "sample p"]] = (),
    ) -> tuple[Parameters, tuple[Float[Tensor, "sample p"], ...]]:
        """One gradient step on each support batch in turn.

        Args:
            parameters: Where to start from.
            theta: The meta-parameters, of which the learned step sizes are used.
            supports: The support batches.
            old_outputs: Distribution parameters of the policies that took the samples; left out where these are the
                very policies that the steps go through.

        Returns:
            The adapted parameters, and the distribution parameters of each step's policy on its support batch.
        """
        outputs = []
        for index, batch in enumerate(supports):
            parameters, output = self._step(parameters, theta, batch, old_outputs[index] if old_outputs else None)
            outputs.append(output)
        return parameters, tuple(outputs)

    def _step(
        self, parameters: Parameters, theta: Mapping[str, Tensor], batch: Batch, old_outputs: Tensor | None
    ) -> tuple[Parameters, Tensor]:
        """Takes phi to phi - alpha * grad L(phi): alpha is a number, or learned for each parameter (Meta-SGD)."""

        def loss(moving: Parameters) -> tuple[Tensor, Tensor]:
            outputs = self._policy(parameters | moving, batch.observations)
            return self._loss(outputs, batch, old_outputs), outputs

        adapted = {name: value for name, value in parameters.items() if self._is_adapted(name)}
        gradient, outputs = torch.func.grad(loss, has_aux=True)(adapted)
        if self.config.first_order:
            gradient = {name: value.detach() for name, value in gradient.items()}
        moved = {
            name: value - theta.get(_STEP_SIZES + name, self.config.lr) * gradient[name]
            for name, value in adapted.items()
        }
        return parameters | moved, outputs

    def _loss(self, outputs: Float[Tensor, "sample p"], batch: Batch, old_outputs: Tensor | None) -> Float[Tensor, ""]:
        """Minus the mean over samples of log pi A (Finn et al. 2017, equation 4) or (pi / pi_old) A.

        Both have the same gradient at pi = pi_old, but not the same curvature. The ratio's is that of ProMP's
        low-variance estimator, pi / stop_gradient(pi) (Rothfuss et al. 2019, section 5); away from pi_old it corrects
        for the samples being old ones (ibid., J^LR in section 6).
        """
        if self.config.estimator == "likelihood_ratio":
            old = outputs if old_outputs is None else old_outputs
            scores = importance_ratios(self._distribution, outputs, old, batch)
        else:
            scores = self._distribution.log_prob(outputs, batch.actions)
        return -(batch.weights * scores * batch.advantages).sum()

    def _is_adapted(self, name: str) -> bool:
        return self.config.adapted == "all" or name.startswith(_HEAD)
