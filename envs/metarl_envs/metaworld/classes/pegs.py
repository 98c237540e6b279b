"""Putting a peg into the side of a box, and pulling it out.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.grasping import gripper_caging, is_lifted, is_open
from metarl_envs.metaworld.rewards import box_ramp, hamacher_product, nearness
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
        """The peg, at the point to grip."""
        return ((s.site("pegGrasp"), s.site_matrix("pegGrasp")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards lifting the peg, and its head's nearness to the hole, reduced where the box is in its way."""
        xp = namespace(s.actions)
        peg, head, target = s.object, s.site("pegHead"), s.target
        tcp_to_peg = norm(peg - s.tcp)
        # T(|(head - target) (1, 2, 2)|; radius, |(initial_head - target) (1, 2, 2)|)
        to_axis = s.vector(1.0, 2.0, 2.0)
        to_target = norm((head - target) * to_axis)
        initial = norm((s.constant("peg_head_pos_init") - target) * to_axis)
        in_place = nearness(to_target, s.target_radius, initial)
        # in_place = H(T, H(ramp_upper, ramp_lower)): the ramps keep the head out of the box above and below the hole
        zero = xp.stack([s.site(f"bottom_right_corner_collision_box_{i}") for i in (1, 2)])
        one = xp.stack([s.site(f"top_left_corner_collision_box_{i}") for i in (1, 2)])
        ramps = box_ramp(head, zero, one)
        in_place = hamacher_product(in_place, hamacher_product(ramps[1, :], ramps[0, :]))
        caging = gripper_caging(s, peg, obj_radius=0.0075, pad_success_thresh=0.03, xz_thresh=0.005, density="high")
        held = (tcp_to_peg < 0.08) & is_open(s) & is_lifted(s, 0.01)
        grasped = xp.where(held, 1.0, caging)
        # reward = 10 if success else H(grasped, in_place) + [held] (1 + 5 in_place)
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
        """Returns true where the peg is lifted and within 2 cm of the tool centre point; the reward asks for 8 cm."""
        return (norm(s.object - s.tcp) < 0.02) & is_open(s) & is_lifted(s, 0.01)


class PegUnplugSide(TaskClass):
    """Pull the plug out of the side of the box."""

    name: ClassVar[str] = "peg-unplug-side-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The plug, by its end."""
        return ((s.site("pegEnd"), s.body_quaternion("plug1")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards gripping the plug; while it is held and has come out a little, its nearness to the goal."""
        xp = namespace(s.actions)
        plug, target, initial = s.object, s.target, s.initial_object
        tcp_to_plug, to_target = norm(plug - s.tcp), norm(plug - target)
        grasped = gripper_caging(
            s,
            plug,
            obj_radius=0.025,
            pad_success_thresh=0.05,
            xz_thresh=0.005,
            desired_gripper_effort=0.8,
            density="high",
        )
        # in_place = T(|plug - target|; 0.05, |initial - target|)
        in_place = nearness(to_target, 0.05, norm(initial - target))
        # reward = 10 if |plug - target| <= 0.05 else 2 grasped + [moved and held] (1 + 5 in_place)
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
        """Returns true where the plug has come out by 1.5 cm."""
        return self._moved(s)

    def _moved(self, s: Snapshot) -> Array:
        """Returns true where the plug has come out by 1.5 cm and keeps the gripper half open."""
        return (s.gripper > 0.5) & (s.object[:, 0] - s.initial_object[:, 0] > 0.015)
