"""Reaching a hidden goal with the hand.

`T` in the comments is `nearness`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.rewards import nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class Reach(TaskClass):
    """Reach a point in free space."""

    name: ClassVar[str] = "reach-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "hand_init_pos")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The puck, which the task does not use."""
        return ((s.body("obj"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards nearness of the tool centre point to the goal."""
        # in_place = T(|tcp - target|; 0.05, |initial_hand - target|);  reward = 10 in_place
        distance = norm(s.tcp - s.target)
        in_place = nearness(distance, 0.05, norm(s.initial_hand - s.target))
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
        """Computes the outcome of `Reach`, except that `near_object` and `grasp_reward` are 0."""
        outcome = super().outcome(s)
        zeros = namespace(s.actions).zeros_like(outcome.reward)
        return outcome._replace(near_object=zeros, grasp_reward=zeros)

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns 0 everywhere, as Meta-World does."""
        return namespace(s.actions).zeros_like(s.actions[:, 0])
