"""Rendering of Meta-World scenes without a screen, and the same view for MuJoCo's viewer."""

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
    """Camera that looks at robot and table from the robot's right, and shows the hidden goal as a green ball.

    Replaces Meta-World's cameras: "corner2" is upside down, and the others miss the table or the robot. Replaces its
    goal markers too: a step moves them back to their places in the model file, and some do not mark the goal.

    A process draws wrongly with several OpenGL contexts, so close one camera before making the next.

    Args:
        model: The simulator's model.
        data: The simulator's data, read for each frame.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._viewer: Any = OffScreenViewer(model, data, FRAME_SIZE, FRAME_SIZE)
        self._viewer.vopt.sitegroup[:] = 0
        _aim(self._viewer.cam)

    def draw(self, goal: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
        """Draws the scene.

        Args:
            goal: Position of the goal, `(3,)` in metres.

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
        return np.ascontiguousarray(frame)  # Gymnasium returns a view with reversed rows

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()


def arrange_viewer(viewer: Any, goal: npt.NDArray[np.float64]) -> None:
    """Gives MuJoCo's viewer the view of `SceneCamera`; the user can look around from there.

    Args:
        viewer: Handle from `mujoco.viewer.launch_passive`.
        goal: Position of the goal, `(3,)` in metres.
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
