"""Observations and rewards are array code: PyTorch tensors give what NumPy arrays give."""

from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch

from metarl_envs.metaworld import TASK_NAMES, MetaWorld
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.metaworld.observations import observe
from metarl_envs.metaworld.snapshot import Snapshot


def as_torch(s: Snapshot) -> Snapshot:
    def convert(values: Any) -> torch.Tensor:
        return torch.from_numpy(np.array(values))

    return Snapshot(
        s.names,
        {name: convert(values) for name, values in s.simulation.items()},
        {name: convert(values) for name, values in s.constants.items()},
        convert(s.actions),
        touching=convert(s.touching),
    )


@pytest.mark.parametrize("name", TASK_NAMES)
def test_tensors_give_what_arrays_give(name: str) -> None:
    tasks = MetaWorld("ML1", task=name, seed=3).train_tasks[:3]
    rng = np.random.default_rng(0)
    with closing(MetaWorldEngine(3, grasp_success=True)) as engine:
        engine.set_tasks(tasks)
        engine.reset()
        for _ in range(10):
            actions = rng.uniform(-1.2, 1.2, (3, 4))
            observations, *_ = engine.step(actions)
        (group,) = engine.groups
        arrays = group.snapshot(actions)
    tensors = as_torch(arrays)
    frames, expected = observe([group.task_class], [tensors]), observe([group.task_class], [arrays])
    assert frames.dtype == torch.float64
    np.testing.assert_allclose(frames.numpy(), expected, atol=1e-12)
    tensors.observations, arrays.observations = torch.from_numpy(observations), observations
    outcome, expected = group.task_class.outcome(tensors), group.task_class.outcome(arrays)
    grasps = group.task_class.grasp_success(tensors, outcome)
    np.testing.assert_array_equal(np.asarray(grasps), group.task_class.grasp_success(arrays, expected))
    for field, ours, theirs in zip(outcome._fields, outcome, expected, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, atol=1e-12, err_msg=field)
