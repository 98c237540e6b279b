"""Export of policies to ONNX files, which run on a robot without PyTorch or metarl."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from metarl.acting.actions import middle_and_half
from metarl.errors import RunFailure
from metarl.files import write_atomically
from metarl.policies.normalizer import Normalizer
from metarl.versions import package_version
from metarl_envs.errors import UserError


class EnvironmentActions(nn.Module):
    """Module in float32 that computes `metarl.acting.actions.to_environment`.

    Args:
        space: Action space of a single environment.
    """

    middle: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, space: gym.spaces.Box | gym.spaces.Discrete) -> None:
        super().__init__()
        self._integers = np.issubdtype(space.dtype, np.integer)
        self._start = int(space.start) if isinstance(space, gym.spaces.Discrete) else None
        if isinstance(space, gym.spaces.Box):
            for name, values in zip(
                ("middle", "scale", "low", "high"), (*middle_and_half(space), space.low, space.high), strict=True
            ):
                self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32))

    def forward(self, actions: Float[Tensor, "*b action"]) -> Tensor:
        """Returns clipped actions in the environment's units, or int64 where actions are integers."""
        if self._start is not None:
            return actions.argmax(-1) + self._start
        # a_env = clip(middle + scale * a, low, high), rounded before where a box holds integers
        values = self.middle + self.scale * actions
        if self._integers:
            return values.round().clamp(self.low, self.high).to(torch.int64)
        return values.clamp(self.low, self.high)


def replace_lost(
    observations: Float[Tensor, "batch obs"], normalizer: Normalizer
) -> tuple[Float[Tensor, "batch obs"], Bool[Tensor, "batch"]]:
    """Replaces numbers that are not finite, of a sensor that is lost, by the mean of training.

    Returns:
        Finite observations, and false for rows in which a number was replaced.
    """
    finite = torch.isfinite(observations)
    return torch.where(finite, observations, normalizer.mean.to(observations.dtype)), finite.all(-1)


def example_observations(normalizer: Normalizer) -> Float[Tensor, "batch obs"]:
    """Observations of an example: float32, or float64 where float32 would round too much, as of map coordinates."""
    dtype = torch.float64 if normalizer.needs_float64() else torch.float32
    return torch.zeros(2, len(normalizer.mean), dtype=dtype)


class Exportable(NamedTuple):
    """Module of a policy that acts in one step, with the names and metadata of its file."""

    module: nn.Module
    """Module whose `forward(*inputs)` takes the inputs in their order and returns a tuple of the outputs."""
    inputs: dict[str, Tensor]
    """Examples of the inputs by name, with a leading axis `batch` of 2, as the exporter takes a 1 for a constant."""
    outputs: list[str]
    """Names of the outputs, which have the leading axis `batch` too."""
    metadata: dict[str, str]
    """Metadata of the file, by name."""


def write_onnx(path: Path, policy: Exportable) -> None:
    """Writes a policy as an ONNX file, whole or not at all; the length of the axis `batch` stays free.

    Args:
        path: Path of the file to write or replace, in a folder that exists.
        policy: Policy to export.

    Raises:
        UserError: If onnx or onnxscript is not installed, `path` is a directory, or its folder does not exist.
        RunFailure: If the file cannot be written.
    """
    _check_installed()
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"cannot export to {path}: it must be a file's name, in a folder that exists")
    batch = torch.export.Dim("batch")
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            policy.module.eval(),
            tuple(policy.inputs.values()),
            dynamo=True,
            verbose=False,
            input_names=list(policy.inputs),
            output_names=policy.outputs,
            dynamic_shapes=(tuple({0: batch} for _ in policy.inputs),),
        )
        assert program is not None
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # they hold the paths of our source files
        program.model.metadata_props.update(
            policy.metadata, metarl_version=package_version("metarl-suite") or "unknown"
        )
        data = program.model_proto.SerializeToString()
    try:
        write_atomically(path, data)
    except OSError as error:
        raise RunFailure(f"could not write {path}: {error.strerror or error}") from error


def describe_space(name: str, space: gym.spaces.Box | gym.spaces.Discrete) -> str:
    """Returns an observation's or action's name and bounds as JSON, with null for a bound that is infinite."""
    if isinstance(space, gym.spaces.Discrete):
        return json.dumps({"name": name, "low": int(space.start), "high": int(space.start + space.n) - 1})
    return json.dumps({"name": name, "low": _bounds(space.low), "high": _bounds(space.high)})


def _bounds(values: npt.NDArray[Any]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _check_installed() -> None:
    for package in ("onnx", "onnxscript"):
        try:
            import_module(package)
        except ImportError:
            raise UserError(
                f"export needs {package}, which is not installed: pip install 'metarl-suite[export]'"
            ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences the exporter's own warnings, such as that torchvision is not installed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
