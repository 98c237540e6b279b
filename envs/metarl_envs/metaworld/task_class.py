"""The contract of a class of Meta-World tasks: its observed objects and its reward."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.snapshot import Snapshot

Touching = Literal["never", "grasp_success", "always"]
"""Methods that need the contacts of the pads: none, `grasp_success` alone, or `outcome` too."""


class Outcome(NamedTuple):
    """Result of a step, each `(env,)`: Meta-World's reward (v2) and `info`, except for `grasp_success`."""

    reward: Array
    success: Array
    """0 or 1, or a boolean."""
    near_object: Array
    grasp_reward: Array
    in_place_reward: Array
    obj_to_target: Array


class TaskClass(ABC):
    """A class of tasks, such as "push-v3". Instances are stateless: every number comes with the snapshot."""

    name: ClassVar[str]
    """Meta-World's name of the class."""
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos")
    """MuJoCo's arrays that the methods read; `xpos` and `site_xpos` are always there."""
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp")
    """Attributes of Meta-World's environment object that the methods read, by Meta-World's names."""
    late_constants: ClassVar[tuple[str, ...]] = ()
    """Further attributes, which Meta-World sets in an episode's first step, to values that no action can change."""
    touching: ClassVar[Touching] = "never"
    """Methods that read `Snapshot.touching`."""

    @abstractmethod
    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """Positions and orientations of the one or two objects in the observation.

        Returns:
            For each object its position `(env, 3)` and its orientation: the four numbers `(env, 4)` to be observed, or
            a rotation matrix `(env, 3, 3)`, which the engine converts to a quaternion (x, y, z, w).
        """

    @abstractmethod
    def outcome(self, s: Snapshot) -> Outcome:
        """Computes reward and success of the step."""

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Computes `info["grasp_success"]` `(env,)`, 0 or 1 or a boolean; 1 in classes where nothing is grasped."""
        return namespace(s.actions).ones_like(s.actions[:, 0])
