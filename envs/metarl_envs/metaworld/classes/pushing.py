"""Pushing, sweeping and kicking an object over the table to a goal."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, hamacher_product, long_tail, nearness, norm
from metarl_envs.metaworld.gripping import PickingUp, gripper_caging, is_open
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
        """Caging the puck, then moving it to the goal."""
        xp = namespace(s.actions)
        puck, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("TARGET_RADIUS")
        tcp_to_puck = norm(puck - s.tcp)
        to_target = norm(puck - target)
        in_place = nearness(to_target, radius, norm(s.constant("obj_init_pos") - target))
        grasped = gripper_caging(
            s,
            puck,
            obj_radius=0.015,
            pad_success_thresh=0.05,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            density="high",
        )
        held = (tcp_to_puck < 0.02) & (s.observations[:, 3] > 0)
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


def pinching(s: Snapshot, position: Array, *, grip: float, xz: float) -> Array:
    """How far the object is caged and pinched between the pads, 0 to 1: the form of push-back, the sweeps and soccer.

    Unlike `gripper_caging` it judges the grip by the pads' places and not by the effort, and takes its margins from
    where the pads are now: what Meta-World calls `init_left_pad` is a view of the simulation that moves with the pad.
    Reads the constants `OBJ_RADIUS`, `obj_init_pos` and `init_tcp`.

    Args:
        s: The environments.
        position: Where the object is, `(env, 3)`.
        grip: How far from the object's surface a pad still pinches, in metres.
        xz: Distance in the xz-plane at which the tool centre point is close enough.
    """
    xp = namespace(position)
    radius, reach = s.constant("OBJ_RADIUS")[:, None], 0.05
    y = position[:, 1]
    gaps = xp.stack([s.body("leftpad")[:, 1] - y, y - s.body("rightpad")[:, 1]], axis=-1)
    margins = xp.abs(xp.abs(gaps) - reach)
    caged = long_tail(gaps, radius, reach, margins)
    pinched = long_tail(gaps, radius, radius + grip, margins)
    xz_margin = norm((s.constant("obj_init_pos") - s.constant("init_tcp"))[:, ::2]) - xz
    near = nearness(norm((s.tcp - position)[:, ::2]), xz, xz_margin)
    caging = hamacher_product(hamacher_product(caged[:, 0], caged[:, 1]), near)
    pinch = hamacher_product(pinched[:, 0], pinched[:, 1])
    return xp.where(caging > 0.95, caging + pinch, caging) / 2


class PushBack(PickingUp):
    """Pull the block back over the table to a goal near the robot."""

    name: ClassVar[str] = "push-back-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.geom("objGeom"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Pinching the block and bringing it to the goal; more while it is held and nearer than at first."""
        xp = namespace(s.actions)
        block, opened = s.observations[:, 4:7], s.observations[:, 3]
        target, radius = s.constant("_target_pos"), s.constant("TARGET_RADIUS")
        tcp_to_block = norm(block - s.tcp)
        to_target, to_target_at_first = norm(block - target), norm(s.constant("obj_init_pos") - target)
        in_place = nearness(to_target, radius, to_target_at_first)
        grasped = pinching(s, block, grip=0.003, xz=0.01)
        reward = hamacher_product(grasped, in_place)
        held = (tcp_to_block < 0.01) & (opened > 0) & (opened < 0.55) & (to_target_at_first - to_target > 0.01)
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
        """Caging the block, bringing it to a point beside the wall, and from there to the goal."""
        xp = namespace(s.actions)
        block, radius = s.observations[:, 4:7], 0.05
        target, initial = s.constant("_target_pos"), s.constant("obj_init_pos")
        tcp_to_block = norm(block - s.tcp)
        to_target = norm(block - target)
        beside_wall, sideways = block * s.vector(0.0, 0.0, 1.0) + s.vector(-0.05, 0.77, 0.0), s.vector(3.0, 1.0, 1.0)
        to_midpoint = norm((block - beside_wall) * sideways)
        at_midpoint = nearness(to_midpoint, radius, norm((initial - beside_wall) * sideways))
        in_place = nearness(to_target, radius, norm(initial - target))
        grasped = gripper_caging(
            s,
            block,
            obj_radius=0.015,
            pad_success_thresh=0.05,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            density="high",
        )
        reward = 2 * grasped
        held = (tcp_to_block < 0.02) & (s.observations[:, 3] > 0)
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


