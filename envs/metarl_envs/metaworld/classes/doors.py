"""A door on its hinge, and its lock."""

from __future__ import annotations

from math import pi
from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, gaussian, hamacher_product, long_tail, nearness, norm
from metarl_envs.metaworld.gripping import is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Door(TaskClass):
    """A door with a handle."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle."""
        return ((s.geom("handle"), s.geom_matrix("handle")),)


class DoorOpen(_Door):
    """Pull a door open by its handle."""

    name: ClassVar[str] = "door-open-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat", "qpos")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos",)

    def outcome(self, s: Snapshot) -> Outcome:
        """Being behind the handle with the gripper closed, then the angle of the door."""
        xp = namespace(s.actions)
        handle = s.observations[:, 4:7]
        effort = (clamp(s.actions[:, 3], -1.0, 1.0) + 1.0) / 2.0
        ready, opened = self._ready(s, handle), self._opened(s)
        success = xp.abs(handle[:, 0] - s.constant("_target_pos")[:, 0]) <= 0.08
        return Outcome(
            reward=xp.where(success, 10.0, 2.0 * hamacher_product(ready, effort) + 8.0 * opened),
            success=success,
            near_object=ready,
            grasp_reward=effort,
            in_place_reward=opened,
            obj_to_target=xp.zeros_like(effort),
        )

    def _ready(self, s: Snapshot, handle: Array) -> Array:
        """Whether the hand is between handle and door, having come from above a funnel around the handle."""
        xp = namespace(handle)
        near = 0.12  # the funnel's opening, in metres
        hand = s.observations[:, :3]
        beside = hand - (handle - s.vector(0.05, 0.0, 0.0))
        outside = norm(beside[:, :2]) - near
        floor = xp.where(outside > 0, 0.04 * xp.log(xp.where(outside > 0, outside, 1.0)) + 0.4, 0.0)
        below = floor - hand[:, 2]
        above_floor = xp.where(below <= 0, 1.0, long_tail(below, 0.0, 0.01, floor / 2.0))
        behind_handle = nearness(norm(beside - s.vector(0.05, 0.03, -0.01)), near / 2.0, 0.5)
        return hamacher_product(above_floor, behind_handle)

    def _opened(self, s: Snapshot) -> Array:
        """How far the door is open: a bit for two degrees, the rest for the angle, which grows to the negative."""
        xp = namespace(s.actions)
        angle = s.joint("doorjoint")
        wide = 0.8 * long_tail(pi / 2 + pi / 6 + angle, 0.0, 0.5, pi / 3)
        return xp.where(angle < -pi / 90, 0.2 + wide, wide)

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: gripped at least by half."""
        return outcome.grasp_reward >= 0.5


class DoorClose(_Door):
    """Push an open door shut."""

    name: ClassVar[str] = "door-close-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "hand_init_pos")

    def outcome(self, s: Snapshot) -> Outcome:
        """Handle and hand both near to where the handle is to be."""
        xp = namespace(s.actions)
        handle, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), 0.05
        to_target = norm(handle - target)
        in_place = gaussian(to_target, radius, norm(s.constant("obj_init_pos") - target))
        hand_margin = norm(s.constant("hand_init_pos") - handle) + 0.1
        hand_in_place = gaussian(norm(s.tcp - target), 0.25 * radius, hand_margin)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, 3 * hand_in_place + 6 * in_place),
            success=to_target <= 0.08,
            near_object=xp.zeros_like(to_target),
            grasp_reward=xp.ones_like(to_target),
            in_place_reward=hand_in_place,
            obj_to_target=to_target,
        )


class _Lock(TaskClass):
    """A bolt on a door, which turns by a quarter."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    _site: ClassVar[str]
    """The end of the bolt."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The bolt's position, the door's orientation."""
        return ((s.site(self._site), s.body_quaternion("door_link")),)

    def _outcome(self, s: Snapshot, hand_distance: Array, near: Array, rewarded: Array, axis: int) -> Outcome:
        """The bolt's way along one axis, and some for the hand.

        Args:
            s: The environments.
            hand_distance: From the hand to the bolt, `(env,)`.
            near: How near that is, 0 to 1, `(env,)`.
            rewarded: What is rewarded of it, `(env,)`.
            axis: The axis along which the bolt has to get to the target.
        """
        xp = namespace(near)
        to_target = xp.abs(s.constant("_target_pos")[:, axis] - s.observations[:, 4 + axis])
        turned = nearness(to_target, 0.005, s.constant("_lock_length"))
        return Outcome(
            reward=2 * rewarded + 8 * turned,
            success=to_target <= 0.02,
            near_object=hand_distance <= 0.05,
            grasp_reward=near,
            in_place_reward=turned,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the gripper is open."""
        return is_open(s)


class DoorLock(_Lock):
    """Lock a door: turn the bolt down."""

    name: ClassVar[str] = "door-lock-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "_lock_length")
    _site: ClassVar[str] = "lockStartLock"

    def outcome(self, s: Snapshot) -> Outcome:
        """The left pad near the bolt while the gripper is open, then the bolt's height."""
        distance = norm((s.observations[:, 4:7] - s.body("leftpad")) * s.vector(0.25, 1.0, 0.5))
        # The margin is meant to be the first distance, but Meta-World's `init_left_pad` is a live view of the pad's
        # position: it is the distance of now.
        near = nearness(distance, 0.01, distance)
        opening = s.observations[:, 3]  # clipped at 0 when it is made
        return self._outcome(s, distance, near, hamacher_product(opening, near), axis=2)


class DoorUnlock(_Lock):
    """Unlock a door: turn the bolt aside."""

    name: ClassVar[str] = "door-unlock-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "_lock_length")
    _site: ClassVar[str] = "lockStartUnlock"

    def outcome(self, s: Snapshot) -> Outcome:
        """The gripper's shoulder near the bolt, then the bolt's way to the side."""
        shoulder, scale = s.vector(0.0, 0.055, 0.07), s.vector(0.25, 1.0, 0.5)
        distance = norm((s.observations[:, :3] + shoulder - s.observations[:, 4:7]) * scale)
        # Meta-World's `obj_init_pos` is a live view of the bolt's position: where it is now.
        margin = norm((s.constant("init_tcp") + shoulder - s.body("lock_link")) * scale)
        near = nearness(distance, 0.02, margin)
        return self._outcome(s, distance, near, near, axis=0)
