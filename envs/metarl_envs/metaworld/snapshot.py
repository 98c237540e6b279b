"""Environments of one class after a step, as Meta-World's observations and rewards read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from array_api_compat import device

from metarl_envs.arrays import Array, namespace


class Names(NamedTuple):
    """Indices of a model's elements by name; a joint's is that of its first number in `qpos`."""

    body: Mapping[str, int]
    geom: Mapping[str, int]
    site: Mapping[str, int]
    joint: Mapping[str, int]


@dataclass
class Snapshot:
    """The environments of one class after a step; every array has the leading axis `env`.

    Positions are in metres. Three kinds of readings: columns of the observation (`hand`, `object`, ...), constants of
    the episode (`target`, `initial_object`, ...) and MuJoCo's arrays (`body`, `site`, ...). A class lists the
    constants and arrays that it reads in `TaskClass.constants` and `TaskClass.arrays`.
    """

    names: Names
    simulation: Mapping[str, Array]
    """MuJoCo's arrays by name, such as `xpos` `(env, body, 3)`, `geom_xmat` `(env, geom, 9)` or `qpos` `(env, nq)`."""
    constants: Mapping[str, Array]
    """Attributes of Meta-World's environment object after its reset, by name."""
    actions: Array
    """`(env, 4)`, as given, not clipped."""
    observations: Any = None
    """`(env, 39)`; None until they are made from this snapshot."""
    touching: Any = None
    """`(env,)`, true where both pads press on the main object; computed only as `TaskClass.touching` asks for it."""

    @property
    def hand(self) -> Array:
        """Observed position of the hand: `(env, 3)`."""
        return self.observations[:, :3]

    @property
    def gripper(self) -> Array:
        """Observed opening of the gripper, from 0 (shut) to 1 (open): `(env,)`."""
        return self.observations[:, 3]

    @property
    def object(self) -> Array:
        """Observed position of the first object: `(env, 3)`."""
        return self.observations[:, 4:7]

    @property
    def object_quaternion(self) -> Array:
        """Observed orientation of the first object: `(env, 4)`, in the order in which `TaskClass.objects` gives it."""
        return self.observations[:, 7:11]

    @property
    def second_object(self) -> Array:
        """Observed position of the second object: `(env, 3)`."""
        return self.observations[:, 11:14]

    @property
    def effort(self) -> Array:
        """Effort to close the gripper, the action's last component, not clipped: `(env,)`."""
        return self.actions[:, 3]

    @property
    def target(self) -> Array:
        """The hidden goal, constant `_target_pos`: `(env, 3)`."""
        return self.constants["_target_pos"]

    @property
    def target_radius(self) -> Array:
        """Distance from the target that counts as there, constant `TARGET_RADIUS`: `(env,)`."""
        return self.constants["TARGET_RADIUS"]

    @property
    def initial_object(self) -> Array:
        """Position of the object at the reset, constant `obj_init_pos`: `(env, 3)`."""
        return self.constants["obj_init_pos"]

    @property
    def initial_hand(self) -> Array:
        """Position of the hand at the reset, constant `hand_init_pos`: `(env, 3)`."""
        return self.constants["hand_init_pos"]

    @property
    def initial_tcp(self) -> Array:
        """Tool centre point at the reset, constant `init_tcp`: `(env, 3)`."""
        return self.constants["init_tcp"]

    def constant(self, name: str) -> Array:
        """Attribute that Meta-World's environment object has after its reset: `(env,)` or `(env, n)`."""
        return self.constants[name]

    @cached_property
    def tcp(self) -> Array:
        """The tool centre point, midway between the fingertips: `(env, 3)`."""
        return (self.site("rightEndEffector") + self.site("leftEndEffector")) / 2

    @property
    def left_pad(self) -> Array:
        """Position of the left finger's pad: `(env, 3)`."""
        return self.body("leftpad")

    @property
    def right_pad(self) -> Array:
        """Position of the right finger's pad: `(env, 3)`."""
        return self.body("rightpad")

    def body(self, name: str) -> Array:
        """Position of a body's frame (Meta-World's `get_body_com`): `(env, 3)`."""
        return self.simulation["xpos"][:, self.names.body[name]]

    def body_quaternion(self, name: str) -> Array:
        """Orientation of a body as MuJoCo stores it (w, x, y, z): `(env, 4)`."""
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

    def vector(self, *values: float) -> Array:
        """Vector that broadcasts over environments: `(1, n)`."""
        return _vector(namespace(self.actions), values, self.actions.dtype, device(self.actions))

    def _matrix(self, array: str, index: int) -> Array:
        values = self.simulation[array][:, index]
        return values.reshape((values.shape[0], 3, 3))


@cache
def _vector(xp: Any, values: tuple[float, ...], dtype: Any, device: Any) -> Array:
    return xp.asarray([values], dtype=dtype, device=device)
