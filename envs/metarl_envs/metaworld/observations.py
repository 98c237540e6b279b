"""Meta-World's observations for all environments at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from array_api_compat import device

from metarl_envs.arrays import Array, clamp, namespace, norm
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import TaskClass

_MAX_OPENING = 0.1
"""Distance between the fingers of an open gripper, in metres."""


def observe(task_classes: Sequence[TaskClass], snapshots: Sequence[Snapshot]) -> Array:
    """Makes one frame of the observations: hand position, gripper opening, and up to two objects, else zeros.

    Equals `SawyerXYZEnv._get_curr_obs_combined_no_goal`. Computes once for all classes what they share.

    Args:
        task_classes: The classes of the environments.
        snapshots: The environments of each class.

    Returns:
        Frames `(env, 18)`, in the order of the snapshots.
    """
    xp = namespace(snapshots[0].actions)
    hands = xp.concat([s.body("hand") for s in snapshots])
    claws = xp.concat([s.body("rightclaw") for s in snapshots]) - xp.concat([s.body("leftclaw") for s in snapshots])
    frames = xp.zeros((hands.shape[0], 18), dtype=hands.dtype, device=device(hands))
    frames[:, :3] = hands
    # opening = clip(|right claw - left claw| / 0.1 m, 0, 1)
    frames[:, 3] = clamp(norm(claws) / _MAX_OPENING, 0.0, 1.0)
    matrices, places = [], []
    first = 0
    for task_class, s in zip(task_classes, snapshots, strict=True):
        rows = slice(first, first + s.actions.shape[0])
        first = rows.stop
        for column, (position, orientation) in zip((4, 11), task_class.objects(s), strict=False):
            frames[rows, column : column + 3] = position
            if orientation.ndim == 3:
                matrices.append(orientation)
                places.append(frames[rows, column + 3 : column + 7])
            else:
                frames[rows, column + 3 : column + 7] = orientation
    if matrices:  # all in one operation
        quaternions, first = quaternion(xp.concat(matrices)), 0
        for place in places:
            place[:] = quaternions[first : first + place.shape[0]]
            first += place.shape[0]
    return frames


def quaternion(matrix: Array) -> Array:
    """Converts rotation matrices `(env, 3, 3)` to unit quaternions `(env, 4)`: x, y, z, w, signed as in SciPy.

    The outer product 4 q qᵀ is linear in the matrix. Its row i is 4 q_i q; the row with the largest diagonal element
    4 q_i² keeps all components accurate (Shepperd 1978).
    """
    xp = namespace(matrix)
    elements = matrix.reshape((matrix.shape[0], 9))
    xx, yy, zz = elements[:, 0], elements[:, 4], elements[:, 8]
    # The diagonal of 4 q qᵀ grows with m00, m11, m22 and, for w, with the trace.
    choice = xp.argmax(xp.stack([xx, yy, zz, xx + yy + zz], axis=-1), axis=-1)
    products, ones = _outer_product(xp, device(matrix))
    rows = (elements @ products + ones).reshape((-1, 4, 4))
    row = rows[xp.arange(rows.shape[0], device=device(rows)), choice]
    # q = (4 q_i q) / |4 q_i q|
    return row / norm(row)[:, None]


@cache
def _outer_product(xp: Any, device: Any) -> tuple[Array, Array]:
    """Matrix A `(9, 16)` and vector b `(16,)` with 4 q qᵀ = m A + b for a rotation matrix's elements m `(9,)`."""
    products, ones = [[0.0] * 16 for _ in range(9)], [0.0] * 16
    # 4 x² = 1 + m00 - m11 - m22, and so on for y and z; 4 w² = 1 + m00 + m11 + m22
    for i, signs in enumerate([(1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)]):
        ones[5 * i] = 1.0
        for j, sign in enumerate(signs):
            products[4 * j][5 * i] = float(sign)
    for i, j, k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        # 4 x y = m01 + m10
        for one, other in ((i, j), (j, i)):
            products[3 * i + j][4 * one + other] = products[3 * j + i][4 * one + other] = 1.0
        # 4 x w = m21 - m12
        for one, other in ((i, 3), (3, i)):
            products[3 * k + j][4 * one + other], products[3 * j + k][4 * one + other] = 1.0, -1.0
    return xp.asarray(products, dtype=xp.float64, device=device), xp.asarray(ones, dtype=xp.float64, device=device)
