"""Picking an object up and setting it down at a goal."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, hamacher_product, long_tail, nearness, norm
from metarl_envs.metaworld.gripping import PickingUp, gripper_caging, is_lifted, is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class PickPlace(PickingUp):
    """Pick the puck up and hold it at a goal in the air."""

    name: ClassVar[str] = "pick-place-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the puck while moving it to the goal, above all off the table."""
        xp = namespace(s.actions)
        puck, target = s.observations[:, 4:7], s.constant("_target_pos")
        tcp_to_puck = norm(puck - s.tcp)
        to_target = norm(puck - target)
        in_place = nearness(to_target, 0.05, norm(s.constant("obj_init_pos") - target))
        grasped = _between_pads(s, puck)
        reward = hamacher_product(grasped, in_place)
        held = _in_grip(s, tcp_to_puck, 0.02) & is_lifted(s, 0.01)
        reward = xp.where(held, reward + 1.0 + 5.0 * in_place, reward)
        reward = xp.where(to_target < 0.05, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.07,
            near_object=tcp_to_puck <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class PickPlaceWall(PickingUp):
    """Pick the puck up and carry it over a wall to a goal."""

    name: ClassVar[str] = "pick-place-wall-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck, by its geom."""
        return ((s.geom("objGeom"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Carrying the puck to a point above the wall first, and past the wall to the goal."""
        xp = namespace(s.actions)
        puck, target, initial = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("obj_init_pos")
        tcp_to_puck = norm(puck - s.tcp)
        midpoint = target * s.vector(1.0, 0.0, 0.0) + s.vector(0.0, 0.77, 0.25)
        scale = s.vector(1.0, 1.0, 3.0)
        at_midpoint = nearness(norm((puck - midpoint) * scale), 0.05, norm((initial - midpoint) * scale))
        to_target = norm(puck - target)
        in_place = nearness(to_target, 0.05, norm(initial - target))
        grasped = gripper_caging(
            s, puck, obj_radius=0.015, pad_success_thresh=0.05, object_reach_radius=0.01, xz_thresh=0.005
        )
        reward = hamacher_product(grasped, at_midpoint)
        carried = reward + 1.0 + xp.where(puck[:, 1] > 0.75, 4.0 + 3.0 * in_place, 4.0 * at_midpoint)
        reward = xp.where(_in_grip(s, tcp_to_puck, 0.02) & is_lifted(s, 0.015), carried, reward)
        reward = xp.where(to_target < 0.05, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.07,
            near_object=tcp_to_puck <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class ShelfPlace(PickingUp):
    """Pick the block up and set it on a shelf."""

    name: ClassVar[str] = "shelf-place-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the block while moving it to the shelf; its place counts for less in front of, nothing under it."""
        xp = namespace(s.actions)
        block, target = s.observations[:, 4:7], s.constant("_target_pos")
        tcp_to_block = norm(block - s.tcp)
        to_target = norm(block - target)
        in_place = nearness(to_target, 0.05, norm(s.constant("obj_init_pos") - target))
        grasped = gripper_caging(
            s, block, obj_radius=0.02, pad_success_thresh=0.05, object_reach_radius=0.01, xz_thresh=0.01
        )
        reward = hamacher_product(grasped, in_place)

        x, y, z = block[:, 0], block[:, 1], block[:, 2]
        behind = target[:, 1]
        depth = 3 * 0.05
        front = behind - depth
        below = (z > 0.0) & (z < 0.24) & (x > target[:, 0] - 0.15) & (x < target[:, 0] + 0.15)
        loss = hamacher_product((y - front) / depth, (0.24 - z) / 0.24)
        in_place = xp.where(below & (y > front) & (y < behind), clamp(in_place - loss, 0.0, 1.0), in_place)
        in_place = xp.where(below & (y > behind), 0.0, in_place)

        held = _in_grip(s, tcp_to_block, 0.025) & is_lifted(s, 0.01)
        reward = xp.where(held, reward + 1.0 + 5.0 * in_place, reward)
        reward = xp.where(to_target < 0.05, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.07,
            near_object=tcp_to_block <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class HandInsert(PickingUp):
    """Grip the block and bring it down into a hole in the table."""

    name: ClassVar[str] = "hand-insert-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.body_quaternion("obj")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the block while moving it into the hole."""
        xp = namespace(s.actions)
        block, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("TARGET_RADIUS")
        tcp_to_block = norm(block - s.tcp)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, norm(s.constant("obj_init_pos") - target))
        grasped = gripper_caging(
            s,
            block,
            obj_radius=0.015,
            pad_success_thresh=0.05,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            density="high",
        )
        reward = hamacher_product(grasped, in_place)
        reward = xp.where(_in_grip(s, tcp_to_block, 0.02), reward + 1.0 + 7.0 * in_place, reward)
        reward = xp.where(to_target < radius, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= 0.05,
            near_object=tcp_to_block <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class Basketball(TaskClass):
    """Lift the ball over the hoop of a basket."""

    name: ClassVar[str] = "basketball-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The ball."""
        return ((s.body("bsktball"), s.body_quaternion("bsktball")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the ball while moving it over the hoop; height counts double."""
        xp = namespace(s.actions)
        ball, radius = s.observations[:, 4:7], s.constant("TARGET_RADIUS")
        # Meta-World's `_target_pos` is a view of this site.
        target = s.site("goal") * s.vector(1.0, 1.0, 0.0) + s.vector(0.0, 0.0, 0.3)
        scale = s.vector(1.0, 1.0, 2.0)
        to_target = norm((ball - target) * scale)
        in_place = nearness(to_target, radius, norm((s.constant("obj_init_pos") - target) * scale))
        tcp_to_ball = norm(ball - s.tcp)
        held = _in_grip(s, tcp_to_ball, 0.035) & is_lifted(s, 0.01)
        caging = gripper_caging(
            s,
            ball,
            obj_radius=0.025,
            pad_success_thresh=0.06,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            density="high",
        )
        grasped = xp.where(held, 1.0, caging)
        reward = hamacher_product(grasped, in_place)
        reward = xp.where(held, reward + 1.0 + 5.0 * in_place, reward)
        reward = xp.where(to_target < radius, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= radius,
            near_object=tcp_to_ball <= 0.05,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the gripper is open and the ball 3 cm up."""
        return is_open(s) & is_lifted(s, 0.03)


def _in_grip(s: Snapshot, tcp_to_object: Array, within: float) -> Array:
    """Whether the object is at the tool centre point and the gripper not quite shut."""
    return (tcp_to_object < within) & is_open(s)


def _between_pads(s: Snapshot, puck: Array) -> Array:
    """Pick-place's own form of `gripper_caging`: a pad on the wrong side of the puck counts as far from it.

    The margins come from where the pads are now: Meta-World's `init_left_pad` is a view that moves with the pad.
    """
    xp = namespace(s.actions)
    y = puck[:, 1]
    gaps = xp.stack([s.body("leftpad")[:, 1] - y, y - s.body("rightpad")[:, 1]], axis=-1)
    sides = long_tail(gaps, 0.015, 0.05, xp.abs(xp.abs(gaps) - 0.05))
    initial, init_tcp = s.constant("obj_init_pos"), s.constant("init_tcp")
    margin = norm((initial - init_tcp)[:, ::2]) - 0.005
    caging_xz = nearness(norm((s.tcp - puck)[:, ::2]), 0.005, margin)
    caging = hamacher_product(hamacher_product(sides[:, 0], sides[:, 1]), caging_xz)
    gripping = xp.where(caging > 0.97, clamp(s.actions[:, 3], 0.0, 1.0), 0.0)
    return (hamacher_product(caging, gripping) + caging) / 2
