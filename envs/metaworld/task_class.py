"""The contract of a class of Meta-World tasks: what it observes beside the hand, and what it rewards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from envs.arrays import namespace

from envs.metaworld.bricks import Array, norm
from envs.metaworld.snapshot import Snapshot


class Outcome(NamedTuple):
    """What a step came to, each `(env,)`: Meta-World's reward (v2) and its `info` but for `grasp_success`."""

    reward: Array
    success: Array
    """0 or 1, or a boolean."""
    near_object: Array
    grasp_reward: Array
    in_place_reward: Array
    obj_to_target: Array


class TaskClass(ABC):
    """A class of tasks, such as "push-v3". Instances hold nothing; all numbers come with the snapshot."""

    name: ClassVar[str]
    """Meta-World's name of the class."""
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos")
    """Which of MuJoCo's arrays `objects` and `outcome` read; `xpos` and `site_xpos` always."""
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp")
    """Which attributes of Meta-World's environment object they read."""
    late_constants: ClassVar[tuple[str, ...]] = ()
    """More of them, which it sets in an episode's first step, to values that no action can change."""

    main_object: ClassVar[str | None] = None
    """A geom: `Snapshot.touching` says whether both of the gripper's pads press on it."""

    @abstractmethod
    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """Position `(env, 3)` and orientation `(env, 4)` of the one or two objects in the observation."""

    @abstractmethod
    def outcome(self, s: Snapshot) -> Outcome:
        """Reward and success of the step."""


def observe(task_class: TaskClass, s: Snapshot) -> Array:
    """One frame of the observation, `(env, 18)`: hand position, gripper opening, and up to two objects, else zeros.

    As `SawyerXYZEnv._get_curr_obs_combined_no_goal`.
    """
    xp = namespace(s.actions)
    opening = xp.clip(norm(s.body("rightclaw") - s.body("leftclaw")) / 0.1, 0.0, 1.0)
    parts = [s.body("hand"), opening[:, None]]
    for position, orientation in task_class.objects(s):
        parts += [position, orientation]
    missing = 18 - sum(part.shape[1] for part in parts)
    if missing:
        parts.append(xp.zeros((s.actions.shape[0], missing), dtype=s.actions.dtype))
    return xp.concat(parts, axis=1)
