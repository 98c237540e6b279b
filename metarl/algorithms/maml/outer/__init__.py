"""Outer rules: updates of the meta-parameters by a meta-batch; one file each."""

from metarl.algorithms.maml.config import (
    MAMLPPOConfig,
    MAMLTRPOConfig,
    OuterConfig,
    ProMPConfig,
    ReptileConfig,
    VPGConfig,
)
from metarl.algorithms.maml.outer.base import NonFiniteError as NonFiniteError
from metarl.algorithms.maml.outer.base import OuterRule as OuterRule
from metarl.algorithms.maml.outer.base import OuterStep as OuterStep
from metarl.algorithms.maml.outer.clipped import Clipped
from metarl.algorithms.maml.outer.policy_gradient import PolicyGradient
from metarl.algorithms.maml.outer.reptile import Reptile
from metarl.algorithms.maml.outer.trust_region import TrustRegion
from metarl.optim.vectors import Parameters


def make_outer_rule(config: OuterConfig, theta: Parameters) -> OuterRule:
    """Makes the outer rule that a configuration names, for meta-parameters of the shapes of `theta`."""
    match config:
        case MAMLTRPOConfig():
            return TrustRegion(config)
        case MAMLPPOConfig() | ProMPConfig():
            return Clipped(config, theta)
        case VPGConfig():
            return PolicyGradient(config, theta)
        case ReptileConfig():
            return Reptile(config)
