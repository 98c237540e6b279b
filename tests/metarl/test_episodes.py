"""What is accepted as recorded episodes, and how a mistake in them is told."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metarl.data.episodes import Episode, check_episodes
from metarl.data.steps import Array
from metarl_envs.errors import UserError

BOX = gym.spaces.Box(-1, 1, (2,))
CHOICES = gym.spaces.Discrete(3, start=1)
OBSERVATIONS, ACTIONS, REWARDS = np.zeros((4, 3)), np.zeros((4, 2)), np.zeros(4)


def changed(array: Array, at: Any, value: float) -> Array:
    array = array.copy()
    array[at] = value
    return array


def test_lists_and_tuples_become_arrays() -> None:
    (episode,) = check_episodes([([[1, 2, 3]], [[0.5, 0.5]], [7])], 3, BOX)
    assert isinstance(episode, Episode)
    assert [field.tolist() for field in episode] == [[[1, 2, 3]], [[0.5, 0.5]], [7]]
    (episode,) = check_episodes([Episode(OBSERVATIONS, np.array([1.0, 2, 3, 1]), REWARDS)], 3, CHOICES)
    assert episode.actions.dtype == np.int64


@pytest.mark.parametrize(
    ("episode", "space", "message"),
    [
        ((OBSERVATIONS, ACTIONS), BOX, r"episodes\[1\] must be \(observations, actions, rewards\): got 2 items"),
        ((OBSERVATIONS[:, :2], ACTIONS, REWARDS), BOX, r"\[1\].observations must have shape \(4, 3\), .* got \(4, 2\)"),
        ((OBSERVATIONS, ACTIONS[:3], REWARDS), BOX, r"\[1\].actions must have shape \(4, 2\), .* got \(3, 2\)"),
        ((OBSERVATIONS, ACTIONS[:, 0], REWARDS), BOX, r"\[1\].actions must have shape \(4, 2\), .* got \(4,\)"),
        ((OBSERVATIONS, ACTIONS, REWARDS[:, None]), BOX, r"\[1\].rewards must have shape \(step,\), .* got \(4, 1\)"),
        ((OBSERVATIONS[:0], ACTIONS[:0], []), BOX, r"\[1\].rewards .* with a step at least: got \(0,\)"),
        ((changed(OBSERVATIONS, (2, 1), np.nan), ACTIONS, REWARDS), BOX, r"\[1\].observations must be .* at step 2"),
        ((OBSERVATIONS, changed(ACTIONS, (0, 1), np.inf), REWARDS), BOX, r"\[1\].actions must be finite.* at step 0"),
        ((OBSERVATIONS, ACTIONS, changed(REWARDS, 3, np.nan)), BOX, r"\[1\].rewards must be finite.* at step 3"),
        ((OBSERVATIONS, ACTIONS, [1, 2, [3], 4]), BOX, r"\[1\].rewards must be an array of numbers"),
        ((OBSERVATIONS, [1, 2, 4, 1], REWARDS), CHOICES, r"\[1\].actions must be in Discrete.*: got 4 at step 2"),
        ((OBSERVATIONS, [1, 2, 1, 1.5], REWARDS), CHOICES, r"\[1\].actions must be in Discrete.*: got 1.5 at step 3"),
        ((OBSERVATIONS, ACTIONS, REWARDS), CHOICES, r"\[1\].actions must have shape \(4,\), .* got \(4, 2\)"),
    ],
)
def test_a_mistake_is_told_in_one_line(episode, space, message) -> None:
    right = (OBSERVATIONS, ACTIONS if space is BOX else [1, 2, 3, 1], REWARDS)
    with pytest.raises(UserError, match=message) as caught:
        check_episodes([right, episode], 3, space)
    assert "\n" not in str(caught.value)


def test_no_episode_is_a_mistake() -> None:
    with pytest.raises(UserError, match="at least one episode"):
        check_episodes([], 3, BOX)
