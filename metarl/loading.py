"""From a checkpoint back to something that acts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from metarl import checkpoints
from metarl.acting.agents import Origin, TrainedAgent
from metarl.algorithms.base import Algorithm
from metarl.checkpoints import Manifest
from metarl.config import RunConfig
from metarl.runs import RunDirectory
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError


def restore(algorithm: Algorithm, distribution: TaskDistribution, checkpoint: Path) -> Manifest:
    """Puts a checkpoint's state into an algorithm, or leaves it as it is.

    Raises:
        UserError: If the checkpoint is damaged, of another task distribution or of another configuration.
    """
    state, manifest = checkpoints.load(checkpoint)
    if manifest.task_fingerprint != distribution.fingerprint:
        raise UserError(
            f"checkpoint {checkpoint} was trained on other tasks than {distribution.name} as configured"
            f" (fingerprint {manifest.task_fingerprint}, not {distribution.fingerprint})"
        )
    problem = _misfit(state, algorithm.state_dict())
    if problem is not None:
        raise UserError(f"checkpoint {checkpoint} does not fit the configured algorithm: {problem}")
    algorithm.load_state_dict(state)
    return manifest


def _misfit(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> str | None:
    """Returns how names, shapes or dtypes of a state differ from what they should be; None if they do not."""
    odd = sorted(state.keys() ^ like.keys())
    if odd:
        return f"it {'lacks' if odd[0] in like else 'has an unexpected'} tensor '{odd[0]}'"
    for name, expected in like.items():
        if (state[name].shape, state[name].dtype) != (expected.shape, expected.dtype):
            return f"tensor '{name}' is {_layout(state[name])}, should be {_layout(expected)}"
    return None


def _layout(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def load_agent(
    checkpoint: Path, config: RunConfig, distribution: TaskDistribution, seed: int = 0
) -> tuple[TrainedAgent, Manifest]:
    """An agent with the parameters of a checkpoint, on the CPU.

    Args:
        checkpoint: The checkpoint's directory.
        config: The configuration of the run it belongs to.
        distribution: The tasks it was trained on.
        seed: Seeds the agent's exploration.

    Raises:
        UserError: See `restore`.
    """
    algorithm = config.algorithm.build(distribution, torch.device("cpu"))
    manifest = restore(algorithm, distribution, checkpoint)
    agent = algorithm.make_agent(seed)
    agent.origin = Origin(
        distribution.name, distribution.fingerprint, manifest.env_steps, distribution.observation_space
    )
    return agent, manifest


def load(path: str | Path, seed: int = 0) -> TrainedAgent:
    """An agent from a run directory (its last checkpoint) or from one checkpoint in it.

    Args:
        path: `runs/<name>` or `runs/<name>/checkpoints/<env steps>`.
        seed: Seeds the agent's exploration.

    Raises:
        UserError: If there is neither at `path`, or it is damaged.
    """
    path = Path(path)
    is_checkpoint = path.parent.name == "checkpoints"
    run = RunDirectory.open(path.parent.parent if is_checkpoint else path)
    checkpoint = path if is_checkpoint else run.checkpoint("last")
    return load_agent(checkpoint, run.config, run.config.tasks.build(), seed)[0]
