"""Perturbations of any vector of environments: what sensors, actuators, rewards and dynamics do wrong."""

from metarl_envs.perturbed.settings import (
    PERTURBATIONS,
    ActionDelay,
    ActionNoise,
    DampingChange,
    FrictionChange,
    MassChange,
    Perturbation,
    RewardDelay,
    RewardDrop,
    SensorNoise,
    check_strength,
)
from metarl_envs.perturbed.vector import TRUE_REWARD, PerturbedVectorEnv

__all__ = [
    "PERTURBATIONS",
    "TRUE_REWARD",
    "ActionDelay",
    "ActionNoise",
    "DampingChange",
    "FrictionChange",
    "MassChange",
    "Perturbation",
    "PerturbedVectorEnv",
    "RewardDelay",
    "RewardDrop",
    "SensorNoise",
    "check_strength",
]
