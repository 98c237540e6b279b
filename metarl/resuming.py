"""Going on with a run: what may change, and the state that it goes on from."""

from __future__ import annotations

from collections.abc import Sequence

from metarl import checkpoints
from metarl.algorithms.base import Algorithm
from metarl.checkpoints import Manifest
from metarl.config import RunConfig, override_config, parse_overrides
from metarl.loading import check_settings, restore
from metarl.runs import RunDirectory
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError

_CHANGEABLE = ("iterations", "device", "threads", "workers", "evaluation.num_envs")
"""Fields that may change when a run goes on: how long it trains, and on what machine."""


def changed_config(config: RunConfig, iterations: int | None, overrides: Sequence[str]) -> RunConfig:
    """Returns a run's configuration with what may change when it goes on.

    Args:
        config: Configuration of the run.
        iterations: New total number of iterations; None keeps it.
        overrides: Further changes, as on the command line.

    Raises:
        UserError: If something else would change, or a value is wrong.
    """
    others = [name for name in parse_overrides(overrides) if name not in _CHANGEABLE]
    if others:
        *some, last = (f"--{name}" for name in _CHANGEABLE)
        raise UserError(
            f"--{others[0]} cannot go with --resume, which continues a run as it is; only {', '.join(some)} and {last}"
            " can"
        )
    if iterations is not None and iterations < 1:
        raise UserError(f"iterations must be at least 1: got {iterations}")
    return override_config(config, [*overrides, *([] if iterations is None else [f"--iterations={iterations}"])])


def restore_last(run: RunDirectory, algorithm: Algorithm, distribution: TaskDistribution) -> Manifest | None:
    """Loads a run's last checkpoint into an algorithm, and clears away what a killed process left.

    Args:
        run: Run, locked by this process.
        algorithm: Algorithm to load into.
        distribution: Tasks that the algorithm is built for.

    Returns:
        Manifest of the checkpoint, or None if the run was killed before its first one and may start again.

    Raises:
        UserError: If the checkpoint is damaged or of another configuration, the checkpoints are lost, or more
            iterations are done than the run's configuration asks for.
        CheckpointError: If earlier checkpoints cannot be deleted.
    """
    if not checkpoints.exists(run.checkpoints):
        run.check_restart()
        return None
    checkpoint = run.checkpoint("last")
    manifest = restore(algorithm, distribution, checkpoint)
    check_settings(manifest, run.config, checkpoint)
    if manifest.iteration > run.config.iterations:
        raise UserError(
            f"iterations: {run.config.iterations} is less than the {manifest.iteration} that run {run.path} has done;"
            f" give {manifest.iteration} or more"
        )
    settings = run.config.checkpoint
    checkpoints.prune(run.checkpoints, settings.keep_last, settings.every)  # which the kill may have prevented
    return manifest
