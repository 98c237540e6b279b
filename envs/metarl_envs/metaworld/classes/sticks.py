"""Moving a thermos with a stick."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import hamacher_product, nearness, norm
from metarl_envs.metaworld.gripping import gripper_caging, is_lifted, is_open, is_picked_up
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching

_INITIAL = ("stick_init_pos", "obj_init_pos")
"""Constants that say where stick and thermos were at first."""


class StickPush(TaskClass):
    """Push the thermos to a goal with the stick."""

    name: ClassVar[str] = "stick-push-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "stick_init_pos")
    touching: ClassVar[Touching] = "always"
    handle_offset: ClassVar[float] = 0.09
    """From the thermos's handle to the point observed, along y, in metres."""
    obj_radius: ClassVar[float] = 0.04
    caged_from: ClassVar[str] = "stick_init_pos"
    """Constant that the margins of caging are taken from."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The stick, and the thermos without its orientation."""
        xp = namespace(s.actions)
        orientation = s.body_matrix("stick")
        thermos = s.site("insertion") + s.vector(0.0, self.handle_offset, 0.0)
        return (s.body("stick"), orientation), (thermos, xp.zeros_like(s.actions))

    def caging(self, s: Snapshot, stick: Array) -> Array:
        """How well the stick is held, 0 to 1."""
        return gripper_caging(
            s,
            stick,
            obj_radius=self.obj_radius,
            pad_success_thresh=0.05,
            object_reach_radius=0.01,
            xz_thresh=0.01,
            density="high",
            initial_position=self.caged_from,
        )

    def lifted(self, s: Snapshot) -> Array:
        """Whether the stick is off the table and the gripper not shut."""
        return is_open(s) & is_lifted(s, 0.01, "stick_init_pos")

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the stick; once it is held and lifted, nearness of stick and thermos to the goal."""
        xp = namespace(s.actions)
        radius = 0.12
        stick, thermos = s.observations[:, 4:7] + s.vector(0.015, 0.0, 0.0), s.observations[:, 11:14]
        target = s.constant("_target_pos")
        tcp_to_stick, to_target = norm(stick - s.tcp), norm(thermos - target)
        stick_margin, thermos_margin = (norm(s.constant(at) - target) - radius for at in _INITIAL)
        stick_in_place = nearness(norm(stick - target), radius, stick_margin)
        thermos_in_place = nearness(to_target, radius, thermos_margin)
        caging, lifted, arrived = self.caging(s, stick), self.lifted(s), to_target <= radius
        held = (tcp_to_stick < 0.02) & lifted
        reward = xp.where(held, 2.0 + 5.0 * stick_in_place + 3.0 * thermos_in_place, caging)
        return Outcome(
            reward=xp.where(held & arrived, 10.0, reward),
            success=arrived & lifted & s.touching,
            near_object=tcp_to_stick <= 0.03,
            grasp_reward=xp.where(held, 1.0, caging),
            in_place_reward=stick_in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: pressed on by both pads and lifted."""
        return s.touching & self.lifted(s)


class StickPull(StickPush):
    """Pull the thermos to a goal with the stick, by its handle."""

    name: ClassVar[str] = "stick-pull-v3"
    touching: ClassVar[Touching] = "grasp_success"
    handle_offset: ClassVar[float] = 0.0
    obj_radius: ClassVar[float] = 0.014
    caged_from: ClassVar[str] = "obj_init_pos"  # the thermos's, as in Meta-World

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the stick and bringing it to the thermos; once it is in the handle, bringing both to the goal."""
        xp = namespace(s.actions)
        radius = 0.05
        stick, handle, target = s.observations[:, 4:7], s.observations[:, 11:14], s.constant("_target_pos")
        stick_initial, thermos_initial = (s.constant(at) for at in _INITIAL)
        handle_to_thermos, upright = s.vector(0.05, 0.0, 0.0), s.vector(1.0, 1.0, 2.0)
        thermos = handle + handle_to_thermos
        tcp_to_stick, handle_to_target = norm(stick - s.tcp), norm(handle - target)

        to_thermos_at_first = norm((stick_initial - (thermos_initial + handle_to_thermos)) * upright)
        at_thermos = nearness(norm((stick - thermos) * upright), radius, to_thermos_at_first)
        stick_at_target = nearness(norm(stick - target), radius, norm(stick_initial - target))
        thermos_at_target = nearness(norm(thermos - target), radius, norm(thermos_initial - target))

        held = (tcp_to_stick < 0.02) & self.lifted(s)
        grasped = xp.where(held, 1.0, self.caging(s, stick))
        tip = s.site("stick_end") - handle
        inserted = (tip[:, 0] >= 0) & (xp.abs(tip[:, 1]) <= 0.04) & (xp.abs(tip[:, 2]) <= 0.06)
        arrived = inserted & (handle_to_target <= 0.12)
        reward = hamacher_product(grasped, at_thermos)
        progress = xp.where(inserted, 5.0 + 2.0 * stick_at_target + thermos_at_target, 5.0 * at_thermos)
        reward = xp.where(held, 1.0 + reward + progress, reward)
        return Outcome(
            reward=xp.where(held & arrived, 10.0, reward),
            success=arrived,
            near_object=tcp_to_stick <= 0.03,
            grasp_reward=grasped,
            in_place_reward=at_thermos,
            obj_to_target=handle_to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: as `StickPush`, but the thermos's height at first counts."""
        return is_picked_up(s)
