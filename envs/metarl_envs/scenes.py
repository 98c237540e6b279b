"""What there is to see of an environment that MuJoCo simulates: model, state, view, and marks such as a hidden goal."""

from __future__ import annotations

from typing import Any, NamedTuple

from metarl_envs.errors import UserError

Position = tuple[float, float, float]
"""x, y and z in metres."""
Colour = tuple[float, float, float, float]
"""Red, green, blue and opacity, each 0 to 1."""

GOAL: Colour = (0.1, 1.0, 0.2, 0.5)
"""Colour of what the task asks for."""
ACTUAL: Colour = (0.15, 0.45, 1.0, 0.9)
"""Colour of what the robot does about it."""


class Mark(NamedTuple):
    """A ball, or an arrow to somewhere, drawn into a scene."""

    position: Position
    """Centre of the ball, or where the arrow begins."""
    radius: float
    """Radius of the ball, or of the arrow's shaft, in metres."""
    colour: Colour = GOAL
    tip: Position | None = None
    """Where the arrow ends; None for a ball."""


class View(NamedTuple):
    """Where a camera looks, and from where."""

    look_at: Position
    distance: float
    """Distance of the camera, in metres."""
    azimuth: float
    """Direction in which the camera looks, in degrees from the x-axis."""
    elevation: float
    """Angle upwards in which the camera looks, in degrees."""
    body: int | None = None
    """Index of a body that the camera moves with, in x and y; None for a camera that stands."""


class Scene(NamedTuple):
    """An environment that MuJoCo simulates, as it is now."""

    model: Any
    """`mujoco.MjModel`"""
    data: Any
    """`mujoco.MjData`"""
    view: View | None = None
    """View that shows the task; None where the environment draws its own pictures."""
    marks: tuple[Mark, ...] = ()
    """What is not in the model, such as a hidden goal."""
    sites: bool = True
    """True if the model's sites are to be seen; Meta-World's stand in wrong places."""


def check_camera(scene: Scene, name: str, of: str) -> None:
    """Checks that the model has a camera.

    Args:
        scene: Scene whose model is asked.
        name: Name of the camera.
        of: Name of the tasks, for the message.

    Raises:
        UserError: If there is none of that name, with those that there are.
    """
    names = cameras(scene)
    if name not in names:
        there = f"it has {', '.join(names)}" if names else "its model has none: leave --camera out"
        raise UserError(f"{of} has no camera '{name}': {there}")


def cameras(scene: Scene) -> list[str]:
    """Returns the names of the model's cameras."""
    return [name for index in range(scene.model.ncam) if (name := scene.model.camera(index).name)]
