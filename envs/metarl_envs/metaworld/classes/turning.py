"""Turning faucets and a dial.

`T`, `G` and `H` in the comments are `nearness`, `gaussian` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from typing import ClassVar

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.rewards import gaussian, hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Faucet(TaskClass):
    """A faucet with a handle to turn."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "obj_init_pos", "init_tcp", "_target_radius")
    _handle: ClassVar[str]
    """Site of the handle."""
    _contact: ClassVar[tuple[float, float, float]]
    """Offset from the observed position to the point to push, in metres."""

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The handle's position, the base's orientation."""
        return ((s.site(self._handle) + s.vector(0.0, 0.0, -0.01), s.body_quaternion("faucetBase")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the hand to the handle, and the handle to the target."""
        xp = namespace(s.actions)
        handle, initial = s.object + s.vector(*self._contact), s.initial_object
        target, radius, touch = s.target, s.constant("_target_radius"), 0.01
        # in_place = T(|handle - target|; radius, ||initial - target| - radius|)
        to_target, tcp_to_handle = norm(handle - target), norm(handle - s.tcp)
        in_place = nearness(to_target, radius, xp.abs(norm(initial - target) - radius))
        # reach = G(|handle - tcp|; touch, ||initial - initial_tcp| - touch|)
        reach_margin = xp.abs(norm(initial - s.initial_tcp) - touch)
        reach = gaussian(tcp_to_handle, touch, reach_margin)
        # reward = 10 if |handle - target| <= radius else 4 reach + 6 in_place
        return Outcome(
            reward=xp.where(to_target <= radius, 10.0, 2 * (2 * reach + 3 * in_place)),
            success=to_target <= 0.07,
            near_object=tcp_to_handle <= 0.01,
            grasp_reward=reach,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )


class FaucetOpen(_Faucet):
    """Turn a faucet on."""

    name: ClassVar[str] = "faucet-open-v3"
    _handle: ClassVar[str] = "handleStartOpen"
    _contact: ClassVar[tuple[float, float, float]] = (-0.04, 0.0, 0.03)


class FaucetClose(_Faucet):
    """Turn a faucet off."""

    name: ClassVar[str] = "faucet-close-v3"
    _handle: ClassVar[str] = "handleStartClose"
    _contact: ClassVar[tuple[float, float, float]] = (0.0, 0.0, 0.0)


class DialTurn(TaskClass):
    """Turn a dial by its pointer."""

    name: ClassVar[str] = "dial-turn-v3"
    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat", "qpos")
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "dial_push_position", "init_tcp", "TARGET_RADIUS")

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The pointer's tip, the dial's orientation."""
        xp = namespace(s.actions)
        # tip = dial + 0.05 (sin angle, -cos angle, 0)
        angle, radius = s.joint("knob_Joint_1"), 0.05
        tip = xp.stack([radius * xp.sin(angle), -radius * xp.cos(angle), xp.zeros_like(angle)], axis=-1)
        return ((s.body("dial") + tip, s.body_quaternion("dial")),)

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards bringing the closed gripper beside the pointer, and the pointer to the target."""
        xp = namespace(s.actions)
        tip, initial_push = s.object, s.constant("dial_push_position")
        target, radius, touch = s.target, s.target_radius, 0.005
        # in_place = T(|tip - target|; radius, ||initial_push - target| - radius|)
        to_target, to_push = norm(tip - target), norm(tip + s.vector(0.05, 0.02, 0.09) - s.tcp)
        in_place = nearness(to_target, radius, xp.abs(norm(initial_push - target) - radius))
        # reach = H(G(|tip + offset - tcp|; touch, ||initial_push - initial_tcp| - touch|), clip(effort, 0, 1))
        # reward = 10 H(reach, in_place)
        reach_margin = xp.abs(norm(initial_push - s.initial_tcp) - touch)
        closed = clamp(s.effort, 0.0, 1.0)
        reach = hamacher_product(gaussian(to_push, touch, reach_margin), closed)
        return Outcome(
            reward=10 * hamacher_product(reach, in_place),
            success=to_target <= radius,
            near_object=to_push <= 0.01,
            grasp_reward=reach,
            in_place_reward=in_place,
            obj_to_target=to_target,
        )
