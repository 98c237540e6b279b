"""Standardisation of inputs: nothing that an agent may come to see is cut off."""

import warnings
from contextlib import closing

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from thread_ranks import on_ranks

from metarl.policies.normalizer import Normalizer
from metarl.ranks import Ranks
from metarl_envs.metaworld import TASK_NAMES, MetaWorld
from metarl_envs.metaworld.reference import encode

HARD = {"door-open-v3", "shelf-place-v3", "pick-place-v3", "drawer-open-v3"}
"""Classes in which most of an expert's steps were once cut off; the fast tests have these only."""


def test_normalizer_measures_what_hardly_varies_in_units_of_what_varies() -> None:
    normalizer = Normalizer(4)
    # standard deviations 3, 0.05, 0 and 0: the last three grow tenfold
    normalizer.update(torch.tensor([[-3, 0.95, 2, 0], [3, 1.05, 2, 0]]), torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(normalizer.std, torch.tensor([3, 0.1, 0.1, 0.1], dtype=torch.float64))
    small = Normalizer(3)
    # standard deviations 0.06, 0.04 and 0: at least half of the largest
    small.update(torch.tensor([[-0.06, 0.04, 0], [0.06, -0.04, 0]]), torch.ones(2, dtype=torch.bool))
    torch.testing.assert_close(small.std, torch.tensor([0.06, 0.04, 0.03], dtype=torch.float64))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_ranks_have_the_statistics_of_all_their_inputs(size: int) -> None:
    rng = torch.Generator().manual_seed(0)
    inputs = 1e3 + torch.randn(2, 6, 5, 3, generator=rng, dtype=torch.float64)
    valid = torch.rand(2, 6, 5, generator=rng) < torch.rand(6, 1, generator=rng)  # rows count unequally
    alone = Normalizer(3)

    def update(ranks: Ranks) -> Normalizer:
        normalizer = Normalizer(3)
        for batch in range(2):
            rows = slice(ranks.rank, None, ranks.size)
            normalizer.update(inputs[batch, rows], valid[batch, rows], ranks)
        return normalizer

    for batch in range(2):
        alone.update(inputs[batch], valid[batch])
    first, *others = on_ranks(size, update)
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value, rtol=1e-12, atol=0)
        assert all(torch.equal(first.state_dict()[name], other.state_dict()[name]) for other in others)


@given(st.lists(st.floats(-1e30, 1e30), min_size=2, max_size=20))
def test_normalizer_keeps_the_order_of_all_inputs_and_counts_those_it_compresses(values: list[float]) -> None:
    normalizer = Normalizer(1)
    inputs = torch.tensor(sorted(values), dtype=torch.float64).unsqueeze(-1)
    outputs = normalizer(inputs)
    assert torch.equal(outputs, -normalizer(-inputs))
    assert outputs.isfinite().all()
    assert (outputs.diff(dim=0) >= 0).all()
    assert torch.equal(normalizer.compressed(inputs), outputs.squeeze(-1).abs() > 10)
    within = inputs.abs() <= 10
    assert torch.equal(outputs[within], inputs[within])


def statistics_of_random_actions(family: MetaWorld) -> Normalizer:
    """As MAML takes them before training, from fewer steps."""
    normalizer, rng = Normalizer(39), np.random.default_rng(0)
    with closing(family.make_env(5)) as env:
        env.set_tasks(family.train_tasks[:5])
        rows = [env.reset(seed=0)[0]]
        rows += [env.step(rng.uniform(-1, 1, (5, 4)))[0] for _ in range(100)]
    normalizer.update(torch.tensor(np.array(rows)), torch.ones(101, 5, dtype=torch.bool))
    return normalizer


def solved_episode(family: MetaWorld, name: str) -> npt.NDArray[np.float64]:
    """Observations `(step, obs)` of the first held-out task that Meta-World's scripted expert solves, until then."""
    env, expert = ALL_V3_ENVIRONMENTS[name](), ENV_POLICY_MAP[name]()  # type: ignore[abstract]
    for task in family.test_tasks:
        env.set_task(encode(task))
        rows = [env.reset()[0]]
        for _ in range(500):
            with warnings.catch_warnings(action="ignore"):  # experts exceed 1, rely on clipping, and warn
                action = np.clip(expert.get_action(np.concatenate([rows[-1][:36], env._target_pos])), -1, 1)
            observation, _, _, _, info = env.step(action)
            rows.append(observation)
            if info["success"]:
                return np.array(rows)
    raise AssertionError(f"the expert of {name} solves nothing")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in HARD else pytest.mark.slow) for name in TASK_NAMES]
)
def test_a_policy_sees_what_an_expert_sees_with_statistics_of_random_actions(name: str) -> None:
    family = MetaWorld("ML1", task=name)
    normalizer = statistics_of_random_actions(family)
    seen = torch.tensor(solved_episode(family, name))
    assert not normalizer.compressed(seen).any()
    assert normalizer(seen).abs().max() <= 10
