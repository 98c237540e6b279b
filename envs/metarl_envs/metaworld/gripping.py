"""How well the gripper holds an object: the part that most of Meta-World's manipulation rewards share."""

from __future__ import annotations

from typing import ClassVar, Literal

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, hamacher_product, long_tail, nearness, norm
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching


def gripper_caging(
    s: Snapshot,
    object_position: Array,
    *,
    obj_radius: float,
    pad_success_thresh: float,
    object_reach_radius: float,
    xz_thresh: float,
    desired_gripper_effort: float = 1.0,
    density: Literal["low", "medium", "high"] = "low",
    initial_position: str = "obj_init_pos",
) -> Array:
    """How far the object is caged between the pads and gripped, 0 to 1 (`SawyerXYZEnv._gripper_caging_reward`).

    Reads the constants `init_tcp` and `initial_position`.

    Args:
        s: The environments.
        object_position: Where the object is, `(env, 3)`.
        obj_radius: Half the object's width along y, in metres.
        pad_success_thresh: Distance along y at which a pad is close enough.
        object_reach_radius: Distance at which the tool centre point is close enough ("medium" only).
        xz_thresh: Distance in the xz-plane at which the tool centre point is close enough.
        desired_gripper_effort: Effort that counts as closed.
        density: "high" averages with caging alone, "medium" with nearness.
        initial_position: Constant that says where the object was at first.
    """
    xp = namespace(object_position)
    initial = s.constant(initial_position)
    pads = xp.stack([s.body("leftpad")[:, 1], s.body("rightpad")[:, 1]])
    margins = xp.abs(xp.abs(pads - initial[:, 1]) - pad_success_thresh)
    sides = long_tail(xp.abs(pads - object_position[:, 1]), obj_radius, pad_success_thresh, margins)
    caging_y = hamacher_product(sides[0, :], sides[1, :])

    init_tcp = s.constant("init_tcp")
    xz_margin = norm((initial - init_tcp)[:, ::2]) - xz_thresh
    caging_xz = nearness(norm((s.tcp - object_position)[:, ::2]), xz_thresh, xz_margin)

    closed = clamp(s.actions[:, 3], 0.0, desired_gripper_effort) / desired_gripper_effort
    caging = hamacher_product(caging_y, caging_xz)
    gripping = xp.where(caging > 0.97, closed, 0.0)
    result = hamacher_product(caging, gripping)
    if density == "high":
        return (result + caging) / 2
    if density == "medium":
        margin = xp.abs(norm(initial - init_tcp) - object_reach_radius)
        return (result + nearness(norm(object_position - s.tcp), object_reach_radius, margin)) / 2
    return result


def nearest_on_handle(s: Snapshot, position: Array, half_length: float) -> Array:
    """Where to grip a long handle along x: the object's position, or beside the hand if that is on the handle."""
    xp = namespace(position)
    hand_x, x = s.observations[:, :1], position[:, :1]
    return xp.concat([xp.where(xp.abs(x - hand_x) < half_length, hand_x, x), position[:, 1:]], axis=1)


def is_open(s: Snapshot) -> Array:
    """Whether the gripper is not quite shut."""
    return s.observations[:, 3] > 0


def is_lifted(s: Snapshot, height: float, initial_position: str = "obj_init_pos") -> Array:
    """Whether the object is more than `height` metres above where it began, a constant."""
    return s.observations[:, 6] - height > s.constant(initial_position)[:, 2]


def is_picked_up(s: Snapshot) -> Array:
    """Whether both pads press on the object and it is 2 cm above where it began: the usual success of a grasp."""
    return s.touching & is_open(s) & is_lifted(s, 0.02)


class PickingUp(TaskClass):
    """A class whose grasp succeeds when its object is picked up."""

    touching: ClassVar[Touching] = "grasp_success"

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """See `TaskClass`."""
        return is_picked_up(s)
