"""Task distributions and their simulation: families of reinforcement-learning tasks with held-out members."""

from envs.core import Task, TaskDistribution, TaskVectorEnv
from envs.errors import UserError
from envs.gymnasium_ids import register_gymnasium_ids
from envs.registry import make, register, registered
from envs.wrapped import WrappedDistribution

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
