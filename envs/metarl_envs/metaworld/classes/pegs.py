"""Putting a peg into the side of a box, and pulling it out."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import box_ramp, hamacher_product, nearness, norm
from metarl_envs.metaworld.gripping import gripper_caging, is_lifted, is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class PegInsertSide(TaskClass):
    """Insert the peg into the hole in the side of the box."""

    name: ClassVar[str] = "peg-insert-side-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "site_xmat")
    constants: ClassVar[tuple[str, ...]] = (
        "_target_pos",
        "obj_init_pos",
        "init_tcp",
        "peg_head_pos_init",
        "TARGET_RADIUS",
    )

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The peg, where it is to be gripped."""
        return ((s.site("pegGrasp"), s.site_matrix("pegGrasp")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping and lifting the peg, and its head's nearness to the hole, less where the box is in its way."""
        xp = namespace(s.actions)
        peg, head, target = s.observations[:, 4:7], s.site("pegHead"), s.constant("_target_pos")
        to_axis = s.vector(1.0, 2.0, 2.0)
        tcp_to_peg = norm(peg - s.tcp)
        to_target = norm((head - target) * to_axis)
        initial = norm((s.constant("peg_head_pos_init") - target) * to_axis)
        in_place = nearness(to_target, s.constant("TARGET_RADIUS"), initial)
        lower, upper = (
            box_ramp(
                head, s.site(f"bottom_right_corner_collision_box_{i}"), s.site(f"top_left_corner_collision_box_{i}")
            )
            for i in (1, 2)
        )
        in_place = hamacher_product(in_place, hamacher_product(upper, lower))
        caging = gripper_caging(
            s,
            peg,
            obj_radius=0.0075,
            pad_success_thresh=0.03,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            density="high",
        )
        held = (tcp_to_peg < 0.08) & is_open(s) & is_lifted(s, 0.01)
        grasped = xp.where(held, 1.0, caging)
        reward = hamacher_product(grasped, in_place)
        reward = xp.where(held, reward + 1.0 + 5 * in_place, reward)
        success = to_target <= 0.07
        return Outcome(
            reward=xp.where(success, 10.0, reward),
            success=success,
            near_object=tcp_to_peg <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: lifted by the tool centre point, which is closer than the reward asks."""
        return (norm(s.observations[:, 4:7] - s.tcp) < 0.02) & is_open(s) & is_lifted(s, 0.01)


class PegUnplugSide(TaskClass):
    """Pull the plug out of the side of the box."""

    name: ClassVar[str] = "peg-unplug-side-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The plug, by its end."""
        return ((s.site("pegEnd"), s.body_quaternion("plug1")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Gripping the plug; once it is held and has come out a little, its nearness to the goal."""
        xp = namespace(s.actions)
        plug, target, initial = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("obj_init_pos")
        tcp_to_plug, to_target = norm(plug - s.tcp), norm(plug - target)
        grasped = gripper_caging(
            s,
            plug,
            obj_radius=0.025,
            pad_success_thresh=0.05,
            object_reach_radius=0.01,
            xz_thresh=0.005,
            desired_gripper_effort=0.8,
            density="high",
        )
        in_place = nearness(to_target, 0.05, norm(initial - target))
        reward = 2 * grasped
        reward = xp.where(self._moved(s) & (tcp_to_plug < 0.035), 1 + reward + 5 * in_place, reward)
        return Outcome(
            reward=xp.where(to_target <= 0.05, 10.0, reward),
            success=to_target <= 0.07,
            near_object=tcp_to_plug <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: out by a little."""
        return self._moved(s)

    def _moved(self, s: Snapshot) -> Array:
        """Whether the plug has come out a little and something keeps the gripper open."""
        return (s.observations[:, 3] > 0.5) & (s.observations[:, 4] - s.constant("obj_init_pos")[:, 0] > 0.015)
