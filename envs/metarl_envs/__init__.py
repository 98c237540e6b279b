"""Task distributions for meta-reinforcement learning, and their simulation."""

from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.gymnasium_ids import register_gymnasium_ids
from metarl_envs.registry import make, register, registered
from metarl_envs.wrapped import WrappedDistribution

__all__ = [
    "Task",
    "TaskDistribution",
    "TaskVectorEnv",
    "UserError",
    "WrappedDistribution",
    "make",
    "register",
    "registered",
]

register_gymnasium_ids()
