"""Locomotion tasks on Gymnasium's MuJoCo robots: the families of MAML, ProMP and PEARL."""

from envs.locomotion.distribution import FAMILIES, Locomotion
from envs.locomotion.engine import LocomotionVectorEnv
from envs.locomotion.family import Family

__all__ = ["FAMILIES", "Family", "Locomotion", "LocomotionVectorEnv"]
