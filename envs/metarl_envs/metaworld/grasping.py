"""Grasp terms of Meta-World's manipulation rewards: how well the gripper holds an object, in three forms.

`T` and `H` in the comments are `nearness` and `hamacher_product`, see `metarl_envs.metaworld.rewards`. The gripper
closes along y; xz is the plane across it.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.rewards import hamacher_product, long_tail, nearness
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import Outcome, TaskClass, Touching


def gripper_caging(
    s: Snapshot,
    position: Array,
    *,
    obj_radius: float,
    pad_success_thresh: float,
    xz_thresh: float,
    object_reach_radius: float = 0.01,
    desired_gripper_effort: float = 1.0,
    density: Literal["low", "medium", "high"] = "low",
    initial_position: Array | None = None,
) -> Array:
    """Grasp term that most classes share, 0 to 1: `SawyerXYZEnv._gripper_caging_reward`.

    Reads the constants `init_tcp` and, without `initial_position`, `obj_init_pos`.

    Args:
        s: The environments.
        position: Position of the object, `(env, 3)`.
        obj_radius: Half the object's width along y, in metres.
        pad_success_thresh: Distance along y at which a pad is close enough.
        xz_thresh: Distance in the xz-plane at which the tool centre point is close enough.
        object_reach_radius: Distance at which the tool centre point is close enough, for "medium".
        desired_gripper_effort: Effort that counts as closed.
        density: "low" rewards gripping, "high" caging too, and "medium" nearness too.
        initial_position: Position of the object at the reset, `(env, 3)`; None is `Snapshot.initial_object`.
    """
    xp = namespace(position)
    initial = s.initial_object if initial_position is None else initial_position
    pads = xp.stack([s.left_pad[:, 1], s.right_pad[:, 1]])
    # caging_y = H(side_left, side_right), where side = 1 if obj_radius <= |pad_y - object_y| <= pad_success_thresh,
    # and falls off outside with the margin ||pad_y - initial_y| - pad_success_thresh|
    margins = xp.abs(xp.abs(pads - initial[:, 1]) - pad_success_thresh)
    sides = long_tail(xp.abs(pads - position[:, 1]), obj_radius, pad_success_thresh, margins)
    caging_y = hamacher_product(sides[0, :], sides[1, :])

    # caging_xz = T(|tcp - object|_xz; xz_thresh, |initial - initial_tcp|_xz - xz_thresh)
    xz_margin = norm((initial - s.initial_tcp)[:, ::2]) - xz_thresh
    caging_xz = nearness(norm((s.tcp - position)[:, ::2]), xz_thresh, xz_margin)

    # caging = H(caging_y, caging_xz),  gripping = [caging > 0.97] clip(effort, 0, desired) / desired
    closed = clamp(s.effort, 0.0, desired_gripper_effort) / desired_gripper_effort
    caging = hamacher_product(caging_y, caging_xz)
    gripping = xp.where(caging > 0.97, closed, 0.0)
    # low: H(caging, gripping)
    gripped = hamacher_product(caging, gripping)
    if density == "high":
        # high: (H(caging, gripping) + caging) / 2
        return (gripped + caging) / 2
    if density == "medium":
        # medium: (H(caging, gripping) + T(|object - tcp|; reach, ||initial - initial_tcp| - reach|)) / 2
        margin = xp.abs(norm(initial - s.initial_tcp) - object_reach_radius)
        return (gripped + nearness(norm(position - s.tcp), object_reach_radius, margin)) / 2
    return gripped


def pick_place_caging(s: Snapshot, position: Array) -> Array:
    """Grasp term of pick-place, 0 to 1: a pad on the wrong side of the object counts as far from it.

    Takes the margins along y from the pads' present positions: Meta-World's `init_left_pad` and `init_right_pad` are
    views of the simulation that move with the pads.

    Args:
        s: The environments.
        position: Position of the object, `(env, 3)`.
    """
    xp = namespace(position)
    y = position[:, 1]
    # gap_left = left_y - object_y,  gap_right = object_y - right_y: negative on the wrong side
    gaps = xp.stack([s.left_pad[:, 1] - y, y - s.right_pad[:, 1]], axis=-1)
    # side = 1 if 0.015 <= gap <= 0.05, else it falls off with the margin ||gap| - 0.05|
    sides = long_tail(gaps, 0.015, 0.05, xp.abs(xp.abs(gaps) - 0.05))
    # caging_xz = T(|tcp - object|_xz; 0.005, |initial - initial_tcp|_xz - 0.005)
    margin = norm((s.initial_object - s.initial_tcp)[:, ::2]) - 0.005
    caging_xz = nearness(norm((s.tcp - position)[:, ::2]), 0.005, margin)
    # caging = H(H(side_left, side_right), caging_xz),  gripping = [caging > 0.97] clip(effort, 0, 1)
    caging = hamacher_product(hamacher_product(sides[:, 0], sides[:, 1]), caging_xz)
    gripping = xp.where(caging > 0.97, clamp(s.effort, 0.0, 1.0), 0.0)
    # (H(caging, gripping) + caging) / 2
    return (hamacher_product(caging, gripping) + caging) / 2


def pinching(s: Snapshot, position: Array, *, grip: float, xz: float) -> Array:
    """Grasp term of push-back, the sweeps and soccer, 0 to 1: the object is caged and pinched between the pads.

    Unlike `gripper_caging` it judges the grip by the pads' positions instead of the effort. It takes the margins along
    y from the pads' present positions: Meta-World's `init_left_pad` and `init_right_pad` are views of the simulation
    that move with the pads. Reads the constants `OBJ_RADIUS`, `obj_init_pos` and `init_tcp`.

    Args:
        s: The environments.
        position: Position of the object, `(env, 3)`.
        grip: Largest distance of a pinching pad from the object's surface, in metres.
        xz: Distance in the xz-plane at which the tool centre point is close enough.
    """
    xp = namespace(position)
    radius, reach = s.constant("OBJ_RADIUS")[:, None], 0.05
    y = position[:, 1]
    # gap_left = left_y - object_y,  gap_right = object_y - right_y;  margin = ||gap| - reach|
    gaps = xp.stack([s.left_pad[:, 1] - y, y - s.right_pad[:, 1]], axis=-1)
    margins = xp.abs(xp.abs(gaps) - reach)
    # caged = 1 if radius <= gap <= reach,  pinched = 1 if radius <= gap <= radius + grip, else they fall off
    caged = long_tail(gaps, radius, reach, margins)
    pinched = long_tail(gaps, radius, radius + grip, margins)
    # near = T(|tcp - object|_xz; xz, |initial - initial_tcp|_xz - xz)
    xz_margin = norm((s.initial_object - s.initial_tcp)[:, ::2]) - xz
    near = nearness(norm((s.tcp - position)[:, ::2]), xz, xz_margin)
    # caging = H(H(caged_left, caged_right), near),  pinch = H(pinched_left, pinched_right)
    caging = hamacher_product(hamacher_product(caged[:, 0], caged[:, 1]), near)
    pinch = hamacher_product(pinched[:, 0], pinched[:, 1])
    # (caging + [caging > 0.95] pinch) / 2
    return xp.where(caging > 0.95, caging + pinch, caging) / 2


def nearest_on_handle(s: Snapshot, position: Array, half_length: float) -> Array:
    """Point at which to grip a long handle along x, `(env, 3)`: beside the hand, or the centre if the hand is off it.

    Args:
        s: The environments.
        position: Centre of the handle, `(env, 3)`.
        half_length: Half the handle's length, in metres.
    """
    xp = namespace(position)
    hand_x, x = s.hand[:, :1], position[:, :1]
    # x_grip = hand_x if |x - hand_x| < half_length else x
    return xp.concat([xp.where(xp.abs(x - hand_x) < half_length, hand_x, x), position[:, 1:]], axis=1)


def is_open(s: Snapshot) -> Array:
    """Returns true where the gripper is not quite shut, `(env,)`."""
    return s.gripper > 0


def is_lifted(s: Snapshot, height: float, initial_position: Array | None = None) -> Array:
    """Returns true where the object is more than `height` metres above its initial position, `(env,)`.

    Without `initial_position` `(env, 3)`, that is `Snapshot.initial_object`.
    """
    initial = s.initial_object if initial_position is None else initial_position
    return s.object[:, 2] - height > initial[:, 2]


def is_picked_up(s: Snapshot) -> Array:
    """Returns true where both pads press on the object and it is lifted by 2 cm: the usual success of a grasp."""
    return s.touching & is_open(s) & is_lifted(s, 0.02)


class PickingUp(TaskClass):
    """Class of tasks whose grasp succeeds when the object is picked up."""

    touching: ClassVar[Touching] = "grasp_success"

    def grasp_success(self, s: Snapshot, outcome: Outcome) -> Array:
        """Returns true where the object is picked up."""
        return is_picked_up(s)
