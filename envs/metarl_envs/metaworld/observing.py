"""Meta-World's observations for all environments at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from array_api_compat import device

from metarl_envs.arrays import Array, namespace
from metarl_envs.metaworld.bricks import clamp, norm, quaternion
from metarl_envs.metaworld.snapshot import Snapshot
from metarl_envs.metaworld.task_class import TaskClass

_OPEN = 0.1
"""Distance between the fingers of an open gripper, in metres."""


def observe(task_classes: Sequence[TaskClass], snapshots: Sequence[Snapshot]) -> Array:
    """One frame of the observations: hand position, gripper opening, and up to two objects, else zeros.

    As `SawyerXYZEnv._get_curr_obs_combined_no_goal`. What classes share is computed once for all of them.

    Args:
        task_classes: The classes of the environments.
        snapshots: The environments of each.

    Returns:
        `(env, 18)`, the environments of one class after those of another.
    """
    xp = namespace(snapshots[0].actions)
    hands = xp.concat([s.body("hand") for s in snapshots])
    claws = xp.concat([s.body("rightclaw") - s.body("leftclaw") for s in snapshots])
    opening = clamp(norm(claws) / _OPEN, 0.0, 1.0)
    objects = [task_class.objects(s) for task_class, s in zip(task_classes, snapshots, strict=True)]
    orientations = _quaternions([orientation for pairs in objects for _, orientation in pairs])
    rows = []
    for pairs in objects:
        parts = [part for position, _ in pairs for part in (position, next(orientations))]
        missing = 14 - 7 * len(pairs)
        if missing:
            parts.append(xp.zeros((parts[0].shape[0], missing), dtype=parts[0].dtype, device=device(parts[0])))
        rows.append(xp.concat(parts, axis=1))
    return xp.concat([hands, opening[:, None], xp.concat(rows)], axis=1)


def _quaternions(orientations: Sequence[Array]) -> Iterator[Array]:
    """Orientations as quaternions, in the same order; all matrices among them are converted together."""
    matrices = [orientation for orientation in orientations if orientation.ndim == 3]
    converted: Iterator[Array] = iter(())
    if matrices:
        xp = namespace(matrices[0])
        together = quaternion(xp.concat(matrices))
        ends = [0]
        for matrix in matrices:
            ends.append(ends[-1] + matrix.shape[0])
        converted = (together[start:end] for start, end in pairwise(ends))
    return (next(converted) if orientation.ndim == 3 else orientation for orientation in orientations)
