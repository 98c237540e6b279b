"""Pushing an object over the table to a goal."""

from __future__ import annotations

from typing import ClassVar

from array_api_compat import array_namespace

from envs.metaworld.bricks import Array, long_tail, norm, quaternion
from envs.metaworld.gripping import gripper_caging
from envs.metaworld.snapshot import Snapshot
from envs.metaworld.task_class import Outcome, TaskClass


class Push(TaskClass):
    """Push the puck to a goal on the table."""

    name: ClassVar[str] = "push-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck."""
        return ((s.body("obj"), quaternion(s.geom_matrix("objGeom"))),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Caging the puck, then moving it to the goal."""
        xp = array_namespace(s.actions)
        puck, target, radius = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("TARGET_RADIUS")
        tcp_to_puck = norm(puck - s.tcp)
        to_target = norm(puck - target)
        in_place = long_tail(to_target, 0.0, radius, norm(s.constant("obj_init_pos") - target))
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
