"""Picking an object up and bringing it to a goal.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import PickingUp, gripper_caging, is_lifted, is_open, pick_place_caging
from metarl_envs.metaworld.rewards import hamacher_product, nearness
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
        """Rewards gripping the puck and moving it to the goal, more while it is lifted."""
        xp = namespace(s.actions)
        puck, target = s.object, s.target
        tcp_to_puck = norm(puck - s.tcp)
        # in_place = T(|puck - target|; 0.05, |initial - target|)
        to_target = norm(puck - target)
        in_place = nearness(to_target, 0.05, norm(s.initial_object - target))
        grasped = pick_place_caging(s, puck)
        # reward = 10 if |puck - target| < 0.05 else H(grasped, in_place) + [held] (1 + 5 in_place)
        held = _in_grip(s, tcp_to_puck, 0.02) & is_lifted(s, 0.01)
        reward = hamacher_product(grasped, in_place)
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
        """The puck, at its geom."""
        return ((s.geom("objGeom"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards carrying the puck to a point above the wall, and past the wall to the goal."""
        xp = namespace(s.actions)
        puck, target, initial = s.object, s.target, s.initial_object
        tcp_to_puck = norm(puck - s.tcp)
        # midpoint = (target_x, 0.77, 0.25)
        # at_midpoint = T(|(puck - midpoint) (1, 1, 3)|; 0.05, |(initial - midpoint) (1, 1, 3)|)
        midpoint = target * s.vector(1.0, 0.0, 0.0) + s.vector(0.0, 0.77, 0.25)
        scale = s.vector(1.0, 1.0, 3.0)
        at_midpoint = nearness(norm((puck - midpoint) * scale), 0.05, norm((initial - midpoint) * scale))
        # in_place = T(|puck - target|; 0.05, |initial - target|)
        to_target = norm(puck - target)
        in_place = nearness(to_target, 0.05, norm(initial - target))
        grasped = gripper_caging(s, puck, obj_radius=0.015, pad_success_thresh=0.05, xz_thresh=0.005)
        # reward = 10 if |puck - target| < 0.05 else
        #     H(grasped, at_midpoint) + [held] (1 + (4 + 3 in_place if puck_y > 0.75 else 4 at_midpoint))
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
        """Rewards gripping the block and moving it to the shelf, less in front of the shelf and under it."""
        xp = namespace(s.actions)
        block, target = s.object, s.target
        tcp_to_block = norm(block - s.tcp)
        # in_place = T(|block - target|; 0.05, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, 0.05, norm(s.initial_object - target))
        grasped = gripper_caging(s, block, obj_radius=0.02, pad_success_thresh=0.05, xz_thresh=0.01)
        reward = hamacher_product(grasped, in_place)

        # Below the shelf's height: in_place <- clip(in_place - loss, 0, 1) in front of the shelf, 0 under it, with
        # loss = H((y - front) / depth, (0.24 - z) / 0.24)
        x, y, z = block[:, 0], block[:, 1], block[:, 2]
        behind = target[:, 1]
        depth = 3 * 0.05
        front = behind - depth
        below = (z > 0.0) & (z < 0.24) & (x > target[:, 0] - 0.15) & (x < target[:, 0] + 0.15)
        loss = hamacher_product((y - front) / depth, (0.24 - z) / 0.24)
        in_place = xp.where(below & (y > front) & (y < behind), clamp(in_place - loss, 0.0, 1.0), in_place)
        in_place = xp.where(below & (y > behind), 0.0, in_place)

        # reward = 10 if |block - target| < 0.05 else H(grasped, in_place before the loss) + [held] (1 + 5 in_place)
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
        """Rewards gripping the block and moving it into the hole."""
        xp = namespace(s.actions)
        block, target, radius = s.object, s.target, s.target_radius
        tcp_to_block = norm(block - s.tcp)
        # in_place = T(|block - target|; radius, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, norm(s.initial_object - target))
        grasped = gripper_caging(s, block, obj_radius=0.015, pad_success_thresh=0.05, xz_thresh=0.005, density="high")
        # reward = 10 if |block - target| < radius else H(grasped, in_place) + [held] (1 + 7 in_place)
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
        """Rewards gripping the ball and moving it over the hoop; height counts double."""
        xp = namespace(s.actions)
        ball, radius = s.object, s.target_radius
        # Meta-World's `_target_pos` is a view of this site;  target = (x, y, 0.3)
        target = s.site("goal") * s.vector(1.0, 1.0, 0.0) + s.vector(0.0, 0.0, 0.3)
        # in_place = T(|(ball - target) (1, 1, 2)|; radius, |(initial - target) (1, 1, 2)|)
        scale = s.vector(1.0, 1.0, 2.0)
        to_target = norm((ball - target) * scale)
        in_place = nearness(to_target, radius, norm((s.initial_object - target) * scale))
        tcp_to_ball = norm(ball - s.tcp)
        held = _in_grip(s, tcp_to_ball, 0.035) & is_lifted(s, 0.01)
        caging = gripper_caging(s, ball, obj_radius=0.025, pad_success_thresh=0.06, xz_thresh=0.005, density="high")
        grasped = xp.where(held, 1.0, caging)
        # reward = 10 if to_target < radius else H(grasped, in_place) + [held] (1 + 5 in_place)
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
        """Returns true where the gripper is open and the ball is lifted by 3 cm."""
        return is_open(s) & is_lifted(s, 0.03)


def _in_grip(s: Snapshot, tcp_to_object: Array, within: float) -> Array:
    """Returns true where the object is at the tool centre point and the gripper is not quite shut."""
    return (tcp_to_object < within) & is_open(s)
