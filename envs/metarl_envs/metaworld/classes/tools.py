"""Tools gripped by a long handle: the wrench with its nut, put on a peg or taken off it, and the hammer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, nearness, norm
from metarl_envs.metaworld.gripping import gripper_caging, nearest_on_handle
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class Placement(NamedTuple):
    """How far the tool has come, each `(env,)`."""

    in_place: Array
    """0 to 1."""
    success: Array


class Tool(TaskClass):
    """A tool to be gripped, kept level and brought somewhere."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    level: ClassVar[tuple[float, float, float, float]]
    """Quaternion of the tool as it lies on the table (w, x, y, z)."""
    half_handle: ClassVar[float]
    """Half the handle's length, in metres."""
    density: ClassVar[Literal["medium", "high"]] = "high"
    least_reward: ClassVar[float] = float("-inf")
    """Only above this reward is success given the highest one."""

    @abstractmethod
    def placement(self, s: Snapshot) -> Placement:
        """How far the tool has come."""

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the tool and bringing it where it belongs, as far as it is level."""
        xp = namespace(s.actions)
        tool = s.observations[:, 4:7]
        level = clamp(1.0 - norm(s.observations[:, 7:11] - s.vector(*self.level)) / 0.4, 0.0, 1.0)
        grasped = gripper_caging(
            s,
            nearest_on_handle(s, tool, self.half_handle),
            obj_radius=0.015,
            pad_success_thresh=0.02,
            object_reach_radius=0.01,
            xz_thresh=0.01,
            density=self.density,
        )
        in_place, success = self.placement(s)
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
        """See `TaskClass`: gripped at least by half."""
        return outcome.grasp_reward >= 0.5


def lift_and_place(lifted: Array, error: Array, margin: float) -> Array:
    """A tenth for lifting the tool, the rest for its nearness to where it belongs: 0 to 1.

    Args:
        lifted: Whether it is lifted, `(env,)`.
        error: Vector from it to where it belongs, `(env, 3)`.
        margin: Length of the vector, less 2 cm, at which nearness is a tenth.
    """
    xp = namespace(error)
    placed = 0.9 * nearness(norm(error), 0.02, margin)
    return xp.where(lifted, 0.1 + placed, placed)


class Assembly(Tool):
    """Put the wrench's nut on the peg."""

    name: ClassVar[str] = "assembly-v3"
    level: ClassVar[tuple[float, float, float, float]] = (0.707, 0.0, 0.0, 0.707)
    half_handle: ClassVar[float] = 0.01
    density: ClassVar[Literal["medium", "high"]] = "medium"

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The wrench, by its handle."""
        return ((s.site("RoundNut-8"), s.body_quaternion("RoundNut")),)

    def placement(self, s: Snapshot) -> Placement:
        """Nearness of the nut to a funnel over the peg, which is wider once the nut is on it."""
        xp = namespace(s.actions)
        nut = s.site("RoundNut")
        error = s.constant("_target_pos") - nut
        radius = norm(error[:, :2])
        success = (radius < 0.02) & (error[:, 2] > 0.0)
        beyond = xp.where(success, radius - 0.02, radius - 0.01)
        height = xp.where(beyond > 0, 0.02 * xp.log(xp.where(beyond > 0, beyond, 1.0)) + 0.2, 0.0)
        error = xp.concat([error[:, :2], (3.0 * (height - nut[:, 2]))[:, None]], axis=1)
        return Placement(lift_and_place((nut[:, 2] > 0.02) | (beyond < 0), error, 0.4), success)


class Disassemble(Assembly):
    """Take the wrench's nut off the peg."""

    name: ClassVar[str] = "disassemble-v3"
    density: ClassVar[Literal["medium", "high"]] = "high"

    def placement(self, s: Snapshot) -> Placement:
        """Nearness of the nut to a point high above the peg."""
        nut, target = s.site("RoundNut"), s.constant("_target_pos")
        in_place = lift_and_place(nut[:, 2] > 0.02, target + s.vector(0.0, 0.0, 0.1) - nut, 0.2)
        return Placement(in_place, s.observations[:, 6] > target[:, 2])


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
        """Nearness of the hammer's head to where the nail was; success is the nail's way."""
        head = s.observations[:, 4:7] + s.vector(0.16, 0.06, 0.0)
        in_place = lift_and_place(head[:, 2] > 0.02, s.constant("_target_pos") - head, 0.2)
        return Placement(in_place, s.joint("NailSlideJoint") > 0.09)
