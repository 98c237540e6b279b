"""Moving a thermos with a stick.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.grasping import gripper_caging, is_lifted, is_open, is_picked_up
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching


class StickPush(TaskClass):
    """Push the thermos to a goal with the stick."""

    name: ClassVar[str] = "stick-push-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "stick_init_pos")
    touching: ClassVar[Touching] = "always"
    handle_offset: ClassVar[float] = 0.09
    """Offset along y from the thermos's handle to the observed point, in metres."""
    obj_radius: ClassVar[float] = 0.04
    caged_from: ClassVar[str] = "stick_init_pos"
    """Constant with the initial position that sets the margins of caging."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The stick, and the thermos without its orientation."""
        xp = namespace(s.actions)
        orientation = s.body_matrix("stick")
        thermos = s.site("insertion") + s.vector(0.0, self.handle_offset, 0.0)
        return (s.body("stick"), orientation), (thermos, xp.zeros_like(s.actions))

    def caging(self, s: Snapshot, stick: Array) -> Array:
        """Grasp term of the stick, 0 to 1."""
        return gripper_caging(
            s,
            stick,
            obj_radius=self.obj_radius,
            pad_success_thresh=0.05,
            xz_thresh=0.01,
            density="high",
            initial_position=s.constant(self.caged_from),
        )

    def lifted(self, s: Snapshot) -> Array:
        """Returns true where the stick is lifted by 1 cm and the gripper is not shut."""
        return is_open(s) & is_lifted(s, 0.01, s.constant("stick_init_pos"))

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the stick; while it is held and lifted, nearness of stick and thermos to the goal."""
        xp = namespace(s.actions)
        target, radius = s.target, 0.12
        stick, thermos = s.object + s.vector(0.015, 0.0, 0.0), s.second_object
        tcp_to_stick, to_target = norm(stick - s.tcp), norm(thermos - target)
        # in_place = T(|position - target|; radius, |initial - target| - radius), for stick and thermos
        stick_margin = norm(s.constant("stick_init_pos") - target) - radius
        thermos_margin = norm(s.initial_object - target) - radius
        stick_in_place = nearness(norm(stick - target), radius, stick_margin)
        thermos_in_place = nearness(to_target, radius, thermos_margin)
        caging, lifted, arrived = self.caging(s, stick), self.lifted(s), to_target <= radius
        # reward = 10 if held and arrived else 2 + 5 stick_in_place + 3 thermos_in_place if held else caging
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
        """Returns true where both pads press on the stick and it is lifted."""
        return s.touching & self.lifted(s)


class StickPull(StickPush):
    """Pull the thermos to a goal with the stick, by its handle."""

    name: ClassVar[str] = "stick-pull-v3"
    touching: ClassVar[Touching] = "grasp_success"
    handle_offset: ClassVar[float] = 0.0
    obj_radius: ClassVar[float] = 0.014
    caged_from: ClassVar[str] = "obj_init_pos"  # the thermos's position, as in Meta-World

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the stick and bringing it into the thermos's handle, then bringing both to the goal."""
        xp = namespace(s.actions)
        stick, handle, target, radius = s.object, s.second_object, s.target, 0.05
        initial_stick, initial_thermos = s.constant("stick_init_pos"), s.initial_object
        handle_to_thermos, upright = s.vector(0.05, 0.0, 0.0), s.vector(1.0, 1.0, 2.0)
        thermos = handle + handle_to_thermos
        tcp_to_stick, handle_to_target = norm(stick - s.tcp), norm(handle - target)

        # at_thermos = T(|(stick - thermos) (1, 1, 2)|; radius, the same distance at the reset)
        initial_to_thermos = norm((initial_stick - (initial_thermos + handle_to_thermos)) * upright)
        at_thermos = nearness(norm((stick - thermos) * upright), radius, initial_to_thermos)
        # at_target = T(|position - target|; radius, |initial - target|), for stick and thermos
        stick_at_target = nearness(norm(stick - target), radius, norm(initial_stick - target))
        thermos_at_target = nearness(norm(thermos - target), radius, norm(initial_thermos - target))

        held = (tcp_to_stick < 0.02) & self.lifted(s)
        grasped = xp.where(held, 1.0, self.caging(s, stick))
        tip = s.site("stick_end") - handle
        inserted = (tip[:, 0] >= 0) & (xp.abs(tip[:, 1]) <= 0.04) & (xp.abs(tip[:, 2]) <= 0.06)
        arrived = inserted & (handle_to_target <= 0.12)
        # reward = 10 if held and arrived else H(grasped, at_thermos) + [held] (1 + progress)
        # progress = 5 + 2 stick_at_target + thermos_at_target if inserted else 5 at_thermos
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
        """Returns true where the stick is pressed on and 2 cm above the thermos's initial height, as in Meta-World."""
        return is_picked_up(s)
