"""Sliding a plate over the table, into a cabinet or out of it."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import hamacher_product, nearness, norm
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass

_RADIUS = 0.05
"""Distance at which the plate is in place, and at which the tool centre point is at the plate."""


class PlateSlide(TaskClass):
    """Slide the plate forward into the cabinet."""

    name: ClassVar[str] = "plate-slide-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    margin_offset: ClassVar[float] = 0.0
    """What the margins of nearness lack of the first distances."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The plate."""
        return ((s.geom("puck"), s.geom_matrix("puck")),)

    def reward(self, s: Snapshot, grasped: Array, in_place: Array, tcp_to_plate: Array) -> Array:
        """Reward while the plate is not in place: being at the plate and the plate's nearness to the goal, both."""
        return 8 * hamacher_product(grasped, in_place)

    def outcome(self, s: Snapshot) -> Outcome:
        """Nearness of the tool centre point to the plate, and of the plate to the goal."""
        xp = namespace(s.actions)
        plate, target, initial = s.observations[:, 4:7], s.constant("_target_pos"), s.constant("obj_init_pos")
        to_target, tcp_to_plate = norm(plate - target), norm(s.tcp - plate)
        in_place = nearness(to_target, _RADIUS, norm(initial - target) - self.margin_offset)
        grasp_margin = norm(s.constant("init_tcp") - initial) - self.margin_offset
        grasped = nearness(tcp_to_plate, _RADIUS, grasp_margin)
        return Outcome(
            reward=xp.where(to_target < _RADIUS, 10.0, self.reward(s, grasped, in_place, tcp_to_plate)),
            success=to_target <= 0.07,
            near_object=tcp_to_plate <= 0.03,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: never."""
        return namespace(s.actions).zeros_like(s.actions[:, 0])


class PlateSlideSide(PlateSlide):
    """Slide the plate sideways into the cabinet."""

    name: ClassVar[str] = "plate-slide-side-v3"
    margin_offset: ClassVar[float] = _RADIUS

    def reward(self, s: Snapshot, grasped: Array, in_place: Array, tcp_to_plate: Array) -> Array:
        """Reaching the plate; once the tool centre point is low and at it, the plate's nearness to the goal."""
        xp = namespace(grasped)
        touching = (s.tcp[:, 2] <= 0.03) & (tcp_to_plate < 0.07)
        return xp.where(touching, 2.0 + 7.0 * in_place, 1.5 * grasped)


class PlateSlideBack(PlateSlideSide):
    """Slide the plate back out of the cabinet."""

    name: ClassVar[str] = "plate-slide-back-v3"


class PlateSlideBackSide(PlateSlideSide):
    """Slide the plate sideways out of the cabinet."""

    name: ClassVar[str] = "plate-slide-back-side-v3"
