"""Tools gripped by a long handle: the wrench with its nut, put on a peg or taken off it, and the hammer.

`T` in the comments is `nearness`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import gripper_caging, nearest_on_handle
from metarl_envs.metaworld.rewards import nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class Placement(NamedTuple):
    """Progress of the tool, each `(env,)`."""

    in_place: Array
    """Placement term of the reward, 0 to 1."""
    success: Array
    """True where the task is solved."""


class Tool(TaskClass):
    """A tool to grip, keep level and bring to a place."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    level: ClassVar[tuple[float, float, float, float]]
    """Quaternion (w, x, y, z) of the tool lying on the table."""
    half_handle: ClassVar[float]
    """Half the handle's length, in metres."""
    density: ClassVar[Literal["medium", "high"]] = "high"
    least_reward: ClassVar[float] = float("-inf")
    """Reward above which a success is rewarded by 10."""

    @abstractmethod
    def placement(self, s: Snapshot) -> Placement:
        """Computes placement and success."""

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the tool and bringing it to its place, in proportion to how level it is."""
        xp = namespace(s.actions)
        tool = s.object
        # level = clip(1 - |q - q_level| / 0.4, 0, 1)
        level = clamp(1.0 - norm(s.object_quaternion - s.vector(*self.level)) / 0.4, 0.0, 1.0)
        grasped = gripper_caging(
            s,
            nearest_on_handle(s, tool, self.half_handle),
            obj_radius=0.015,
            pad_success_thresh=0.02,
            xz_thresh=0.01,
            density=self.density,
        )
        in_place, success = self.placement(s)
        # reward = 10 if success (and above `least_reward`) else (2 grasped + 6 in_place) level
        reward = (2.0 * grasped + 6.0 * in_place) * level
        return Outcome(
            reward=xp.where(success & (reward > self.least_reward), 10.0, reward),
            success=success,
            near_object=level,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=xp.zeros_like(grasped),
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the grasp term is at least 0.5."""
        return outcome.grasp_reward >= 0.5


def lift_and_place(lifted: Array, error: Array, margin: float) -> Array:
    """Placement term, 0 to 1: 0.1 for lifting the tool, 0.9 for its nearness to its place.

    Args:
        lifted: True where the tool is lifted, `(env,)`.
        error: Vector from the tool to its place, `(env, 3)` in metres.
        margin: Margin of the tolerance, in metres.
    """
    xp = namespace(error)
    # 0.1 [lifted] + 0.9 T(|error|; 0.02, margin)
    placed = 0.9 * nearness(norm(error), 0.02, margin)
    return xp.where(lifted, 0.1 + placed, placed)


class Assembly(Tool):
    """Put the wrench's nut on the peg."""

    name: ClassVar[str] = "assembly-v3"
    level: ClassVar[tuple[float, float, float, float]] = (0.707, 0.0, 0.0, 0.707)
    half_handle: ClassVar[float] = 0.01
    density: ClassVar[Literal["medium", "high"]] = "medium"

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The wrench, at its handle."""
        return ((s.site("RoundNut-8"), s.body_quaternion("RoundNut")),)

    def placement(self, s: Snapshot) -> Placement:
        """Rewards nearness of the nut to a funnel over the peg, whose hole is wider once the nut is on the peg."""
        xp = namespace(s.actions)
        nut = s.site("RoundNut")
        error = s.target - nut
        # r = |target - nut|_xy;  success = r < 0.02 and nut_z < target_z
        radius = norm(error[:, :2])
        success = (radius < 0.02) & (error[:, 2] > 0.0)
        # height = 0.02 log(r - brim) + 0.2 if r > brim else 0, where brim = 0.02 if success else 0.01
        beyond = xp.where(success, radius - 0.02, radius - 0.01)
        height = xp.where(beyond > 0, 0.02 * xp.log(xp.where(beyond > 0, beyond, 1.0)) + 0.2, 0.0)
        # error = ((target - nut)_xy, 3 (height - nut_z))
        error = xp.concat([error[:, :2], (3.0 * (height - nut[:, 2]))[:, None]], axis=1)
        return Placement(lift_and_place((nut[:, 2] > 0.02) | (beyond < 0), error, 0.4), success)


class Disassemble(Assembly):
    """Take the wrench's nut off the peg."""

    name: ClassVar[str] = "disassemble-v3"
    density: ClassVar[Literal["medium", "high"]] = "high"

    def placement(self, s: Snapshot) -> Placement:
        """Rewards nearness of the nut to a point above the peg; success is the wrench's height."""
        nut, target = s.site("RoundNut"), s.target
        # error = target + (0, 0, 0.1) - nut
        in_place = lift_and_place(nut[:, 2] > 0.02, target + s.vector(0.0, 0.0, 0.1) - nut, 0.2)
        return Placement(in_place, s.object[:, 2] > target[:, 2])


class Hammer(Tool):
    """Drive the nail in with the hammer."""

    name: ClassVar[str] = "hammer-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat", "qpos")
    level: ClassVar[tuple[float, float, float, float]] = (1.0, 0.0, 0.0, 0.0)
    half_handle: ClassVar[float] = 0.07
    least_reward: ClassVar[float] = 5.0

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The hammer and the nail."""
        return tuple((s.body(name), s.body_quaternion(name)) for name in ("hammer", "nail_link"))

    def placement(self, s: Snapshot) -> Placement:
        """Rewards nearness of the hammer's head to the target; success is the way of the nail."""
        # head = hammer + (0.16, 0.06, 0);  error = target - head
        head = s.object + s.vector(0.16, 0.06, 0.0)
        in_place = lift_and_place(head[:, 2] > 0.02, s.target - head, 0.2)
        return Placement(in_place, s.joint("NailSlideJoint") > 0.09)
