"""Pictures of MuJoCo's scenes without a screen, and the same view for MuJoCo's own viewer."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
from gymnasium.envs.mujoco.mujoco_rendering import OffScreenViewer

from metarl_envs.scenes import Mark, Scene, View

FRAME_SIZE = 480
"""Default width and height of a picture, in pixels."""

# MuJoCo's 4096 and 4 take 2.7 times as long to draw without a GPU, and look much the same.
_SHADOW_SIZE = 1024
"""Resolution of shadows, in pixels."""
_SAMPLES = 0
"""Number of samples per pixel for smooth edges; 0 is none."""


class Painter:
    """Draws scenes of one model, from the scene's own view or from a camera of the model.

    A process draws wrongly with several OpenGL contexts, so close one painter before making the next.

    Args:
        scene: Scene of the model to draw.
        size: Width and height of a picture, in pixels.
        shaded: False to leave out shadows and reflections, which take four fifths of the time without a GPU.
    """

    def __init__(self, scene: Scene, size: int = FRAME_SIZE, *, shaded: bool = True) -> None:
        model = scene.model
        self.model = model
        quality = model.vis.quality
        quality.shadowsize, quality.offsamples = _SHADOW_SIZE, _SAMPLES
        room = model.vis.global_  # MuJoCo draws into a buffer of at least this size
        room.offwidth, room.offheight = max(room.offwidth, size), max(room.offheight, size)
        self._viewer: Any = OffScreenViewer(model, scene.data, size, size)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._viewer.scn.flags[flag] = shaded
        if scene.view is None:
            mujoco.mjv_defaultFreeCamera(model, self._viewer.cam)

    def draw(self, scene: Scene, camera: str | None = None) -> npt.NDArray[np.uint8]:
        """Draws a scene.

        Args:
            scene: State to draw, of the same model, or of one that looks alike.
            camera: Name of a camera of the model; None is the scene's view, or MuJoCo's default without one.

        Returns:
            Picture `(height, width, 3)`, red, green and blue, the first row on top.
        """
        viewer = self._viewer
        viewer.make_context_current()
        viewer.model, viewer.data = scene.model, scene.data
        viewer.vopt.sitegroup[:] = _site_groups(scene)
        if scene.view is not None:
            _aim(viewer.cam, scene.view, scene.data)
        for mark in scene.marks:
            geom = mujoco.MjvGeom()
            _shape(geom, mark)
            viewer.add_marker(type=geom.type, size=geom.size, pos=geom.pos, mat=geom.mat.ravel(), rgba=geom.rgba)
        frame: npt.NDArray[np.uint8] = viewer.render(
            "rgb_array", camera_id=-1 if camera is None else scene.model.camera(camera).id
        )
        return np.ascontiguousarray(frame)  # Gymnasium returns a view with reversed rows

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._viewer.make_context_current()
        self._viewer.con.free()
        self._viewer.free()


def arrange_viewer(viewer: Any, scene: Scene, camera: str | None = None) -> None:
    """Gives MuJoCo's viewer a scene's view, or a camera of the model, and its marks; the user can look around.

    Args:
        viewer: Handle from `mujoco.viewer.launch_passive`.
        scene: Scene of the model that the viewer was opened on.
        camera: Name of a camera of the model; None is the scene's view.
    """
    with viewer.lock():
        viewer.opt.sitegroup[:] = _site_groups(scene)
        if camera is not None:
            viewer.cam.type, viewer.cam.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, scene.model.camera(camera).id
        elif scene.view is not None:
            _aim(viewer.cam, scene.view, scene.data)
            if scene.view.body is not None:
                viewer.cam.type, viewer.cam.trackbodyid = mujoco.mjtCamera.mjCAMERA_TRACKING, scene.view.body


def mark_in_viewer(viewer: Any, scene: Scene) -> None:
    """Moves the marks in MuJoCo's viewer to where the scene has them now."""
    with viewer.lock():
        for geom, mark in zip(viewer.user_scn.geoms, scene.marks, strict=False):
            _shape(geom, mark)
        viewer.user_scn.ngeom = len(scene.marks)


def _site_groups(scene: Scene) -> list[int]:
    default = [int(shown) for shown in mujoco.MjvOption().sitegroup]
    return default if scene.sites else [0] * len(default)


def _aim(camera: mujoco.MjvCamera, view: View, data: mujoco.MjData) -> None:
    camera.lookat[:] = view.look_at
    if view.body is not None:
        camera.lookat[:2] += data.xpos[view.body, :2]
    camera.distance, camera.azimuth, camera.elevation = view.distance, view.azimuth, view.elevation


def _shape(geom: mujoco.MjvGeom, mark: Mark) -> None:
    """Makes a geom show a mark."""
    kind = mujoco.mjtGeom.mjGEOM_SPHERE if mark.tip is None else mujoco.mjtGeom.mjGEOM_ARROW
    size, colour = np.full(3, mark.radius), np.array(mark.colour, dtype=np.float32)
    mujoco.mjv_initGeom(geom, kind, size, np.array(mark.position), np.eye(3).ravel(), colour)
    if mark.tip is not None:
        mujoco.mjv_connector(geom, kind, mark.radius, np.array(mark.position), np.array(mark.tip))
