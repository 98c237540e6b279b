"""The contract of a class of Meta-World tasks: what it observes beside the hand, and what it rewards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.snapshot import Snapshot

Touching = Literal["never", "grasp_success", "always"]
"""When to find out what the pads press on: only for `grasp_success`, or always, that is, for `outcome` too."""


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

    touching: ClassVar[Touching] = "never"
    """When `Snapshot.touching` is needed."""

    @abstractmethod
    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """Position `(env, 3)` and orientation of the one or two objects in the observation.

        The orientation is a quaternion `(env, 4)` as it stands in the observation, or a matrix `(env, 3, 3)` that still
        has to be made into one (x, y, z, w).
        """

    @abstractmethod
    def outcome(self, s: Snapshot) -> Outcome:
        """Reward and success of the step."""

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """What Meta-World's `info` has under this name, 0 or 1 or a boolean: 1 where nothing is to be grasped."""
        return namespace(s.actions).ones_like(s.actions[:, 0])
