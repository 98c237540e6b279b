"""What slides along a straight line: drawers and windows."""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, gaussian, hamacher_product, nearness, norm
from metarl_envs.metaworld.gripping import is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class DrawerOpen(TaskClass):
    """Pull a drawer open."""

    name: ClassVar[str] = "drawer-open-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "maxDist")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle."""
        return ((s.body("drawer_link") + s.vector(0.0, -0.16, 0.0), s.body_quaternion("drawer_link")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """The hand at the handle, foremost horizontally, and the handle at the target."""
        hand, handle = s.observations[:, :3], s.observations[:, 4:7]
        target, length, scale = s.constant("_target_pos"), s.constant("maxDist"), s.vector(3.0, 3.0, 1.0)
        to_target = norm(handle - target)
        opened = nearness(to_target, 0.02, length)
        closed_handle = target + length[:, None] * s.vector(0.0, 1.0, 0.0)
        margin = norm((closed_handle - s.constant("init_tcp")) * scale)
        hand_to_handle = handle - hand
        caged = nearness(norm(hand_to_handle * scale), 0.01, margin)
        return Outcome(
            reward=5.0 * (caged + opened),
            success=to_target <= 0.03,
            near_object=norm(hand_to_handle) <= 0.03,
            grasp_reward=caged,
            in_place_reward=opened,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the gripper is open."""
        return is_open(s)


class DrawerClose(TaskClass):
    """Push an open drawer shut."""

    name: ClassVar[str] = "drawer-close-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle's position; zeros for its orientation."""
        xp = namespace(s.actions)
        return ((s.body("drawer_link") + s.vector(0.0, -0.16, 0.05), xp.zeros_like(s.actions)),)

    def outcome(self, s: Snapshot) -> Outcome:
        """The closed gripper at the handle, and the handle at the target."""
        xp = namespace(s.actions)
        handle, initial = s.observations[:, 4:7], s.constant("obj_init_pos")
        target, radius, touch = s.constant("_target_pos"), s.constant("TARGET_RADIUS"), 0.005
        to_target, tcp_to_handle = norm(handle - target), norm(handle - s.tcp)
        in_place = nearness(to_target, radius, xp.abs(norm(initial - target) - radius))
        reach_margin = xp.abs(norm(initial - s.constant("init_tcp")) - touch)
        closed = clamp(s.actions[:, 3], 0.0, 1.0)
        reach = hamacher_product(gaussian(tcp_to_handle, touch, reach_margin), closed)
        success = to_target <= radius + 0.015
        return Outcome(
            reward=xp.where(success, 10.0, 10 * hamacher_product(reach, in_place)),
            success=success,
            near_object=tcp_to_handle <= 0.01,
            grasp_reward=reach,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class _Window(TaskClass):
    """A window that slides along x by its handle."""

    _handle: ClassVar[str]
    """The handle's site."""
    _start: ClassVar[str]
    """The constant from which the way to the target is measured."""
    _nearness = staticmethod(nearness)
    """How the reward for reaching falls with distance."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle's position; zeros for its orientation."""
        xp = namespace(s.actions)
        return ((s.site(self._handle), xp.zeros_like(s.actions)),)

    def outcome(self, s: Snapshot) -> Outcome:
        """The hand at the handle, and the handle at the target as far as x goes."""
        xp = namespace(s.actions)
        handle, target, radius, touch = (
            s.observations[:, 4:7],
            s.constant("_target_pos"),
            s.constant("TARGET_RADIUS"),
            0.02,
        )
        to_target, tcp_to_handle = xp.abs(handle[:, 0] - target[:, 0]), norm(handle - s.tcp)
        way = xp.abs(s.constant(self._start)[:, 0] - target[:, 0])
        in_place = nearness(to_target, radius, xp.abs(way - radius))
        reach_margin = xp.abs(norm(s.constant("window_handle_pos_init") - s.constant("init_tcp")) - touch)
        reach = self._nearness(tcp_to_handle, touch, reach_margin)
        return Outcome(
            reward=10 * hamacher_product(reach, in_place),
            success=to_target <= radius,
            near_object=tcp_to_handle <= 0.05,
            grasp_reward=reach,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class WindowOpen(_Window):
    """Slide a window open."""

    name: ClassVar[str] = "window-open-v3"
    constants: ClassVar[tuple[str, ...]] = (
        "_target_pos",
        "obj_init_pos",
        "window_handle_pos_init",
        "init_tcp",
        "TARGET_RADIUS",
    )
    _handle: ClassVar[str] = "handleOpenStart"
    _start: ClassVar[str] = "obj_init_pos"


class WindowClose(_Window):
    """Slide a window shut."""

    name: ClassVar[str] = "window-close-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "window_handle_pos_init", "init_tcp", "TARGET_RADIUS")
    _handle: ClassVar[str] = "handleCloseStart"
    _start: ClassVar[str] = "window_handle_pos_init"
    _nearness = staticmethod(gaussian)
