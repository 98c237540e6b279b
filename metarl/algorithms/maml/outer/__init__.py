"""Outer rules: what to make of a meta-batch; one short file each."""

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
from metarl.algorithms.maml.outer.gradient import PolicyGradient
from metarl.algorithms.maml.outer.reptile import Reptile
from metarl.algorithms.maml.outer.trust_region import TrustRegion
from metarl.optim.vectors import Parameters


def make_outer_rule(config: OuterConfig, theta: Parameters) -> OuterRule:
    """The outer rule that a configuration names, for meta-parameters like `theta`."""
    match config:
        case MAMLTRPOConfig():
            return TrustRegion(config)
        case MAMLPPOConfig() | ProMPConfig():
            return Clipped(config, theta)
        case VPGConfig():
            return PolicyGradient(config, theta)
        case ReptileConfig():
            return Reptile(config)
