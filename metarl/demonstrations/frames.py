"""Frames of demonstrations: their actions are played again in an environment that draws."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from metarl.demonstrations.data import FRAME_SIZE, Demonstration
from metarl.errors import RunFailure
from metarl.gl import choose_backend
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.scenes import Scene, check_camera

if TYPE_CHECKING:
    from metarl_envs.painting import Painter

VIEW = "view"
"""Name of the camera that shows robot and table, where films are taken from."""
SAME = 1e-5
"""Largest difference between observations that are recorded and played again; float32 rounds by less."""


class Frames:
    """Context that draws the observations of demonstrations, without shadows and without marks, which show the goal.

    Only one of a process may be in use, and no lens beside it: MuJoCo mixes up the frames of several OpenGL contexts.

    Args:
        distribution: Family of the tasks.
        cameras: Names of the cameras, `VIEW` or those of MuJoCo's model.
        every: Steps from one picture to the next; between them stands the last one, as of a camera slower than the
            control.

    Raises:
        UserError: On entering, if MuJoCo finds no OpenGL backend, or the family is not simulated by MuJoCo.
    """

    def __init__(self, distribution: TaskDistribution, cameras: Sequence[str], every: int = 1) -> None:
        self._distribution, self._cameras, self._every = distribution, tuple(cameras), every
        self._painter: Painter | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Frames:
        choose_backend()
        self._env = self._distribution.make_env(1, render_mode="rgb_array")
        self._stack.callback(self._env.close)
        self._stack.callback(self._close_painter)
        # One step further, as the state after the last step would be that of the next episode.
        self._env.horizon += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add_to(self, shown: Demonstration) -> Demonstration:
        """Returns a demonstration with frames.

        Raises:
            UserError: If there is no such camera.
            RunFailure: If the simulation does not come out as it was recorded.
        """
        self._env.set_tasks([shown.task])
        seen, _ = self._env.reset(seed=[0])
        frames = np.empty((len(shown) + 1, len(self._cameras), FRAME_SIZE, FRAME_SIZE, 3), dtype=np.uint8)
        frames[0] = self._draw(self._env)
        for step, action in enumerate(shown.actions):
            seen, *_ = self._env.step(action[None])
            frames[step + 1] = frames[step] if (step + 1) % self._every else self._draw(self._env)
        if np.abs(seen[0] - shown.observations[-1]).max() > SAME:
            raise RunFailure(f"{shown.task} comes out differently when it is played again for its frames")
        return replace(shown, frames=frames)

    def _draw(self, env: TaskVectorEnv) -> npt.NDArray[np.uint8]:
        scene = env.scene()
        if scene is None:
            raise UserError(f"{self._distribution.name} is not simulated by MuJoCo: there are no frames of it")
        scene = scene._replace(marks=())
        painter = self._painter_of(scene)
        return np.stack([painter.draw(scene, None if name == VIEW else name) for name in self._cameras])

    def _painter_of(self, scene: Scene) -> Painter:
        from metarl_envs.painting import Painter  # here, as it loads MuJoCo

        if self._painter is None or self._painter.model is not scene.model:
            self._close_painter()
            for name in self._cameras:
                if name != VIEW:
                    check_camera(scene, name, self._distribution.name)
            self._painter = Painter(scene, FRAME_SIZE, shaded=False)
        return self._painter

    def _close_painter(self) -> None:
        if self._painter is not None:
            self._painter.close()
            self._painter = None
