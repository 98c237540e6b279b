"""MuJoCo's scenes in a browser: the model's geoms as meshes, moved as the simulation moves them."""

from __future__ import annotations

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
    if kind == mujoco.mjtGeom.mjGEOM_PLANE:
        half = [extent or _PLANE_SIZE for extent in size[:2]]
        solid = trimesh.creation.box((2 * half[0], 2 * half[1], 0.001))
    elif kind == mujoco.mjtGeom.mjGEOM_BOX:
        solid = trimesh.creation.box(2 * size)
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        solid = trimesh.creation.icosphere(2, size[0])
    elif kind == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        solid = trimesh.creation.icosphere(2, 1.0).apply_scale(size)
    elif kind == mujoco.mjtGeom.mjGEOM_CYLINDER:
        solid = trimesh.creation.cylinder(size[0], 2 * size[1])
    elif kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
        solid = trimesh.creation.capsule(2 * size[1], size[0])
        solid.apply_translation(-solid.bounds.mean(axis=0))  # whatever its origin is, MuJoCo's is the centre
    else:
        return None
    return solid


def geom_colour(model: mujoco.MjModel, geom: int) -> tuple[float, ...]:
    """Returns red, green, blue and opacity of a geom, 0 to 1: its own, or else its material's."""
    colour, material = tuple(map(float, model.geom_rgba[geom])), model.geom_matid[geom]
    return tuple(map(float, model.mat_rgba[material])) if material >= 0 and np.allclose(colour, _UNSET) else colour


class WebScene:
    """Scene in all browsers that show a server's page.

    Args:
        server: The server.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._model: mujoco.MjModel | None = None
        self._geoms: dict[int, Any] = {}
        self._marks = 0
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
            for number in range(max(self._marks, len(scene.marks))):
                self._mark(number, scene.marks[number] if number < len(scene.marks) else None)
            self._marks = len(scene.marks)

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
            )
        view = scene.view or _overview(model)
        self._aim(view, scene.data)

    def _aim(self, view: View, data: mujoco.MjData) -> None:
        look_at = np.array(view.look_at)
        if view.body is not None:
            look_at[:2] += data.xpos[view.body, :2]
        azimuth, elevation = np.radians([view.azimuth, view.elevation])
        direction = (np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation))
        # The camera stands behind what it looks at: position = look_at - distance * direction.
        position = look_at - view.distance * np.array(direction)
        camera = self._server.initial_camera
        camera.fov = float(np.radians(_FIELD_OF_VIEW))
        camera.position, camera.look_at = position, look_at
        for client in self._server.get_clients().values():
            client.camera.position, client.camera.look_at = position, look_at

    def _mark(self, number: int, mark: Mark | None) -> None:
        name = f"/marks/{number}"
        if mark is None:
            self._server.scene.remove_by_name(name)
            return
        colour = (mark.colour[0], mark.colour[1], mark.colour[2])
        if mark.tip is None:
            self._server.scene.add_icosphere(name, mark.radius, colour, opacity=mark.colour[3], position=mark.position)
        else:
            points = np.array([[mark.position, mark.tip]], dtype=np.float32)
            self._server.scene.add_line_segments(name, points, colour, thickness=2 * mark.radius)


def _overview(model: mujoco.MjModel) -> View:
    """Returns MuJoCo's default view of a model."""
    camera = mujoco.MjvCamera()
    mujoco.mjv_defaultFreeCamera(model, camera)
    x, y, z = camera.lookat.tolist()
    return View((x, y, z), camera.distance, camera.azimuth, camera.elevation)
