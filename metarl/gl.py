"""Choice of the OpenGL backend that MuJoCo draws with on a machine without a screen, by trial."""

import os
import subprocess
import sys
import tempfile
from functools import cache

from metarl_envs.errors import UserError, unknown

HEADLESS_BACKENDS = ("egl", "osmesa")
"""Backends that draw without a display, fastest first."""

PACKAGES = "apt-get install libegl1 libgl1-mesa-dri libopengl0"
"""Command that installs both on Debian and its relatives."""

_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string(
    "<mujoco><worldbody><light pos='0 0 2'/><geom size='.1' rgba='1 0 0 1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 16, 16) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any()
"""


def choose_backend() -> str | None:
    """Chooses an OpenGL backend that works on this machine and sets `MUJOCO_GL` and `PYOPENGL_PLATFORM` to it.

    If `MUJOCO_GL` is set, only that backend is tried; otherwise EGL, then OSMesa. Gymnasium reads the variable at the
    first frame: call this function before.

    Returns:
        Name of the backend: "egl", "osmesa" or "glfw"; None on systems other than Linux, where MuJoCo needs no choice.

    Raises:
        UserError: If no backend works, or the one that `MUJOCO_GL` names does not exist or does not work.
    """
    if sys.platform != "linux":
        return None
    wanted = os.environ.get("MUJOCO_GL", "").strip().lower()
    if wanted and wanted not in (*HEADLESS_BACKENDS, "glfw"):
        raise unknown("MUJOCO_GL", wanted, (*HEADLESS_BACKENDS, "glfw"))
    for backend in (wanted,) if wanted else HEADLESS_BACKENDS:
        if can_draw(backend):
            os.environ.update(_variables(backend))
            return backend
    if wanted:
        raise UserError(f"MUJOCO_GL={wanted} does not draw on this machine; unset it and EGL or OSMesa will be chosen")
    raise UserError(f"neither EGL nor OSMesa draws on this machine; on Debian or Ubuntu: {PACKAGES}")


@cache
def can_draw(backend: str) -> bool:
    """Returns true if MuJoCo draws a red ball with this backend; tries in another process, as failures leave traces."""
    with tempfile.TemporaryDirectory() as folder:  # MuJoCo may write its log there
        try:
            probe = subprocess.run(  # noqa: S603  (our own interpreter and text)
                [sys.executable, "-c", _PROBE],
                env={**os.environ, **_variables(backend)},
                cwd=folder,
                capture_output=True,
                timeout=120,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return probe.returncode == 0


def _variables(backend: str) -> dict[str, str]:
    """Returns environment variables that make MuJoCo and PyOpenGL use one backend; PyOpenGL has no GLFW platform."""
    return {"MUJOCO_GL": backend} | ({} if backend == "glfw" else {"PYOPENGL_PLATFORM": backend})
