"""Classes of tasks beyond Meta-World's 50."""

from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ENV_CLS_MAP, ML1_ARGS_KWARGS
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl_envs.errors import UserError
from metarl_envs.metaworld.classes import TASK_CLASSES
from metarl_envs.metaworld.task_class import TaskClass


def add_class(env_class: type[SawyerXYZEnv], task_class: type[TaskClass]) -> None:
    """Makes a class of tasks known, to ML1 and custom benchmarks as much as to the engine.

    Args:
        env_class: The environment, written as Meta-World writes its own; the engine takes model, resets and constants
            from it.
        task_class: The same environment's observation and reward for a whole batch, under the name that tasks bear.

    Raises:
        UserError: If there is a class of that name.
    """
    name = task_class.name
    if name in ALL_V3_ENVIRONMENTS:
        raise UserError(f"there is a Meta-World class '{name}' already; choose another name")
    ALL_V3_ENVIRONMENTS[name] = ENV_CLS_MAP[name] = env_class
    ML1_ARGS_KWARGS[name] = {"args": [], "kwargs": {"task_id": list(ALL_V3_ENVIRONMENTS).index(name)}}
    TASK_CLASSES[name] = task_class()
