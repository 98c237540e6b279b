"""Registration of classes of tasks beyond Meta-World's 50."""

from metaworld.env_dict import ALL_V3_ENVIRONMENTS, ENV_CLS_MAP, ML1_ARGS_KWARGS
from metaworld.sawyer_xyz_env import SawyerXYZEnv

from metarl_envs.errors import UserError
from metarl_envs.metaworld.classes import TASK_CLASSES
from metarl_envs.metaworld.task_class import TaskClass
from metarl_envs.registry import is_same_module


def add_class(env_class: type[SawyerXYZEnv], task_class: type[TaskClass]) -> None:
    """Adds a class of tasks to the engine and to the ML1 and custom benchmarks.

    A module, or a cell of a notebook, that runs again replaces what it added before.

    Args:
        env_class: Environment class in Meta-World's style; the engine reads model, resets and constants from it.
        task_class: Observation and reward of the same environment for batches; its `name` is that of the tasks.

    Raises:
        UserError: If Meta-World or another module has a class of that name.
    """
    name = task_class.name
    if name in ALL_V3_ENVIRONMENTS and not is_same_module(ALL_V3_ENVIRONMENTS[name], env_class):
        raise UserError(f"there is a Meta-World class '{name}' already; choose another name")
    ALL_V3_ENVIRONMENTS[name] = ENV_CLS_MAP[name] = env_class
    ML1_ARGS_KWARGS[name] = {"args": [], "kwargs": {"task_id": list(ALL_V3_ENVIRONMENTS).index(name)}}
    TASK_CLASSES[name] = task_class()
