"""Rendering of robots without a screen."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

from metarl_envs.core import FloatArray

FRAME_SIZE = 480
"""Width and height of a frame, in pixels."""

_TRACKING = "track"
_FREE = -1
_DISTANCE, _AZIMUTH, _ELEVATION = 9.0, 90.0, -40.0  # metres and degrees
_LANDMARK_RADIUS = 0.2
_LANDMARK_COLOUR = (0.1, 1.0, 0.2, 0.5)


class RobotCamera:
    """Follows the robot from the side, by its model's own camera; with a landmark, shows the whole area from above.

    A process draws wrongly with several OpenGL contexts, so close one camera before making the next.

    Args:
        model: The simulator's model.
        data: State of any simulation of the model.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._viewer: Any = OffScreenViewer(model, data, FRAME_SIZE, FRAME_SIZE)
        self._tracking = model.camera(_TRACKING).id
        camera = self._viewer.cam
        camera.lookat[:] = 0.0
        camera.distance, camera.azimuth, camera.elevation = _DISTANCE, _AZIMUTH, _ELEVATION

    def draw(self, data: mujoco.MjData, landmark: FloatArray | None) -> npt.NDArray[np.uint8]:
        """Draws a robot.

        Args:
            data: State to draw, of the same model.
            landmark: Position to mark by a green ball, `(3,)` in metres, or None.

        Returns:
            A frame `(height, width, 3)`, red, green and blue, the first row on top.
        """
        self._viewer.make_context_current()
        self._viewer.data = data
        if landmark is not None:
            self._viewer.add_marker(
                type=mujoco.mjtGeom.mjGEOM_SPHERE,
                size=np.full(3, _LANDMARK_RADIUS),
                pos=landmark,
                rgba=np.array(_LANDMARK_COLOUR, dtype=np.float32),
            )
        frame: npt.NDArray[np.uint8] = self._viewer.render(
            "rgb_array", camera_id=self._tracking if landmark is None else _FREE
        )
        return np.ascontiguousarray(frame)  # Gymnasium returns a view with reversed rows

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()
