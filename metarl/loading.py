"""Loading of checkpoints into algorithms and agents."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metarl import checkpoints
from metarl.acting.agents import Origin, TrainedAgent
from metarl.algorithms.base import Algorithm, is_training_state
from metarl.checkpoints import Manifest
from metarl.config import RunConfig
from metarl.runs import RunDirectory
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError


def restore(
    algorithm: Algorithm, distribution: TaskDistribution, checkpoint: Path, *, to_act: bool = False
) -> Manifest:
    """Loads a checkpoint's state into an algorithm, which stays unchanged on failure.

    Args:
        algorithm: Algorithm to load into.
        distribution: Tasks that the algorithm is built for.
        checkpoint: Directory of the checkpoint.
        to_act: True if the algorithm only makes agents, for which a pretrained policy's checkpoint is enough.

    Returns:
        Manifest of the checkpoint.

    Raises:
        UserError: If the checkpoint is damaged, of another task distribution or of another configuration, or lacks what
            training needs.
    """
    state, manifest = checkpoints.load(checkpoint)
    if manifest.task_fingerprint != distribution.fingerprint:
        raise UserError(
            f"checkpoint {checkpoint} was trained on other tasks than {distribution.name} as configured"
            f" (fingerprint {manifest.task_fingerprint}, not {distribution.fingerprint})"
        )
    fresh = algorithm.state_dict()
    if manifest.policy_only and not to_act:
        raise UserError(f"checkpoint {checkpoint} is a pretrained policy's: it lacks what training would go on from")
    if manifest.policy_only:
        state = {name: fresh[name] for name in fresh if is_training_state(algorithm, name)} | state
    problem = _describe_mismatch(state, fresh)
    if problem is not None:
        raise UserError(f"checkpoint {checkpoint} does not fit the configured algorithm: {problem}")
    algorithm.load_state_dict(state)
    return manifest


def check_settings(manifest: Manifest, config: RunConfig, checkpoint: Path) -> None:
    """Checks that a checkpoint was trained with the settings of a run; its tensors would fit with others too.

    Args:
        manifest: Manifest of the checkpoint.
        config: Configuration of the run.
        checkpoint: Directory of the checkpoint, for the message.

    Raises:
        UserError: If the seed, or a setting of the tasks, the algorithm or the augmentation, is another.
    """
    trained = comparable_settings(manifest.config)
    configured = comparable_settings(config.model_dump(mode="json"))
    for name, value in configured.items():
        if trained.get(name, value) != value:
            raise UserError(
                f"checkpoint {checkpoint} was trained with other settings: {name} was {trained[name]!r}, and is"
                f" {value!r} in this run's configuration; is it another run's, or was config.yaml changed?"
            )


def comparable_settings(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns seed, tasks, algorithm and augmentation by dotted names.

    An id is left out, as the file that it may name may move.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if prefix or name in ("seed", "tasks", "algorithm", "augmentation"):
            key = f"{prefix}{name}"
            found |= comparable_settings(value, f"{key}.") if isinstance(value, Mapping) else {key: value}
    found.pop("tasks.id", None)
    return found


def _describe_mismatch(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> str | None:
    """Returns the first difference in names, shapes or dtypes between `state` and `like`; None if there is none."""
    unmatched = sorted(state.keys() ^ like.keys())
    if unmatched:
        return f"it {'lacks' if unmatched[0] in like else 'has an unexpected'} tensor '{unmatched[0]}'"
    for name, expected in like.items():
        if (state[name].shape, state[name].dtype) != (expected.shape, expected.dtype):
            return f"tensor '{name}' is {_layout(state[name])}, should be {_layout(expected)}"
    return None


def _layout(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def load_algorithm(checkpoint: Path, config: RunConfig, distribution: TaskDistribution) -> tuple[Algorithm, Manifest]:
    """Makes an algorithm with the parameters of a checkpoint, on the CPU.

    Args:
        checkpoint: Directory of the checkpoint.
        config: Configuration of the run that the checkpoint belongs to.
        distribution: Tasks that it was trained on.

    Raises:
        UserError: If the checkpoint is damaged, of another task distribution or of another configuration.
    """
    algorithm = config.algorithm.build(distribution, torch.device("cpu"))
    manifest = restore(algorithm, distribution, checkpoint, to_act=True)
    check_settings(manifest, config, checkpoint)
    return algorithm, manifest


def load_agent(
    checkpoint: Path, config: RunConfig, distribution: TaskDistribution, seed: int = 0
) -> tuple[TrainedAgent, Manifest]:
    """Makes an agent with the parameters of a checkpoint, on the CPU.

    Args:
        checkpoint: Directory of the checkpoint.
        config: Configuration of the run that the checkpoint belongs to.
        distribution: Tasks that it was trained on.
        seed: Seed of the agent's exploration.

    Raises:
        UserError: If the checkpoint is damaged, of another task distribution or of another configuration.
    """
    algorithm, manifest = load_algorithm(checkpoint, config, distribution)
    agent = algorithm.make_agent(seed)
    agent.origin = Origin(
        distribution.name,
        distribution.fingerprint,
        manifest.env_steps,
        distribution.observation_space,
        distribution.shown,
        config.algorithm.told_in_training(),
    )
    return agent, manifest


def load(path: str | Path, seed: int = 0) -> TrainedAgent:
    """Loads an agent from a run directory (its last checkpoint), from one of its checkpoints, or a pretrained policy.

    Args:
        path: Directory of the run, `runs/<name>`, or of a checkpoint, `runs/<name>/checkpoints/<env steps>`, or the
            name of a pretrained policy, which `metarl zoo` lists.
        seed: Seed of the agent's exploration.

    Raises:
        UserError: If there is none of them at `path`, or the run or checkpoint is damaged.
    """
    path = Path(path)
    is_checkpoint = path.parent.name == "checkpoints"
    run = RunDirectory.open(path.parent.parent if is_checkpoint else path)
    checkpoint = path if is_checkpoint else run.checkpoint("last")
    return load_agent(checkpoint, run.config, run.config.tasks.build(), seed)[0]
