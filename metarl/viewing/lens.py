"""Pictures of the only environment of a vector, at any size and from any of its cameras."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from metarl.gl import choose_backend
from metarl_envs.core import TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.scenes import Scene, check_camera

if TYPE_CHECKING:
    from metarl_envs.painting import Painter

Frame = npt.NDArray[np.uint8]
"""Picture `(height, width, 3)`, red, green and blue in 0..255, first row on top."""


class Lens:
    """Draws the only environment of a vector: what MuJoCo simulates from a view or camera, other things as they do.

    Only one lens of a process may have drawn and not be closed: MuJoCo mixes up the frames of several OpenGL contexts.

    Args:
        env: Environment that was made to render.
        name: Name of the tasks, for messages.
        size: Width and height of pictures, in pixels; pictures that are not square keep their shape within it.
        camera: Name of a camera of MuJoCo's model; None is the view that shows the task.
    """

    def __init__(self, env: TaskVectorEnv, name: str, size: int, camera: str | None = None) -> None:
        self._env, self._name, self._size, self._camera = env, name, size, camera
        self._painter: Painter | None = None
        if "mujoco" in sys.modules:  # only MuJoCo needs a backend, and reads the choice at the first frame
            choose_backend()

    def draw(self) -> Frame:
        """Draws the environment as it is now.

        Raises:
            UserError: If there is no such camera.
        """
        scene = self._env.scene()
        if self._camera is not None:
            if scene is None:
                raise UserError(f"{self._name} is not simulated by MuJoCo and has no cameras: leave --camera out")
            check_camera(scene, self._camera, self._name)
        if scene is not None and (scene.view is not None or self._camera is not None):
            return self._paint(scene)
        (picture,) = self._env.render()
        height, width = picture.shape[:2]
        scale = self._size / max(height, width)
        if scale == 1:
            return np.asarray(picture, dtype=np.uint8)
        smooth = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.NEAREST
        shape = (max(1, round(width * scale)), max(1, round(height * scale)))
        return np.asarray(Image.fromarray(picture).resize(shape, smooth))

    def _paint(self, scene: Scene) -> Frame:
        from metarl_envs.painting import Painter  # here, as it loads MuJoCo

        if self._painter is None or self._painter.model is not scene.model:
            self.close()
            self._painter = Painter(scene, self._size)
        return self._painter.draw(scene, self._camera)

    def close(self) -> None:
        """Frees the OpenGL context."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None
