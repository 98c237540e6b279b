"""MuJoCo's scenes in a browser: the model's geoms as meshes, moved as the simulation moves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import mujoco
import numpy as np
import numpy.typing as npt
import trimesh
import viser

from metarl_envs.scenes import Mark, Scene, View

_PLANE_SIZE = 20.0
"""Half the width of a plane without an end, in metres."""
_UNSET = (0.5, 0.5, 0.5, 1.0)
"""Colour of a geom that names none, so that its material's counts."""
_FIELD_OF_VIEW = 45.0
"""Of MuJoCo's free camera, in degrees."""
_FURTHER = 1.4
"""Distance of the camera over that in films, since the controls cover a part of the page."""


class Mesh(NamedTuple):
    """Triangles of a geom in its own frame."""

    vertices: npt.NDArray[np.float64]
    """`(vertex, 3)` in metres."""
    faces: npt.NDArray[np.int64]
    """`(face, 3)`, indices of vertices."""


def geom_mesh(model: mujoco.MjModel, geom: int) -> Mesh | None:
    """Returns the triangles of a geom; None for a type that is not drawn, such as a height field."""
    size, kind = model.geom_size[geom], mujoco.mjtGeom(model.geom_type[geom])
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        mesh = model.geom_dataid[geom]
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        first_face, faces = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        return Mesh(model.mesh_vert[first : first + count], model.mesh_face[first_face : first_face + faces])
    solid = _solid(kind, size)
    return None if solid is None else Mesh(np.asarray(solid.vertices), np.asarray(solid.faces))


