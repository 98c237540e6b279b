"""Sliding drawers and windows open and shut.

`T`, `G` and `H` in the comments are `nearness`, `gaussian` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.grasping import is_open
from metarl_envs.metaworld.rewards import gaussian, hamacher_product, nearness
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
        """Rewards bringing the hand to the handle, above all horizontally, and the handle to the target."""
        handle, target, length = s.object, s.target, s.constant("maxDist")
        # opened = T(|handle - target|; 0.02, length)
        to_target = norm(handle - target)
        opened = nearness(to_target, 0.02, length)
        # caged = T(|(handle - hand) (3, 3, 1)|; 0.01, |(closed_handle - initial_tcp) (3, 3, 1)|)
        scale = s.vector(3.0, 3.0, 1.0)
        closed_handle = target + length[:, None] * s.vector(0.0, 1.0, 0.0)
        margin = norm((closed_handle - s.initial_tcp) * scale)
        hand_to_handle = handle - s.hand
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
        """Returns true where the gripper is open."""
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
        """Rewards bringing the closed gripper to the handle, and the handle to the target."""
        xp = namespace(s.actions)
        handle, initial = s.object, s.initial_object
        target, radius, touch = s.target, s.target_radius, 0.005
        to_target, tcp_to_handle = norm(handle - target), norm(handle - s.tcp)
        # in_place = T(|handle - target|; radius, ||initial - target| - radius|)
        in_place = nearness(to_target, radius, xp.abs(norm(initial - target) - radius))
        # reach = H(G(|handle - tcp|; touch, ||initial - initial_tcp| - touch|), clip(effort, 0, 1))
        reach_margin = xp.abs(norm(initial - s.initial_tcp) - touch)
        closed = clamp(s.effort, 0.0, 1.0)
        reach = hamacher_product(gaussian(tcp_to_handle, touch, reach_margin), closed)
        # reward = 10 if success else 10 H(reach, in_place)
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
    """Constant with the position that the way to the target begins at."""
    _nearness = staticmethod(nearness)
    """Tolerance of the distance from the tool centre point to the handle."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle's position; zeros for its orientation."""
        xp = namespace(s.actions)
        return ((s.site(self._handle), xp.zeros_like(s.actions)),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the hand to the handle, and the handle to the target along x."""
        xp = namespace(s.actions)
        handle, target, radius, touch = s.object, s.target, s.target_radius, 0.02
        # in_place = T(|handle_x - target_x|; radius, ||start_x - target_x| - radius|)
        to_target, tcp_to_handle = xp.abs(handle[:, 0] - target[:, 0]), norm(handle - s.tcp)
        way = xp.abs(s.constant(self._start)[:, 0] - target[:, 0])
        in_place = nearness(to_target, radius, xp.abs(way - radius))
        # reach = T or G(|handle - tcp|; touch, ||initial_handle - initial_tcp| - touch|)
        # reward = 10 H(reach, in_place)
        reach_margin = xp.abs(norm(s.constant("window_handle_pos_init") - s.initial_tcp) - touch)
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
