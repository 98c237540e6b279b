import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from metarl.returns import discounted_returns, gae, linear_baseline, standardize

Episodes = tuple[list[int], Tensor, Tensor]
"""Lengths, rewards, values."""


def mask(lengths: list[int], steps: int) -> Tensor:
    return torch.arange(steps) < torch.tensor(lengths).unsqueeze(-1)


def slow_gae(rewards: list[float], values: list[float], discount: float, gae_lambda: float) -> list[float]:
    """The definition, as a double sum: A_t = sum_k (discount lambda)^k delta_{t+k}; nothing follows the last step."""
    following = [*values[1:], 0.0]
    deltas = [r + discount * n - v for r, v, n in zip(rewards, values, following, strict=True)]
    return [
        sum((discount * gae_lambda) ** k * delta for k, delta in enumerate(deltas[t:])) for t in range(len(rewards))
    ]


@st.composite
def episodes(draw: st.DrawFn) -> Episodes:
    steps = draw(st.integers(1, 6))
    lengths = draw(st.lists(st.integers(1, steps), min_size=1, max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    rewards = torch.from_numpy(rng.normal(size=(len(lengths), steps)))
    values = torch.from_numpy(rng.normal(size=(len(lengths), steps)))
    return lengths, rewards, values


def test_returns_worked_out_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0, 9.0]])
    returns = discounted_returns(rewards, mask([3], 4), 0.5)
    assert returns.tolist() == [[1 + 0.5 * (2 + 0.5 * 4), 2 + 0.5 * 4, 4.0, 0.0]]


def test_gae_worked_out_by_hand() -> None:
    # deltas: 1 + 0.5*20 - 10 = 1; 22 - 20 = 2; then A_1 = 2, A_0 = 1 + 0.5 * 0.8 * 2 = 1.8
    advantages = gae(torch.tensor([[1.0, 22.0]]), torch.tensor([[10.0, 20.0]]), mask([2], 2), 0.5, 0.8)
    torch.testing.assert_close(advantages, torch.tensor([[1.8, 2.0]]))


@given(episodes(), st.floats(0, 1), st.floats(0, 1))
def test_gae_equals_its_definition_as_a_sum(batch: Episodes, discount: float, gae_lambda: float) -> None:
    lengths, rewards, values = batch
    advantages = gae(rewards, values, mask(lengths, rewards.shape[1]), discount, gae_lambda)
    for row, length in enumerate(lengths):
        expected = slow_gae(rewards[row, :length].tolist(), values[row, :length].tolist(), discount, gae_lambda)
        np.testing.assert_allclose(advantages[row, :length], expected, atol=1e-12)
        assert (advantages[row, length:] == 0).all()


@given(episodes(), st.floats(0, 1))
def test_lambda_one_gives_returns_minus_values(batch: Episodes, discount: float) -> None:
    lengths, rewards, values = batch
    valid = mask(lengths, rewards.shape[1])
    advantages = gae(rewards, values, valid, discount, 1.0)
    expected = torch.where(valid, discounted_returns(rewards, valid, discount) - values, 0.0)
    torch.testing.assert_close(advantages, expected)


@given(episodes(), st.integers(1, 5))
def test_longer_padding_changes_nothing(batch: Episodes, extra: int) -> None:
    lengths, rewards, values = batch
    steps = rewards.shape[1]
    garbage = torch.full((len(lengths), extra), 1e6, dtype=torch.float64)
    short = gae(rewards, values, mask(lengths, steps), 0.9, 0.8)
    padded = torch.cat([rewards, garbage], 1), torch.cat([values, garbage], 1)
    long = gae(*padded, mask(lengths, steps + extra), 0.9, 0.8)
    assert torch.equal(short, long[:, :steps])
    assert (long[:, steps:] == 0).all()


def test_linear_baseline_fits_what_is_linear_in_its_features() -> None:
    rng = torch.Generator().manual_seed(0)
    observations = torch.randn(2, 4, 50, 3, generator=rng, dtype=torch.float64)
    valid = torch.ones(2, 4, 50, dtype=torch.bool)
    time = torch.arange(50, dtype=torch.float64) / 100
    slope = torch.tensor([2.0, -3.0], dtype=torch.float64).reshape(2, 1, 1)  # each task has weights of its own
    returns = slope * observations[..., 0] + observations[..., 1] ** 2 + 5 * time**3 + 1
    torch.testing.assert_close(linear_baseline(observations, returns, valid), returns, atol=1e-3, rtol=1e-3)


def test_linear_baseline_equals_ridge_regression_task_by_task() -> None:
    rng = np.random.default_rng(0)
    observations, returns = rng.normal(size=(2, 3, 20, 2)) * 20, rng.normal(size=(2, 3, 20))
    valid = np.ones((2, 3, 20), bool)
    valid[1, 2, 5:] = False
    values = linear_baseline(torch.from_numpy(observations), torch.from_numpy(returns), torch.from_numpy(valid))
    for task in range(2):
        rows: list[list[float]] = []
        for _, step in (index := np.argwhere(valid[task])):
            clipped = np.clip(observations[task][tuple(index[len(rows)])], -10, 10)
            t = step / 100
            rows.append([*clipped, *clipped**2, t, t**2, t**3, 1])
        design = np.vstack([rows, np.sqrt(1e-5) * np.eye(8)])  # ridge regression as least squares with added rows
        targets = np.concatenate([returns[task][valid[task]], np.zeros(8)])
        weights = np.linalg.lstsq(design, targets, rcond=None)[0]
        np.testing.assert_allclose(values[task][torch.from_numpy(valid[task])], np.array(rows) @ weights, atol=1e-7)
    assert (values[1, 2, 5:] == 0).all()


def test_standardize_uses_the_standard_deviation_of_each_tasks_valid_values() -> None:
    values = torch.tensor([[[0.0, 4.0, 99.0]], [[5.0, 5.0, 5.0]]])
    valid = torch.tensor([[[True, True, False]], [[True, True, True]]])
    # task 0: mean 2, standard deviation 2 (its variance, 4, would give ±0.5); task 1 does not vary
    assert standardize(values, valid).tolist() == [[pytest.approx([-1.0, 1.0, 0.0])], [[0.0, 0.0, 0.0]]]
