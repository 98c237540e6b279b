"""From a checkpoint into an algorithm: all of it, or an error that names what does not fit."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from metarl import checkpoints
from metarl.acting.agents import TrainedAgent
from metarl.acting.sampler import Sampler
from metarl.algorithms.base import IterationResult
from metarl.checkpoints import Manifest
from metarl.loading import restore
from metarl_envs.errors import UserError
from metarl_envs.navigation import Navigation

STATE = {"policy.weight": torch.ones(3, 2), "count": torch.zeros(2, dtype=torch.uint8)}


class Remembering:
    """An algorithm that has nothing but a state."""

    device = torch.device("cpu")
    meta_batch = num_envs = 1

    def warm_up(self, sampler: Sampler) -> None:
        raise AssertionError

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        raise AssertionError

    def make_agent(self, seed: int) -> TrainedAgent:
        raise AssertionError

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state
        self.loaded = False

    def state_dict(self) -> dict[str, Tensor]:
        return self.state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.state, self.loaded = state, True


def save(folder: Path, tasks: Navigation) -> Path:
    manifest = Manifest(iteration=3, env_steps=7, config={}, task_fingerprint=tasks.fingerprint, versions={})
    return checkpoints.save(folder, STATE, manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": None}, "it has an unexpected tensor 'count'"),
        ({"more": torch.zeros(1)}, "it lacks tensor 'more'"),
        ({"policy.weight": torch.zeros(2, 3)}, r"'policy.weight' is float32 \[3, 2\], should be float32 \[2, 3\]"),
        ({"count": torch.zeros(2)}, r"'count' is uint8 \[2\], should be float32 \[2\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named_and_nothing_is_taken_over(
    tmp_path: Path, change: dict[str, Tensor | None], message: str
) -> None:
    tasks = Navigation(3, 3)
    path = save(tmp_path, tasks)
    algorithm = Remembering({name: tensor for name, tensor in (STATE | change).items() if tensor is not None})
    with pytest.raises(UserError, match=f"does not fit the configured algorithm: .*{message}"):
        restore(algorithm, tasks, path)
    assert not algorithm.loaded


def test_a_state_that_fits_is_taken_over(tmp_path: Path) -> None:
    tasks = Navigation(3, 3)
    algorithm = Remembering({name: torch.zeros_like(tensor) for name, tensor in STATE.items()})
    manifest = restore(algorithm, tasks, save(tmp_path, tasks))
    assert (manifest.iteration, manifest.env_steps) == (3, 7)
    assert all(torch.equal(algorithm.state[name], tensor) for name, tensor in STATE.items())
