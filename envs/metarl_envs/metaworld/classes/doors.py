"""Opening, closing, locking and unlocking a door.

`T`, `G` and `H` in the comments are `nearness`, `gaussian` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from math import pi
from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import is_open
from metarl_envs.metaworld.rewards import gaussian, hamacher_product, long_tail, nearness
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
        """Rewards closing the gripper behind the handle, then the angle of the door."""
        xp = namespace(s.actions)
        handle = s.object
        effort = (clamp(s.effort, -1.0, 1.0) + 1.0) / 2.0
        ready, opened = self._ready(s, handle), self._opened(s)
        # reward = 10 if |handle_x - target_x| <= 0.08 else 2 H(ready, effort) + 8 opened
        success = xp.abs(handle[:, 0] - s.target[:, 0]) <= 0.08
        return Outcome(
            reward=xp.where(success, 10.0, 2.0 * hamacher_product(ready, effort) + 8.0 * opened),
            success=success,
            near_object=ready,
            grasp_reward=effort,
            in_place_reward=opened,
            obj_to_target=xp.zeros_like(effort),
        )

    def _ready(self, s: Snapshot, handle: Array) -> Array:
        """Term for the hand between handle and door, 0 to 1, reached from above a funnel around the handle."""
        xp = namespace(handle)
        near = 0.12  # radius of the funnel's hole, in metres
        hand = s.hand
        # r = |hand - (handle - 0.05 e_x)|_xy;  floor = 0.04 log(r - near) + 0.4 if r > near else 0
        beside = hand - (handle - s.vector(0.05, 0.0, 0.0))
        outside = norm(beside[:, :2]) - near
        floor = xp.where(outside > 0, 0.04 * xp.log(xp.where(outside > 0, outside, 1.0)) + 0.4, 0.0)
        # ready = H(above_floor, T(|hand - handle - (0, 0.03, -0.01)|; near / 2, 0.5))
        below = floor - hand[:, 2]
        above_floor = xp.where(below <= 0, 1.0, long_tail(below, 0.0, 0.01, floor / 2.0))
        behind_handle = nearness(norm(beside - s.vector(0.05, 0.03, -0.01)), near / 2.0, 0.5)
        return hamacher_product(above_floor, behind_handle)

    def _opened(self, s: Snapshot) -> Array:
        """Term for the door's angle, 0 to 1; the angle becomes negative as the door opens."""
        xp = namespace(s.actions)
        angle = s.joint("doorjoint")
        # opened = 0.2 [angle < -2°] + wide
        # wide = 0.8 if 0 <= 2 pi / 3 + angle <= 0.5, and falls off outside with the margin pi / 3
        wide = 0.8 * long_tail(pi / 2 + pi / 6 + angle, 0.0, 0.5, pi / 3)
        return xp.where(angle < -pi / 90, 0.2 + wide, wide)

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the grasp term is at least 0.5."""
        return outcome.grasp_reward >= 0.5


class DoorClose(_Door):
    """Push an open door shut."""

    name: ClassVar[str] = "door-close-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "hand_init_pos")

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing handle and hand to the target."""
        xp = namespace(s.actions)
        handle, target, radius = s.object, s.target, 0.05
        # in_place = G(|handle - target|; radius, |initial - target|)
        to_target = norm(handle - target)
        in_place = gaussian(to_target, radius, norm(s.initial_object - target))
        # hand_in_place = G(|tcp - target|; radius / 4, |initial_hand - handle| + 0.1)
        hand_margin = norm(s.initial_hand - handle) + 0.1
        hand_in_place = gaussian(norm(s.tcp - target), 0.25 * radius, hand_margin)
        # reward = 10 if |handle - target| < radius else 3 hand_in_place + 6 in_place
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, 3 * hand_in_place + 6 * in_place),
            success=to_target <= 0.08,
            near_object=xp.zeros_like(to_target),
            grasp_reward=xp.ones_like(to_target),
            in_place_reward=hand_in_place,
            obj_to_target=to_target,
        )


class _Lock(TaskClass):
    """A bolt on a door, which makes a quarter turn."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    _site: ClassVar[str]
    """The end of the bolt."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The bolt's position, the door's orientation."""
        return ((s.site(self._site), s.body_quaternion("door_link")),)

    def _outcome(self, s: Snapshot, hand_distance: Array, near: Array, rewarded: Array, axis: int) -> Outcome:
        """Rewards reaching the bolt, and the bolt's way along one axis.

        Args:
            s: The environments.
            hand_distance: Distance from the hand to the bolt, `(env,)` in metres.
            near: Tolerance of that distance, 0 to 1, `(env,)`.
            rewarded: Rewarded part of it, 0 to 1, `(env,)`.
            axis: Axis along which the bolt moves to the target.
        """
        xp = namespace(near)
        # turned = T(|target - bolt| along the axis; 0.005, lock_length);  reward = 2 rewarded + 8 turned
        to_target = xp.abs(s.target[:, axis] - s.object[:, axis])
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
        """Returns true where the gripper is open."""
        return is_open(s)


class DoorLock(_Lock):
    """Lock a door: turn the bolt down."""

    name: ClassVar[str] = "door-lock-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "_lock_length")
    _site: ClassVar[str] = "lockStartLock"

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the left pad to the bolt with an open gripper, then the bolt's height."""
        # distance = |(bolt - left pad) (1/4, 1, 1/2)|
        distance = norm((s.object - s.left_pad) * s.vector(0.25, 1.0, 0.5))
        # The margin should be the distance at the reset, but Meta-World's `init_left_pad` is a view of the simulation
        # that moves with the pad: the margin is the present distance.
        near = nearness(distance, 0.01, distance)
        # rewarded = H(opening, near)
        return self._outcome(s, distance, near, hamacher_product(s.gripper, near), axis=2)


class DoorUnlock(_Lock):
    """Unlock a door: turn the bolt aside."""

    name: ClassVar[str] = "door-unlock-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "_lock_length")
    _site: ClassVar[str] = "lockStartUnlock"

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the gripper's shoulder to the bolt, then the bolt's way to the side."""
        shoulder, scale = s.vector(0.0, 0.055, 0.07), s.vector(0.25, 1.0, 0.5)
        # near = T(|(hand + shoulder - bolt) scale|; 0.02, |(initial_tcp + shoulder - bolt) scale|)
        distance = norm((s.hand + shoulder - s.object) * scale)
        # Meta-World's `obj_init_pos` is a view of the bolt's body and moves with it: its present position.
        margin = norm((s.initial_tcp + shoulder - s.body("lock_link")) * scale)
        near = nearness(distance, 0.02, margin)
        return self._outcome(s, distance, near, near, axis=0)
