"""What Meta-World's observations and rewards are computed from: the environments of one class, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from array_api_compat import device

from metarl_envs.arrays import Array, namespace


class Names(NamedTuple):
    """Indices of a model's things by name; joints by the index of their first number in `qpos`."""

    body: Mapping[str, int]
    geom: Mapping[str, int]
    site: Mapping[str, int]
    joint: Mapping[str, int]


@dataclass
class Snapshot:
    """The environments of one class after a step; every array has the leading axis `env`.

    Arrays of the simulation have MuJoCo's names and are there only if the class lists them in `arrays`.
    """

    names: Names
    simulation: Mapping[str, Array]
    """MuJoCo's arrays by name, such as `xpos` `(env, body, 3)`, `geom_xmat` `(env, geom, 9)` or `qpos` `(env, nq)`."""
    constants: Mapping[str, Array]
    """Attributes of Meta-World's environment object after its reset, by name."""
    actions: Array
    """`(env, 4)`, as given, not clipped."""
    observations: Any = None
    """`(env, 39)`; set as soon as they are made, from this snapshot."""
    touching: Any = None
    """`(env,)`, whether both pads press on Meta-World's main object; only where it is needed (`TaskClass.touching`)."""

    def constant(self, name: str) -> Array:
        """An attribute that Meta-World's environment object has after its reset: `(env,)` or `(env, n)`."""
        return self.constants[name]

    def body(self, name: str) -> Array:
        """Position of a body's frame, in metres: `(env, 3)` (Meta-World's `get_body_com`)."""
        return self.simulation["xpos"][:, self.names.body[name]]

    def body_quaternion(self, name: str) -> Array:
        """Orientation of a body as MuJoCo has it (w, x, y, z): `(env, 4)`."""
        return self.simulation["xquat"][:, self.names.body[name]]

    def body_matrix(self, name: str) -> Array:
        """Orientation of a body: `(env, 3, 3)`."""
        return self._matrix("xmat", self.names.body[name])

    def geom(self, name: str) -> Array:
        """Position of a geom's centre: `(env, 3)`."""
        return self.simulation["geom_xpos"][:, self.names.geom[name]]

    def geom_matrix(self, name: str) -> Array:
        """Orientation of a geom: `(env, 3, 3)`."""
        return self._matrix("geom_xmat", self.names.geom[name])

    def site(self, name: str) -> Array:
        """Position of a site: `(env, 3)`."""
        return self.simulation["site_xpos"][:, self.names.site[name]]

    def site_matrix(self, name: str) -> Array:
        """Orientation of a site: `(env, 3, 3)`."""
        return self._matrix("site_xmat", self.names.site[name])

    def joint(self, name: str) -> Array:
        """Position of a joint with one degree of freedom, in radians or metres: `(env,)`."""
        return self.simulation["qpos"][:, self.names.joint[name]]

    @cached_property
    def tcp(self) -> Array:
        """The tool centre point, midway between the fingertips: `(env, 3)`."""
        return (self.site("rightEndEffector") + self.site("leftEndEffector")) / 2

    def vector(self, *values: float) -> Array:
        """A constant vector that broadcasts over environments: `(1, n)`."""
        xp = namespace(self.actions)
        return xp.asarray([values], dtype=self.actions.dtype, device=device(self.actions))

    def _matrix(self, array: str, index: int) -> Array:
        values = self.simulation[array][:, index]
        return values.reshape((values.shape[0], 3, 3))
