"""Sliding a plate over the table, into a cabinet or out of it.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass

_RADIUS = 0.05
"""Distance, in metres, at which the plate is at the goal, and the tool centre point at the plate."""


class PlateSlide(TaskClass):
    """Slide the plate forward into the cabinet."""

    name: ClassVar[str] = "plate-slide-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xpos", "geom_xmat")
    margin_offset: ClassVar[float] = 0.0
    """Difference between the distances at the reset and the margins, in metres."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The plate."""
        return ((s.geom("puck"), s.geom_matrix("puck")),)

    def reward(self, s: Snapshot, grasped: Array, in_place: Array, tcp_to_plate: Array) -> Array:
        """Computes the reward, `(env,)`, of a plate that is not at the goal yet.

        Args:
            s: The environments.
            grasped: Tolerance of the distance from tool centre point to plate, 0 to 1, `(env,)`.
            in_place: Tolerance of the distance from plate to goal, 0 to 1, `(env,)`.
            tcp_to_plate: Distance from tool centre point to plate, `(env,)` in metres.
        """
        # 8 H(grasped, in_place)
        return 8 * hamacher_product(grasped, in_place)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards nearness of the tool centre point to the plate, and of the plate to the goal."""
        xp = namespace(s.actions)
        plate, target, initial = s.object, s.target, s.initial_object
        to_target, tcp_to_plate = norm(plate - target), norm(s.tcp - plate)
        # in_place = T(|plate - target|; 0.05, |initial - target| - offset)
        in_place = nearness(to_target, _RADIUS, norm(initial - target) - self.margin_offset)
        # grasped = T(|tcp - plate|; 0.05, |initial_tcp - initial| - offset)
        grasp_margin = norm(s.initial_tcp - initial) - self.margin_offset
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
        """Returns 0 everywhere, as Meta-World does."""
        return namespace(s.actions).zeros_like(s.actions[:, 0])


class PlateSlideSide(PlateSlide):
    """Slide the plate sideways into the cabinet."""

    name: ClassVar[str] = "plate-slide-side-v3"
    margin_offset: ClassVar[float] = _RADIUS

    def reward(self, s: Snapshot, grasped: Array, in_place: Array, tcp_to_plate: Array) -> Array:
        """Rewards reaching the plate, then nearness to the goal while the tool centre point is low and at the plate."""
        xp = namespace(grasped)
        # 2 + 7 in_place if tcp_z <= 0.03 and |tcp - plate| < 0.07 else 1.5 grasped
        touching = (s.tcp[:, 2] <= 0.03) & (tcp_to_plate < 0.07)
        return xp.where(touching, 2.0 + 7.0 * in_place, 1.5 * grasped)


class PlateSlideBack(PlateSlideSide):
    """Slide the plate back out of the cabinet."""

    name: ClassVar[str] = "plate-slide-back-v3"


class PlateSlideBackSide(PlateSlideSide):
    """Slide the plate sideways out of the cabinet."""

    name: ClassVar[str] = "plate-slide-back-side-v3"
