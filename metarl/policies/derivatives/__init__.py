"""Derivatives of policies with respect to their parameters, for all tasks of a meta-batch at once."""

from torch import nn

from metarl.policies.derivatives.base import ForwardPass as ForwardPass
from metarl.policies.derivatives.base import Gradient as Gradient
from metarl.policies.derivatives.base import PolicyDerivatives as PolicyDerivatives
from metarl.policies.derivatives.functional import FunctionalDerivatives
from metarl.policies.derivatives.mlp import MLPDerivatives
from metarl.policies.mlp import MLPPolicy


def policy_derivatives(policy: nn.Module) -> PolicyDerivatives:
    """Chooses the derivatives of a network: the fast kernel for an `MLPPolicy`, `torch.func` for any other.

    A subclass of `MLPPolicy` may compute something else in its forward pass and gets `torch.func`, too.
    """
    return MLPDerivatives(policy) if type(policy) is MLPPolicy else FunctionalDerivatives(policy)