def _solid(kind: mujoco.mjtGeom, size: npt.NDArray[np.float64]) -> trimesh.Trimesh | None:
    solid: trimesh.Trimesh
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        half = [extent or _PLANE_SIZE for extent in size[:2]]
        solid = trimesh.creation.box((2 * half[0], 2 * half[1], 0.001))
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        solid = trimesh.creation.box(2 * size)
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        solid = trimesh.creation.icosphere(2, size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        solid = trimesh.creation.icosphere(2, 1.0)
        solid.vertices = solid.vertices * size
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        solid = trimesh.creation.cylinder(size[0], 2 * size[1])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        solid = trimesh.creation.capsule(2 * size[1], size[0])
        solid.apply_translation(-solid.bounds.mean(axis=0))  # whatever its origin is, MuJoCo's is the centre
    else:
        return None
    return solid


def geom_colour(model: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    """Returns red, green, blue and opacity of a geom, 0 to 1: its own, or its material's with the texture's mean."""
    colour, material = model.geom_rgba[geom].astype(float), int(model.geom_matid[geom])
    if material >= 0:
        if np.allclose(colour, _UNSET):
            colour = model.mat_rgba[material].astype(float)
        texture = int(model.mat_texid[material, int(mujoco.mjtTextureRole.mjTEXROLE_RGB)])
        if texture >= 0:
            colour[:3] *= _mean_colour(model, texture)
    return tuple(map(float, colour))


def _mean_colour(model: mujoco.MjModel, texture: int) -> npt.NDArray[np.float64]:
    """Returns the mean red, green and blue of a texture, 0 to 1."""
    channels = model.tex_nchannel[texture]
    size = model.tex_width[texture] * model.tex_height[texture] * channels
    pixels = model.tex_data[model.tex_adr[texture] : model.tex_adr[texture] + size].reshape(-1, channels)
    mean: npt.NDArray[np.float64] = pixels[:, :3].mean(0) / 255
    return mean


class WebScene:
    """Scene in all browsers that show a server's page.

    Args:
        server: The server.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._model: mujoco.MjModel | None = None
        self._geoms: dict[int, Any] = {}
        self._marks: list[tuple[Mark, Any]] = []
        server.scene.set_up_direction("+z")

    def show(self, scene: Scene) -> None:
        """Shows a scene as it is now; builds it where its model is another one than before."""
        with self._server.atomic():
            if scene.model is not self._model:
                self._build(scene)
            for geom, handle in self._geoms.items():
                position, rotation = scene.data.geom_xpos[geom], scene.data.geom_xmat[geom]
                quaternion = np.empty(4)
                mujoco.mju_mat2Quat(quaternion, rotation)
                if not np.array_equal(position, handle.position):
                    handle.position = position.copy()
                if not np.array_equal(quaternion, handle.wxyz):
                    handle.wxyz = quaternion
            self._place_marks(scene.marks)

    def _build(self, scene: Scene) -> None:
        for handle in self._geoms.values():
            handle.remove()
        self._geoms = {}
        self._model = model = scene.model
        shown = mujoco.MjvOption().geomgroup
        for geom in range(model.ngeom):
            *colour, opacity = geom_colour(model, geom)
            mesh = geom_mesh(model, geom)
            if mesh is None or opacity == 0 or not shown[model.geom_group[geom]]:
                continue
            self._geoms[geom] = self._server.scene.add_mesh_simple(
                f"/geoms/{geom}",
                np.asarray(mesh.vertices, dtype=np.float32),
                np.asarray(mesh.faces, dtype=np.uint32),
                color=(colour[0], colour[1], colour[2]),
                opacity=None if opacity == 1 else opacity,
                flat_shading=True,
                side="double",
                cast_shadow=bool(model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_PLANE),
            )
        if any(model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE):  # on which one sees the robot move
            self._server.scene.add_grid("/floor", infinite_grid=True, position=(0.0, 0.0, 0.002))
        view = scene.view or _overview(model)
        self._aim(view, scene.data)

    def _aim(self, view: View, data: mujoco.MjData) -> None:
        look_at = np.array(view.look_at)
        if view.body is not None:
            look_at[:2] += data.xpos[view.body, :2]
        azimuth, elevation = np.radians([view.azimuth, view.elevation])
        direction = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
        # The camera stands behind what it looks at: position = look_at - distance * direction.
        position = look_at - _FURTHER * view.distance * np.array(direction)
        camera = self._server.initial_camera
        camera.fov = float(np.radians(_FIELD_OF_VIEW))
        camera.position, camera.look_at = position, look_at
        for client in self._server.get_clients().values():
            client.camera.position, client.camera.look_at = position, look_at

    def _place_marks(self, marks: Sequence[Mark]) -> None:
        """Moves the marks where they only move, else makes them anew."""
        if [_kind(mark) for mark in marks] != [_kind(mark) for mark, _ in self._marks]:
            for _, handle in self._marks:
                handle.remove()
            self._marks = [(mark, self._add(f"/marks/{number}", mark)) for number, mark in enumerate(marks)]
            return
        for number, (mark, (before, handle)) in enumerate(zip(marks, self._marks, strict=True)):
            if mark == before:
                continue
            if mark.tip is None:
                handle.position = np.array(mark.position)
            else:
                handle.points = _segment(mark)
            self._marks[number] = (mark, handle)

    def _add(self, name: str, mark: Mark) -> Any:
        colour = (mark.colour[0], mark.colour[1], mark.colour[2])
        if mark.tip is None:
            return self._server.scene.add_icosphere(
                name, mark.radius, colour, opacity=mark.colour[3], position=mark.position
            )
        return self._server.scene.add_line_segments(name, _segment(mark), colour, thickness=2 * mark.radius)


def _kind(mark: Mark) -> tuple[Any, ...]:
    """Returns all of a mark but its place."""
    return mark.radius, mark.colour, mark.tip is None


def _segment(mark: Mark) -> npt.NDArray[np.float32]:
    return np.array([[mark.position, mark.tip]], dtype=np.float32)


def _overview(model: mujoco.MjModel) -> View:
    """Returns MuJoCo's default view of a model."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    x, y, z = camera.lookat.tolist()
    return View((x, y, z), camera.distance, camera.azimuth, camera.elevation)
