"""Reaching: the hand goes to a goal that nothing shows."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import nearness, norm
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class Reach(TaskClass):
    """Reach a point in free space."""

    name: ClassVar[str] = "reach-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "hand_init_pos")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck, which is of no use."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Nearness of the tool centre point to the goal."""
        target = s.constant("_target_pos")
        distance = norm(s.tcp - target)
        in_place = nearness(distance, 0.05, norm(s.constant("hand_init_pos") - target))
        return Outcome(
            reward=10 * in_place,
            success=distance <= 0.05,
            near_object=distance,
            grasp_reward=distance,
            in_place_reward=in_place,
            obj_to_target=distance,
        )


class ReachWall(Reach):
    """Reach a point behind a wall."""

    name: ClassVar[str] = "reach-wall-v3"

    def outcome(self, s: Snapshot) -> Outcome:
        """As without the wall, but for what `info` says of the puck."""
        outcome = super().outcome(s)
        nothing = namespace(s.actions).zeros_like(outcome.reward)
        return outcome._replace(near_object=nothing, grasp_reward=nothing)

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: never."""
        return namespace(s.actions).zeros_like(s.actions[:, 0])
