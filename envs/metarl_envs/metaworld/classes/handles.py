"""Pressing handles down, pulling them up, and turning a lever.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.grasping import gripper_caging, is_lifted, is_open
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Handle(TaskClass):
    """A handle on a box; four zeros take the place of its orientation in the observation."""

    site: ClassVar[str]
    """Site of the handle that the hand should reach."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle."""
        xp = namespace(s.actions)
        return ((s.site(self.site), xp.broadcast_to(s.vector(0.0, 0.0, 0.0, 0.0), (s.actions.shape[0], 4))),)


class HandlePress(_Handle):
    """Press a handle down, from the front."""

    name: ClassVar[str] = "handle-press-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "_handle_init_pos", "init_tcp", "TARGET_RADIUS")
    site: ClassVar[str] = "handleStart"

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards reaching the handle, and the handle's height."""
        xp = namespace(s.actions)
        handle, initial = s.object, s.constant("_handle_init_pos")
        target_height, radius = s.target[:, 2], s.target_radius
        # in_place = T(|handle_z - target_z|; radius, ||initial_z - target_z| - radius|)
        to_target = xp.abs(handle[:, 2] - target_height)
        in_place = nearness(to_target, radius, xp.abs(xp.abs(initial[:, 2] - target_height) - radius))
        # reach = T(|handle - tcp|; 0.02, ||initial - initial_tcp| - 0.02|)
        distance, handle_radius = norm(handle - s.tcp), 0.02
        reach = nearness(distance, handle_radius, xp.abs(norm(initial - s.initial_tcp) - handle_radius))
        # reward = 10 if success else 10 H(reach, in_place)
        success = to_target <= radius
        return Outcome(
            reward=xp.where(success, 10.0, 10 * hamacher_product(reach, in_place)),
            success=success,
            near_object=distance <= 0.05,
            grasp_reward=reach,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class HandlePressSide(HandlePress):
    """Press a handle down, from the side."""

    name: ClassVar[str] = "handle-press-side-v3"


class _HandlePull(_Handle):
    """Pulling a handle up."""

    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")
    half_width: ClassVar[float]
    """Half the handle's width along y, in metres."""
    pad_distance: ClassVar[float]
    """Distance along y at which a pad is close enough to the handle."""

    @abstractmethod
    def to_target(self, handle: Array, target: Array) -> Array:
        """Distance from the handle to the target, `(env,)` in metres."""

    @abstractmethod
    def lifted(self, handle: Array, initial: Array) -> Array:
        """Returns true where the handle counts as lifted from its initial position."""

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards caging the handle, then lifting it."""
        xp = namespace(s.actions)
        handle, target, initial, radius = s.object, s.target, s.initial_object, s.target_radius
        # in_place = T(d(handle, target); radius, d(initial, target)), where d is `to_target`
        to_target = self.to_target(handle, target)
        in_place = nearness(to_target, radius, self.to_target(initial, target))
        grasped = gripper_caging(
            s, handle, obj_radius=self.half_width, pad_success_thresh=self.pad_distance, xz_thresh=0.01, density="high"
        )
        distance = norm(handle - s.tcp)
        # reward = 10 if to_target < radius else H(grasped, in_place) + [held] (1 + 5 in_place)
        held = (distance < 0.035) & is_open(s) & self.lifted(handle, initial)
        reward = hamacher_product(grasped, in_place) + xp.where(held, 1.0 + 5.0 * in_place, 0.0)
        return Outcome(
            reward=xp.where(to_target < radius, 10.0, reward),
            success=self.success(to_target, radius),
            near_object=distance <= 0.05,
            grasp_reward=grasped,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )

    def success(self, to_target: Array, radius: Array) -> Array:
        """Returns true where the handle is at the target."""
        return to_target <= radius

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the gripper is open and the handle is lifted by 3 cm."""
        return is_open(s) & is_lifted(s, 0.03)


class HandlePull(_HandlePull):
    """Pull a handle up, from the front."""

    name: ClassVar[str] = "handle-pull-v3"
    site: ClassVar[str] = "handleRight"
    half_width: ClassVar[float] = 0.022
    pad_distance: ClassVar[float] = 0.05

    def to_target(self, handle: Array, target: Array) -> Array:
        """Difference in height, `(env,)` in metres."""
        xp = namespace(handle)
        return xp.abs(target[:, 2] - handle[:, 2])

    def lifted(self, handle: Array, initial: Array) -> Array:
        """Returns true everywhere, in effect: Meta-World compares the handle's y with its initial z."""
        return handle[:, 1] - 0.01 > initial[:, 2]


class HandlePullSide(_HandlePull):
    """Pull a handle up, from the side."""

    name: ClassVar[str] = "handle-pull-side-v3"
    site: ClassVar[str] = "handleCenter"
    half_width: ClassVar[float] = 0.032
    pad_distance: ClassVar[float] = 0.06

    def to_target(self, handle: Array, target: Array) -> Array:
        """Distance in space, `(env,)` in metres."""
        return norm(handle - target)

    def lifted(self, handle: Array, initial: Array) -> Array:
        """Returns true where the handle is more than 1 cm above its initial position."""
        return handle[:, 2] - 0.01 > initial[:, 2]

    def success(self, to_target: Array, radius: Array) -> Array:
        """Returns true within 8 cm of the target; Meta-World asks for less here than in the reward."""
        return to_target <= 0.08


class LeverPull(TaskClass):
    """Turn a lever upwards, with the hand under it."""

    name: ClassVar[str] = "lever-pull-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "geom_xmat", "qpos")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "_lever_pos_init", "init_tcp")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The lever's end."""
        return ((s.site("leverStart"), s.geom_matrix("objGeom")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the gripper's shoulder under the lever, and the lever's end to the top."""
        xp = namespace(s.actions)
        lever, target, initial = s.object, s.target, s.constant("_lever_pos_init")
        shoulder, scale = s.vector(0.0, 0.055, 0.07), s.vector(4.0, 1.0, 4.0)
        # ready = T(|(hand + shoulder - lever) scale|; 0.02, |(initial_tcp + shoulder - initial) scale|)
        distance = norm((s.hand + shoulder - lever) * scale)
        ready = nearness(distance, 0.02, norm((s.initial_tcp + shoulder - initial) * scale))
        # engaged = T(|-angle - pi / 2|; pi / 48, pi / 2 - pi / 12), which only `info` has
        from_upright = xp.abs(-s.joint("LeverAxis") - math.pi / 2)
        engaged = nearness(from_upright, math.pi / 48, math.pi / 2 - math.pi / 12)
        # in_place = T(|lever - target|; 0.04, |initial - target|);  reward = 10 H(ready, in_place)
        in_place = nearness(norm(lever - target), 0.04, norm(initial - target))
        return Outcome(
            reward=10 * hamacher_product(ready, in_place),
            success=from_upright <= math.pi / 24,
            near_object=distance < 0.03,
            grasp_reward=ready,
            in_place_reward=engaged,
            obj_to_target=distance,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the shoulder is under the lever."""
        return outcome.grasp_reward > 0.9
