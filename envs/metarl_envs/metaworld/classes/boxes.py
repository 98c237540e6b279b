"""Moving objects into, out of and onto boxes, bins and holes, with the hand above the rims.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

import math
from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import gripper_caging, is_lifted
from metarl_envs.metaworld.rewards import hamacher_product, long_tail, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class BinPicking(TaskClass):
    """Pick the block out of one bin and set it into another."""

    name: ClassVar[str] = "bin-picking-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("obj_init_pos", "init_tcp", "TARGET_RADIUS")
    late_constants: ClassVar[tuple[str, ...]] = ("_target_to_obj_init",)

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.body_quaternion("obj")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the block and moving it to the other bin, with the hand low only over the two bins."""
        xp = namespace(s.actions)
        hand, block, radius = s.hand, s.object, s.target_radius
        target = s.body("bin_goal")  # Meta-World's `_target_pos` is a view of it
        # in_place = T(|block - target|; radius, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, s.constant("_target_to_obj_init"))
        # floor = min(funnel around where the block was, funnel around the target)
        floor = xp.minimum(
            _funnel(hand, s.initial_object, brim=0.03, slope=0.02, height=0.2),
            _funnel(hand, target, brim=0.03, slope=0.02, height=0.2),
        )
        above_floor = _above(floor, hand, 0.05)
        grasped = gripper_caging(
            s,
            block,
            obj_radius=0.015,
            pad_success_thresh=0.05,
            xz_thresh=0.01,
            desired_gripper_effort=0.7,
            density="high",
        )
        near = norm(block - hand) < 0.04
        # reward = 10 if |block - target| < radius else H(grasped, in_place) + [held] (1 + 5 H(above_floor, in_place))
        reward = hamacher_product(grasped, in_place)
        reward = xp.where(self._held(s, near), reward + 1.0 + 5.0 * hamacher_product(above_floor, in_place), reward)
        reward = xp.where(to_target < radius, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.05,
            near_object=near,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the block is at the hand and lifted."""
        return self._held(s, outcome.near_object)

    def _held(self, s: Snapshot, near: Array) -> Array:
        """Returns true where the block is at the hand and lifted."""
        return near & _is_held_up(s, opening=0.43)


class PickOutOfHole(TaskClass):
    """Pick the block out of a hole and hold it at a goal in the air."""

    name: ClassVar[str] = "pick-out-of-hole-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.body_quaternion("obj")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the block and moving it to the goal, with the gripper low only over the hole."""
        xp = namespace(s.actions)
        block, target, initial = s.object, s.target, s.initial_object
        tcp_to_block = norm(block - s.tcp)
        # in_place = T(|block - target|; 0.02, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, 0.02, norm(initial - target))
        floor = _funnel(s.tcp, initial, brim=0.03, slope=0.015, height=0.15)
        above_floor = _above(floor, s.tcp, 0.02)
        grasped = gripper_caging(
            s,
            block,
            obj_radius=0.015,
            pad_success_thresh=0.02,
            xz_thresh=0.03,
            desired_gripper_effort=0.1,
            density="high",
        )
        # reward = 10 if |block - target| < radius else H(grasped, in_place) + [held] (1 + 5 H(in_place, above_floor))
        reward = hamacher_product(grasped, in_place)
        reward = xp.where(
            self._held(s, tcp_to_block), reward + 1.0 + 5.0 * hamacher_product(in_place, above_floor), reward
        )
        reward = xp.where(to_target < s.target_radius, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.07,
            near_object=tcp_to_block <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the block is at the tool centre point and lifted."""
        return self._held(s, norm(s.object - s.tcp))

    def _held(self, s: Snapshot, tcp_to_block: Array) -> Array:
        """Returns true where the block is at the tool centre point and lifted."""
        return (tcp_to_block < 0.04) & _is_held_up(s, opening=0.33)


class BoxClose(TaskClass):
    """Grip the lid by its handle and put it on the box."""

    name: ClassVar[str] = "box-close-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos",)

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The lid."""
        return ((s.body("top_link"), s.body_quaternion("top_link")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards coming down on the handle and closing the gripper, then moving the lid while it stays upright."""
        xp = namespace(s.actions)
        hand, lid, target = s.hand, s.object, s.target
        handle = lid + s.vector(0.0, 0.0, 0.02)
        # ready = H(above the funnel around the handle, T(|hand - handle|; 0.02, 0.5))
        floor = _funnel(hand, handle, brim=0.02, slope=0.04, height=0.4)
        at_handle = nearness(norm(hand - handle), 0.02, 0.5)
        ready = hamacher_product(_above(floor, hand, floor / 2.0), at_handle)
        effort = (clamp(s.effort, -1.0, 1.0) + 1.0) / 2.0

        # lifted = 0.2 [handle_z > 0.04] + 0.8 T(|(target - handle) (1, 1, 3)|; 0.05, 0.25)
        error = norm((target - handle) * s.vector(1.0, 1.0, 3.0))
        lifted = 0.2 * xp.astype(handle[:, 2] > 0.04, error.dtype) + 0.8 * nearness(error, 0.05, 0.25)
        # reward = (10 if success else 2 H(effort, ready) + 8 lifted) max(0, 1 - |q - q_upright| / 0.2)
        success = norm(lid - target) < 0.08
        reward = xp.where(success, 10.0, 2.0 * hamacher_product(effort, ready) + 8.0 * lifted)
        tilt = norm(s.object_quaternion - s.vector(0.707, 0.0, 0.0, 0.707))
        upright = 1.0 - tilt / 0.2
        return Outcome(
            reward=reward * xp.where(upright > 0.0, upright, 0.0),
            success=success,
            near_object=ready,
            grasp_reward=effort,
            in_place_reward=lifted,
            obj_to_target=xp.zeros_like(error),
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the grasp term is at least 0.5."""
        return outcome.grasp_reward >= 0.5


def _is_held_up(s: Snapshot, opening: float) -> Array:
    """Returns true where the object is lifted by 2 cm and keeps the gripper open."""
    return is_lifted(s, 0.02) & (s.gripper >= opening)


def _funnel(position: Array, center: Array, *, brim: float, slope: float, height: float) -> Array:
    """Height of a funnel around a vertical axis, `(env,)` in metres: 0 within the hole, a logarithm outside.

    Args:
        position: Point above or below which to take the height, `(env, 3)`.
        center: Point on the axis, `(env, 3)`.
        brim: Radius of the hole, in metres.
        slope: Factor of the logarithm, in metres.
        height: Height at 1 m from the brim.
    """
    xp = namespace(position)
    # r = |position - center|_xy;  height = slope log(r - brim) + height if r > brim else 0
    radius = norm((position - center)[:, :2])
    outside = radius > brim
    return xp.where(outside, slope * xp.log(xp.where(outside, radius - brim, 1.0)) + height, 0.0)


def _above(floor: Array, position: Array, margin: float | Array) -> Array:
    """Tolerance of a position's depth below the floor: 1 down to 1 cm below it."""
    return long_tail(floor - position[:, 2], -math.inf, 0.01, margin)
