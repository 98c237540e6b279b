"""Draws a Meta-World scene without a screen, and arranges it for MuJoCo's viewer."""

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

FRAME_SIZE = 480
"""Width and height of a frame, in pixels."""

_LOOK_AT = (-0.02, 0.64, 0.18)
_DISTANCE, _AZIMUTH, _ELEVATION = 1.6, 143.0, -30.0  # metres and degrees
_GOAL_RADIUS = 0.04
_GOAL_COLOUR = (0.1, 1.0, 0.2, 0.5)


class SceneCamera:
    """Looks from the robot's right at the robot and the table, and shows the hidden goal as a green ball.

    Meta-World's own cameras are not used: "corner2" stands on its head and the others miss the table or the robot. Nor
    are its goal markers: a step moves them back to where the model file has them, and some do not mark the goal.

    A process draws wrongly with several OpenGL contexts, so close one camera before making the next.

    Args:
        model: The simulator's model.
        data: The simulator's state, read whenever a frame is drawn.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._viewer: Any = OffScreenViewer(model, data, FRAME_SIZE, FRAME_SIZE)
        self._viewer.vopt.sitegroup[:] = 0
        _aim(self._viewer.cam)

    def draw(self, goal: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Draws the scene as it is.

        Args:
            goal: Where the goal is, `(3,)` in metres.

        Returns:
            A frame `(height, width, 3)`, red, green and blue, the first row on top.
        """
        self._viewer.make_context_current()
        self._viewer.add_marker(
            type=mujoco.mjtGeom.mjGEOM_SPHERE,
            size=np.full(3, _GOAL_RADIUS),
            pos=goal,
            rgba=np.array(_GOAL_COLOUR, dtype=np.float32),
        )
        frame: npt.NDArray[np.uint8] = self._viewer.render("rgb_array")
        return np.ascontiguousarray(frame)  # Gymnasium's is a view with its rows in reverse

    def close(self) -> None:
        """Gives the OpenGL context back."""
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()


def arrange_viewer(viewer: Any, goal: npt.NDArray[np.float64]) -> None:
    """Shows in MuJoCo's viewer what `SceneCamera` shows; one can look around from there.

    Args:
        viewer: The handle that `mujoco.viewer.launch_passive` gave.
        goal: Where the goal is, `(3,)` in metres.
    """
    with viewer.lock():
        viewer.opt.sitegroup[:] = 0
        _aim(viewer.cam)
        size, colour = np.full(3, _GOAL_RADIUS), np.array(_GOAL_COLOUR, dtype=np.float32)
        mujoco.mjv_initGeom(
            viewer.user_scn.geoms[0], mujoco.mjtGeom.mjGEOM_SPHERE, size, goal, np.eye(3).flatten(), colour
        )
        viewer.user_scn.ngeom = 1


def _aim(camera: mujoco.MjvCamera) -> None:
    camera.lookat[:] = _LOOK_AT
    camera.distance, camera.azimuth, camera.elevation = _DISTANCE, _AZIMUTH, _ELEVATION
