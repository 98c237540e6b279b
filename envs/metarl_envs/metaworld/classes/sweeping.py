"""Sweeping a block off the table and into a hole.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.grasping import is_open, pinching
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching


class Sweep(TaskClass):
    """Sweep the block off the side of the table."""

    name: ClassVar[str] = "sweep-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    touching: ClassVar[Touching] = "grasp_success"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "OBJ_RADIUS")
    grip: ClassVar[float] = 0.01
    """Largest distance of a pinching pad from the block's surface, in metres."""
    xz: ClassVar[float] = 0.005
    """Distance in the xz-plane at which the tool centre point is close enough, in metres."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The block."""
        return ((s.body("obj"), s.body_quaternion("obj")),)

    def target(self, s: Snapshot, block: Array) -> Array:
        """Position that the block should reach, `(env, 3)`."""
        return s.target

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards pinching the block, and moving it to the goal while it is pinched."""
        xp = namespace(s.actions)
        block, radius = s.object, 0.05
        target = self.target(s, block)
        # in_place = T(|block - target|; 0.05, |initial - target|)
        to_target = norm(block - target)
        in_place = nearness(to_target, radius, norm(s.initial_object - target))
        grasped = pinching(s, block, grip=self.grip, xz=self.xz)
        # reward = 10 if |block - target| < 0.05 else 2 grasped + 6 H(grasped, in_place)
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
        """Returns true where both pads press on the object."""
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
        """The hole, at the block's height."""
        xp = namespace(block)
        return xp.concat([s.target[:, :2], block[:, 2:]], axis=1)
