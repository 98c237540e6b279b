"""Meta-World's classes of tasks, families of which share a file."""

from envs.metaworld.classes.pushing import Push
from envs.metaworld.classes.reaching import Reach
from envs.metaworld.task_class import TaskClass

TASK_CLASSES: dict[str, TaskClass] = {task_class.name: task_class() for task_class in (Push, Reach)}
"""Every class by Meta-World's name."""
