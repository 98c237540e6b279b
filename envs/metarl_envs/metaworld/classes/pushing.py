"""Pushing, pulling and kicking an object over the table to a goal.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import PickingUp, gripper_caging, is_open, pinching
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching


class Push(PickingUp):
    """Push the puck to a goal on the table."""

    name: ClassVar[str] = "push-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards caging the puck, then moving it to the goal."""
        xp = namespace(s.actions)
        puck, target, radius = s.object, s.target, s.target_radius
        tcp_to_puck = norm(puck - s.tcp)
        # in_place = T(|puck - target|; radius, |initial - target|)
        to_target = norm(puck - target)
        in_place = nearness(to_target, radius, norm(s.initial_object - target))
        grasped = gripper_caging(s, puck, obj_radius=0.015, pad_success_thresh=0.05, xz_thresh=0.005, density="high")
        # reward = 10 if |puck - target| < radius else 1 + 4 grasped + 5 in_place if held else 2 grasped
        held = (tcp_to_puck < 0.02) & is_open(s)
        reward = 2 * grasped
        reward = xp.where(held, 2 * reward + 1.0 + 5.0 * in_place, reward)
        reward = xp.where(to_target < radius, 10.0, reward)
        return Outcome(
            reward=reward,
            success=to_target <= radius,
            near_object=tcp_to_puck <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class PushBack(PickingUp):
    """Pull the block back over the table to a goal near the robot."""

    name: ClassVar[str] = "push-back-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.geom("objGeom"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards pinching the block and bringing it to the goal, more if held and nearer than at the reset."""
        xp = namespace(s.actions)
        block, target, radius = s.object, s.target, s.target_radius
        tcp_to_block = norm(block - s.tcp)
        # in_place = T(|block - target|; radius, |initial - target|)
        to_target, initial_to_target = norm(block - target), norm(s.initial_object - target)
        in_place = nearness(to_target, radius, initial_to_target)
        grasped = pinching(s, block, grip=0.003, xz=0.01)
        # reward = 10 if |block - target| < radius else H(grasped, in_place) + [held and nearer] (1 + 5 in_place)
        reward = hamacher_product(grasped, in_place)
        held = (tcp_to_block < 0.01) & is_open(s) & (s.gripper < 0.55) & (initial_to_target - to_target > 0.01)
        reward = xp.where(held, reward + 1.0 + 5.0 * in_place, reward)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, reward),
            success=to_target <= 0.07,
            near_object=tcp_to_block <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class PushWall(PickingUp):
    """Push the block around a wall to a goal behind it."""

    name: ClassVar[str] = "push-wall-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.geom("objGeom"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards caging the block, bringing it to a point beside the wall, and from there to the goal."""
        xp = namespace(s.actions)
        block, target, initial, radius = s.object, s.target, s.initial_object, 0.05
        tcp_to_block = norm(block - s.tcp)
        # midpoint = (-0.05, 0.77, block_z)
        # at_midpoint = T(|(block - midpoint) (3, 1, 1)|; radius, |(initial - midpoint) (3, 1, 1)|)
        midpoint, sideways = block * s.vector(0.0, 0.0, 1.0) + s.vector(-0.05, 0.77, 0.0), s.vector(3.0, 1.0, 1.0)
        to_midpoint = norm((block - midpoint) * sideways)
        at_midpoint = nearness(to_midpoint, radius, norm((initial - midpoint) * sideways))
        # in_place = T(|block - target|; radius, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, norm(initial - target))
        grasped = gripper_caging(s, block, obj_radius=0.015, pad_success_thresh=0.05, xz_thresh=0.005, density="high")
        # reward = 10 if |block - target| < radius else
        #     2 grasped + [held] (1 + (4 + 3 in_place if block_y > 0.75 else 4 at_midpoint))
        reward = 2 * grasped
        held = (tcp_to_block < 0.02) & is_open(s)
        on_its_way = xp.where(block[:, 1] > 0.75, 4.0 + 3.0 * in_place, 4.0 * at_midpoint)
        reward = xp.where(held, reward + 1.0 + on_its_way, reward)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, reward),
            success=to_target <= 0.07,
            near_object=tcp_to_block <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class Soccer(PickingUp):
    """Kick the ball into the goal."""

    name: ClassVar[str] = "soccer-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The ball."""
        return ((s.body("soccer_ball"), s.body_matrix("soccer_ball")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards pinching the ball and nearness to the goal, sideways counting threefold, less where it has missed."""
        xp = namespace(s.actions)
        ball, target, radius = s.object, s.target, s.target_radius
        # in_place = T(|(ball - target) (3, 1, 1)|; radius, |(ball - initial) (3, 1, 1)|)
        sideways = s.vector(3.0, 1.0, 1.0)
        to_target = norm((ball - target) * sideways)
        moved = norm((ball - s.initial_object) * sideways)
        in_place = nearness(to_target, radius, moved)
        # Beside the goal and behind its line: in_place <- clip(in_place - 2 (ball_y - line) / (1 - line), 0, 1)
        goal_line = target[:, 1] - 0.1
        missed = (ball[:, 1] > goal_line) & (xp.abs(ball[:, 0] - target[:, 0]) > 0.1)
        penalty = 2 * ((ball[:, 1] - goal_line) / (1 - goal_line))
        in_place = xp.where(missed, clamp(in_place - penalty, 0.0, 1.0), in_place)
        grasped = pinching(s, ball, grip=0.01, xz=0.005)
        distance = norm(ball - target)
        # reward = 10 if to_target < radius else 3 grasped + 6.5 in_place
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, 3 * grasped + 6.5 * in_place),
            success=distance <= 0.07,
            near_object=norm(ball - s.tcp) <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=distance,
        )


class CoffeePush(TaskClass):
    """Push the mug under the coffee machine."""

    name: ClassVar[str] = "coffee-push-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    touching: ClassVar[Touching] = "grasp_success"

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The mug."""
        return ((s.body("obj"), s.geom_matrix("mug")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards caging the mug, and moving it to the goal; more while the tool centre point is at it."""
        xp = namespace(s.actions)
        mug, target, radius = s.object, s.target, 0.05
        tcp_to_mug = norm(mug - s.tcp)
        # in_place = T(|(mug - target) (2, 2, 1)|; radius, |(initial - target) (2, 2, 1)|)
        over_table = s.vector(2.0, 2.0, 1.0)
        to_target = norm((mug - target) * over_table)
        in_place = nearness(to_target, radius, norm((s.initial_object - target) * over_table))
        grasped = gripper_caging(
            s,
            mug,
            obj_radius=0.02,
            pad_success_thresh=0.05,
            object_reach_radius=0.04,
            xz_thresh=0.05,
            desired_gripper_effort=0.7,
            density="medium",
        )
        # reward = 10 if to_target < radius else H(grasped, in_place) + [held] (1 + 5 in_place)
        reward = hamacher_product(grasped, in_place)
        held = (tcp_to_mug < 0.04) & is_open(s)
        reward = xp.where(held, reward + 1.0 + 5.0 * in_place, reward)
        distance = norm(mug - target)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, reward),
            success=distance <= 0.07,
            near_object=tcp_to_mug <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=distance,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where both pads press on the object."""
        return s.touching & is_open(s)


class CoffeePull(CoffeePush):
    """Pull the mug away from the coffee machine; the reward is that of pushing it there."""

    name: ClassVar[str] = "coffee-pull-v3"
