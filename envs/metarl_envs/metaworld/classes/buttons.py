"""Pressing buttons: on a box from the front or from above, freely or past a wall, and on a coffee machine.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from metarl_envs.arrays import Array, namespace, norm
from metarl_envs.metaworld.grasping import is_open
from metarl_envs.metaworld.rewards import hamacher_product, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Button(TaskClass):
    """A button that travels along one axis into a hole. Subclasses weigh reaching and pressing."""

    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "_obj_to_target_init")
    travel: ClassVar[str] = "_obj_to_target_init"
    """Constant with the distance that the button can be pressed, in metres."""
    axis: ClassVar[int]
    """Axis along which the button is pressed: 0, 1 or 2."""
    near_radius: ClassVar[float]
    """Distance from the tool centre point to the button that counts as reached, in metres."""
    success_distance: ClassVar[float]
    """Largest distance of a pressed button from the hole, in metres."""

    @abstractmethod
    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Computes the reward, `(env,)`.

        Args:
            opening: Opening of the gripper, 0 to 1, `(env,)`.
            distance: Distance from the tool centre point to the button, `(env,)` in metres.
            near: Tolerance of that distance, 0 to 1, `(env,)`.
            pressed: Tolerance of the button's distance from the hole, 0 to 1, `(env,)`.
        """

    def outcome(self, s: Snapshot) -> Outcome:
        """Rewards reaching the button, then pressing it."""
        xp = namespace(s.actions)
        button = s.object
        distance = norm(button - s.tcp)
        to_target = xp.abs(s.target[:, self.axis] - button[:, self.axis])
        # near = T(|button - tcp|; near_radius, |button - initial_tcp|)
        near = nearness(distance, self.near_radius, norm(button - s.initial_tcp))
        # pressed = T(|target - button| along the axis; 0.005, travel)
        pressed = nearness(to_target, 0.005, s.constant(self.travel))
        return Outcome(
            reward=self.reward(s.gripper, distance, near, pressed),
            success=to_target <= self.success_distance,
            near_object=distance <= 0.05,
            grasp_reward=near,
            in_place_reward=pressed,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the gripper is open."""
        return is_open(s)


class _FrontButton(_Button):
    """A button on the front of a box."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    axis: ClassVar[int] = 1

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The button's front."""
        return ((s.body("button") + s.vector(0.0, -0.193, 0.0), s.body_quaternion("button")),)


class _TopButton(_Button):
    """A button on the top of a box."""

    arrays: ClassVar[tuple[str, ...]] = ("xpos", "site_xpos", "xquat")
    axis: ClassVar[int] = 2
    near_radius: ClassVar[float] = 0.01
    success_distance: ClassVar[float] = 0.024

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The button's top."""
        return ((s.body("button") + s.vector(0.0, 0.0, 0.193), s.body_quaternion("button")),)


class ButtonPress(_FrontButton):
    """Press a button on the front of a box."""

    name: ClassVar[str] = "button-press-v3"
    near_radius: ClassVar[float] = 0.05
    success_distance: ClassVar[float] = 0.02

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Rewards reaching with an open gripper, and pressing."""
        return _reach_then_press(2.0, opening, near, 8.0, pressed, distance <= 0.05)


class ButtonPressWall(_FrontButton):
    """Press a button on the front of a box, behind a wall."""

    name: ClassVar[str] = "button-press-wall-v3"
    near_radius: ClassVar[float] = 0.01
    success_distance: ClassVar[float] = 0.03

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Rewards a closed gripper on the way to the button, and an open one at the button."""
        xp = namespace(opening)
        # 2 H((1 - opening) / 2, near) if distance > 0.07 else 2 + 2 (1 + opening) + 4 pressed²
        reaching = 2 * hamacher_product((1 - opening) / 2, near)
        return xp.where(distance > 0.07, reaching, 2 + 2 * (1 + opening) + 4 * pressed * pressed)


class ButtonPressTopdown(_TopButton):
    """Press a button on the top of a box."""

    name: ClassVar[str] = "button-press-topdown-v3"

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Rewards reaching with a closed gripper, and pressing."""
        return _reach_then_press(5.0, 1 - opening, near, 5.0, pressed, distance <= 0.03)


class ButtonPressTopdownWall(_TopButton):
    """Press a button on the top of a box, behind a wall."""

    name: ClassVar[str] = "button-press-topdown-wall-v3"

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Rewards reaching with an open gripper, unlike without the wall, and pressing."""
        return _reach_then_press(5.0, opening, near, 5.0, pressed, distance <= 0.03)


class CoffeeButton(_Button):
    """Press the button of a coffee machine."""

    name: ClassVar[str] = "coffee-button-v3"
    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "max_dist")
    travel: ClassVar[str] = "max_dist"
    axis: ClassVar[int] = 1
    near_radius: ClassVar[float] = 0.05
    success_distance: ClassVar[float] = 0.02

    def objects(self, s: Snapshot) -> tuple[tuple[Array, Array], ...]:
        """The button, with the orientation (1, 0, 0, 0)."""
        xp = namespace(s.actions)
        return ((s.site("buttonStart"), xp.broadcast_to(s.vector(1.0, 0.0, 0.0, 0.0), (s.actions.shape[0], 4))),)

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """Rewards reaching with an open gripper, and pressing."""
        return _reach_then_press(2.0, opening, near, 8.0, pressed, distance <= 0.05)


def _reach_then_press(
    reach_weight: float, gripper: Array, near: Array, press_weight: float, pressed: Array, touching: Array
) -> Array:
    """Rewards reaching with the gripper as it should be (1, else down to 0), and pressing the touched button."""
    xp = namespace(near)
    # reach_weight H(gripper, near) + [touching] press_weight pressed
    return reach_weight * hamacher_product(gripper, near) + xp.where(touching, press_weight * pressed, 0.0)