class Sweep(TaskClass):
    """Sweep the block off the side of the table."""

    name: ClassVar[str] = "sweep-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    touching: ClassVar[Touching] = "grasp_success"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS")
    grip: ClassVar[float] = 0.01
    xz: ClassVar[float] = 0.005

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.body_quaternion("obj")),)

    def target(self, s: Snapshot, block: Array) -> Array:
        """Where the block is to go, `(env, 3)`."""
        return s.constant("_target_pos")

    def outcome(self, s: Snapshot) -> Outcome:
        """Pinching the block, and moving it to the goal while it is pinched."""
        xp = namespace(s.actions)
        block, radius = s.observations[:, 4:7], 0.05
        target = self.target(s, block)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, norm(s.constant("obj_init_pos") - target))
        grasped = pinching(s, block, grip=self.grip, xz=self.xz)
        reward = 2 * grasped + 6 * hamacher_product(grasped, in_place)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, reward),
            success=to_target <= radius,
            near_object=norm(block - s.tcp) <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: pressed on by both pads."""
        return s.touching & is_open(s)


class SweepInto(Sweep):
    """Sweep the block into a hole in the table."""

    name: ClassVar[str] = "sweep-into-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    grip: ClassVar[float] = 0.005
    xz: ClassVar[float] = 0.01

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def target(self, s: Snapshot, block: Array) -> Array:
        """The hole, at the block's own height."""
        xp = namespace(block)
        return xp.concat([s.constant("_target_pos")[:, :2], block[:, 2:]], axis=1)


class Soccer(PickingUp):
    """Kick the ball into the goal."""

    name: ClassVar[str] = "soccer-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The ball."""
        return ((s.body("soccer_ball"), s.body_matrix("soccer_ball")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Nearness of the ball to the goal, sideways counting thrice, less where it has missed; and pinching it."""
        xp = namespace(s.actions)
        ball, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("TARGET_RADIUS")
        sideways = s.vector(3.0, 1.0, 1.0)
        to_target = norm((ball - target) * sideways)
        moved = norm((ball - s.constant("obj_init_pos")) * sideways)
        in_place = nearness(to_target, radius, moved)
        goal_line = target[:, 1] - 0.1
        missed = (ball[:, 1] > goal_line) & (xp.abs(ball[:, 0] - target[:, 0]) > 0.1)
        penalty = 2 * ((ball[:, 1] - goal_line) / (1 - goal_line))
        in_place = xp.where(missed, clamp(in_place - penalty, 0.0, 1.0), in_place)
        grasped = pinching(s, ball, grip=0.01, xz=0.005)
        distance = norm(ball - target)
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
        """Caging the mug, and moving it to the goal; more while the tool centre point is at it."""
        xp = namespace(s.actions)
        mug, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), 0.05
        over_table = s.vector(2.0, 2.0, 1.0)
        tcp_to_mug = norm(mug - s.tcp)
        to_target = norm((mug - target) * over_table)
        in_place = nearness(to_target, radius, norm((s.constant("obj_init_pos") - target) * over_table))
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
        reward = hamacher_product(grasped, in_place)
        held = (tcp_to_mug < 0.04) & (s.observations[:, 3] > 0)
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
        """See `TaskClass`: pressed on by both pads."""
        return s.touching & is_open(s)


class CoffeePull(CoffeePush):
    """Pull the mug away from the coffee machine; the reward is that of pushing it there."""

    name: ClassVar[str] = "coffee-pull-v3"
