"""Pressing buttons: on a box from the front or from above, freely or past a wall, and on a coffee machine."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import hamacher_product, nearness, norm
from metarl_envs.metaworld.gripping import is_open
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass


class _Button(TaskClass):
    """A button that travels along one axis into a hole. Subclasses say how reaching and pressing are weighed."""

    constants: ClassVar[tuple[str, ...]] = ("_target_pos", "init_tcp", "_obj_to_target_init")
    travel: ClassVar[str] = "_obj_to_target_init"
    """The constant that says how far the button can be pressed, in metres."""
    axis: ClassVar[int]
    """The axis along which it is pressed."""
    near_radius: ClassVar[float]
    """Distance from the tool centre point to the button within which it counts as reached."""
    success_distance: ClassVar[float]
    """How far from the hole the button may stay."""

    @abstractmethod
    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """The reward, from the gripper's opening, the distance to the button, its nearness and how far it is in."""

    def outcome(self, s: Snapshot) -> Outcome:
        """Reaching the button, then pressing it."""
        xp = namespace(s.actions)
        button = s.observations[:, 4:7]
        distance = norm(button - s.tcp)
        to_target = xp.abs(s.constant("_target_pos")[:, self.axis] - button[:, self.axis])
        near = nearness(distance, self.near_radius, norm(button - s.constant("init_tcp")))
        pressed = nearness(to_target, 0.005, s.constant(self.travel))
        return Outcome(
            reward=self.reward(s.observations[:, 3], distance, near, pressed),
            success=to_target <= self.success_distance,
            near_object=distance <= 0.05,
            grasp_reward=near,
            in_place_reward=pressed,
            obj_to_target=to_target,
        )

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`: the gripper is open."""
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
        """See `_Button`."""
        return _reach_then_press(2.0, opening, near, 8.0, pressed, distance <= 0.05)


class ButtonPressWall(_FrontButton):
    """Press a button on the front of a box, behind a wall."""

    name: ClassVar[str] = "button-press-wall-v3"
    near_radius: ClassVar[float] = 0.01
    success_distance: ClassVar[float] = 0.03

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """See `_Button`: closed on the way there, open once there."""
        xp = namespace(opening)
        reaching = 2 * hamacher_product((1 - opening) / 2, near)
        return xp.where(distance > 0.07, reaching, 2 + 2 * (1 + opening) + 4 * pressed * pressed)


class ButtonPressTopdown(_TopButton):
    """Press a button on the top of a box."""

    name: ClassVar[str] = "button-press-topdown-v3"

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """See `_Button`."""
        return _reach_then_press(5.0, 1 - opening, near, 5.0, pressed, distance <= 0.03)


class ButtonPressTopdownWall(_TopButton):
    """Press a button on the top of a box, behind a wall."""

    name: ClassVar[str] = "button-press-topdown-wall-v3"

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """See `_Button`; unlike without the wall, the gripper is to be open."""
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
        """The button, unturned."""
        xp = namespace(s.actions)
        return ((s.site("buttonStart"), xp.broadcast_to(s.vector(1.0, 0.0, 0.0, 0.0), (s.actions.shape[0], 4))),)

    def reward(self, opening: Array, distance: Array, near: Array, pressed: Array) -> Array:
        """See `_Button`."""
        return _reach_then_press(2.0, opening, near, 8.0, pressed, distance <= 0.05)


def _reach_then_press(
    reach_weight: float, gripper: Array, near: Array, press_weight: float, pressed: Array, touching: Array
) -> Array:
    """Being near with the gripper as it should be (0 to 1), and pressing as soon as the button is touched."""
    xp = namespace(near)
    return reach_weight * hamacher_product(gripper, near) + xp.where(touching, press_weight * pressed, 0.0)
