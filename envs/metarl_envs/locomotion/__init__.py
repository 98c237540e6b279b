"""Locomotion tasks on Gymnasium's MuJoCo robots: the families of MAML, ProMP and PEARL."""

from metarl_envs.locomotion.distribution import FAMILIES, Locomotion
from metarl_envs.locomotion.engine import LocomotionVectorEnv
from metarl_envs.locomotion.family import Family

__all__ = ["FAMILIES", "Family", "Locomotion", "LocomotionVectorEnv"]
