"""Pressing handles down, pulling them up, and turning a lever."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import hamacher_product, nearness, norm
from metarl_envs.metaworld.gripping import gripper_caging, is_lifted, is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Handle(TaskClass):
    """A handle on a box; the observation has its position and four zeros for its orientation."""

    site: ClassVar[str]
    """Where on the handle the hand should go."""

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
        """Reaching the handle, and its height."""
        xp = namespace(s.actions)
        handle, start = s.observations[:, 4:7], s.constant("_handle_init_pos")
        target_height, radius = s.constant("_target_pos")[:, 2], s.constant("TARGET_RADIUS")
        to_target = xp.abs(handle[:, 2] - target_height)
        in_place = nearness(to_target, radius, xp.abs(xp.abs(start[:, 2] - target_height) - radius))
        distance, handle_radius = norm(handle - s.tcp), 0.02
        reach = nearness(distance, handle_radius, xp.abs(norm(start - s.constant("init_tcp")) - handle_radius))
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
    """Of the handle along y, in metres."""
    pad_distance: ClassVar[float]
    """Distance along y at which a pad is close enough to the handle."""

    @abstractmethod
    def to_target(self, handle: Array, target: Array) -> Array:
        """Distance of the handle from the goal."""

    @abstractmethod
    def lifted(self, handle: Array, start: Array) -> Array:
        """Whether the handle counts as lifted from where it started."""

    def outcome(self, s: Snapshot) -> Outcome:
        """Caging the handle, then lifting it."""
        xp = namespace(s.actions)
        handle, radius = s.observations[:, 4:7], s.constant("TARGET_RADIUS")
        target, start = s.constant("_target_pos"), s.constant("obj_init_pos")
        to_target = self.to_target(handle, target)
        in_place = nearness(to_target, radius, self.to_target(start, target))
        grasped = gripper_caging(
            s,
            handle,
            obj_radius=self.half_width,
            pad_success_thresh=self.pad_distance,
            object_reach_radius=0.01,
            xz_thresh=0.01,
            density="high",
        )
        distance = norm(handle - s.tcp)
        held = (distance < 0.035) & (s.observations[:, 3] > 0) & self.lifted(handle, start)
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
        """Whether the handle is high enough."""
        return to_target <= radius

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the gripper is open and the handle 3 cm up."""
        return is_open(s) & is_lifted(s, 0.03)


class HandlePull(_HandlePull):
    """Pull a handle up, from the front."""

    name: ClassVar[str] = "handle-pull-v3"
    site: ClassVar[str] = "handleRight"
    half_width: ClassVar[float] = 0.022
    pad_distance: ClassVar[float] = 0.05

    def to_target(self, handle: Array, target: Array) -> Array:
        """See `_HandlePull`; in height only."""
        xp = namespace(handle)
        return xp.abs(target[:, 2] - handle[:, 2])

    def lifted(self, handle: Array, start: Array) -> Array:
        """See `_HandlePull`; Meta-World compares y with z, and where the box stands, so that it always holds."""
        return handle[:, 1] - 0.01 > start[:, 2]


class HandlePullSide(_HandlePull):
    """Pull a handle up, from the side."""

    name: ClassVar[str] = "handle-pull-side-v3"
    site: ClassVar[str] = "handleCenter"
    half_width: ClassVar[float] = 0.032
    pad_distance: ClassVar[float] = 0.06

    def to_target(self, handle: Array, target: Array) -> Array:
        """See `_HandlePull`."""
        return norm(handle - target)

    def lifted(self, handle: Array, start: Array) -> Array:
        """See `_HandlePull`."""
        return handle[:, 2] - 0.01 > start[:, 2]

    def success(self, to_target: Array, radius: Array) -> Array:
        """See `_HandlePull`; Meta-World is more generous here than in the reward."""
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
        """Bringing the shoulder of the hand under the lever, and the lever's end to the top."""
        xp = namespace(s.actions)
        hand, lever = s.observations[:, :3], s.observations[:, 4:7]
        start, target = s.constant("_lever_pos_init"), s.constant("_target_pos")
        shoulder, scale = s.vector(0.0, 0.055, 0.07), s.vector(4.0, 1.0, 4.0)
        distance = norm((hand + shoulder - lever) * scale)
        ready = nearness(distance, 0.02, norm((s.constant("init_tcp") + shoulder - start) * scale))
        from_upright = xp.abs(-s.joint("LeverAxis") - math.pi / 2)
        engaged = nearness(from_upright, math.pi / 48, math.pi / 2 - math.pi / 12)
        in_place = nearness(norm(lever - target), 0.04, norm(start - target))
        return Outcome(
            reward=10 * hamacher_product(ready, in_place),
            success=from_upright <= math.pi / 24,
            near_object=distance < 0.03,
            grasp_reward=ready,
            in_place_reward=engaged,
            obj_to_target=distance,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the shoulder is under the lever."""
        return outcome.grasp_reward > 0.9
