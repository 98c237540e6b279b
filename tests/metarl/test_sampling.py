import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_env import Counting, CountingEnv
from torch import Tensor

from metarl.acting.actions import to_environment, to_vectors
from metarl.acting.actors import PolicyActor, RandomActor
from metarl.acting.play import VectorPlay, play
from metarl.acting.sampler import Sampler
from metarl.data.steps import Array
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.errors import RunFailure
from metarl.policies.inputs import PolicyInput
from metarl_envs.core import StepResult, Task
from metarl_envs.errors import UserError

CPU = torch.device("cpu")


class RecordingActor(PolicyActor):
    """Does 0.1, 0.2, ... in its first component and keeps what it was shown."""

    def __init__(self, noise: Sequence[np.random.Generator]) -> None:
        super().__init__(Counting().action_space, CPU, noise)
        self.inputs: list[PolicyInput] = []

    def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
        self.inputs.append(inputs)
        actions = torch.zeros(len(inputs.observations), 2)
        actions[:, 0] = 0.1 * len(self.inputs)
        parameters = torch.zeros(len(actions), 4)
        parameters[:, 2:] = len(self.inputs)  # the logarithms of the standard deviations
        return actions, parameters


class Shifting(RecordingActor):
    """Does what depends on the task and on the step before; for each vector there is one, with a clock of its own."""

    def __init__(self, shifts: Tensor, noise: Sequence[np.random.Generator]) -> None:
        super().__init__(noise)
        self.shifts = shifts

    def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
        actions, parameters = super().choose(inputs)
        envs_per_task = len(actions) // len(self.shifts)
        actions += self.shifts.repeat_interleave(envs_per_task, 0) + 0.001 * inputs.previous_rewards.unsqueeze(1)
        return actions, parameters


def collect(
    envs_per_task: int, episodes: int, kind: type[RecordingActor] = RecordingActor
) -> tuple[Trajectories, Sampler, CountingEnv, RecordingActor]:
    """What an actor did in the training tasks."""
    distribution = Counting()
    tasks = list(distribution.train_tasks)
    env = distribution.make_env(len(tasks) * envs_per_task)
    sampler = Sampler([env], tasks, (7, 2, 0), CPU)
    actors: list[RecordingActor] = []

    def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> RecordingActor:
        actors.append(kind(noise))
        return actors[-1]

    return sampler.collect(make_actor, episodes), sampler, env, actors[0]


def test_episodes_one_after_the_other_land_where_they_belong() -> None:
    trajectories, sampler, _, _ = collect(envs_per_task=1, episodes=2)
    assert trajectories.observations.shape == (3, 2, 4, 2)
    # task 1 has episodes of 3 steps: its clock runs 0 1 2 in the first and 3 4 5 in the second, then padding
    assert trajectories.observations[1, :, :, 0].tolist() == [[0, 1, 2, 0], [3, 4, 5, 0]]
    assert trajectories.valid[1].tolist() == [[True, True, True, False]] * 2
    expected = [[20 + step + 1e-4 * (step + 1) for step in steps] for steps in ([0, 1, 2], [3, 4, 5])]
    torch.testing.assert_close(trajectories.rewards[1, :, :3], torch.tensor(expected))
    # of normal distributions with the standard deviations e, e², ... around 0, at (0.1, 0), (0.2, 0), ...
    exact = [-0.5 * (0.1 * t * math.exp(-t)) ** 2 - 2 * t - math.log(2 * math.pi) for t in range(1, 7)]
    assert trajectories.log_probs[1].flatten().tolist() == pytest.approx([*exact[:3], 0, *exact[3:], 0])
    assert trajectories.final_observations[:, :, 0].tolist() == [[2.5, 4.5], [3.5, 6.5], [4.5, 8.5]]
    assert trajectories.terminated[0].tolist() == [[False, True, False, False]] * 2
    assert trajectories.truncated[1].tolist() == [[False, False, True, False]] * 2
    assert trajectories.terminated[1].sum() == trajectories.truncated[0].sum() == 0
    assert trajectories.solved.all()
    assert trajectories.num_steps == sampler.steps == 2 * (2 + 3 + 4)


def test_episodes_side_by_side_are_grouped_by_task() -> None:
    trajectories, _, env, _ = collect(envs_per_task=2, episodes=4)
    assert trajectories.rewards.shape == (3, 4, 4)
    assert [task.parameters[1] for task in env.tasks] == [10, 10, 20, 20, 30, 30]
    assert trajectories.observations[..., 0, 1].tolist() == [[10.0] * 4, [20.0] * 4, [30.0] * 4]


def test_policy_sees_exactly_the_step_before_also_across_episodes() -> None:
    _, _, _, actor = collect(envs_per_task=1, episodes=2)
    shown = actor.inputs
    assert shown[0].previous_actions.abs().sum() == shown[0].previous_rewards.abs().sum() == 0
    assert shown[0].episode_start.tolist() == [True, True, True]
    # task 0's first episode ends with its second step; the third action is told that step's action and reward
    assert shown[2].episode_start.tolist() == [True, False, False]
    assert shown[2].previous_actions[0].tolist() == pytest.approx([0.2, 0.0])
    assert shown[2].previous_rewards.tolist() == pytest.approx([11.0002, 21.0002, 31.0002])


def test_environments_that_wait_for_others_are_not_recorded() -> None:
    trajectories, _, env, _ = collect(envs_per_task=1, episodes=1)
    assert len(env.received) == 4
    assert trajectories.valid.sum((1, 2)).tolist() == [2, 3, 4]


def test_collections_differ_and_repeat() -> None:
    def run() -> tuple[Trajectories, Trajectories, list[list[int | None]]]:
        distribution = Counting()
        env = distribution.make_env(3)
        sampler = Sampler([env], distribution.train_tasks, (7, 2, 0), CPU)

        def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> RandomActor:
            return RandomActor(distribution.action_space, noise)

        return sampler.collect(make_actor, 1), sampler.collect(make_actor, 1), env.seeds

    first, second, seeds = run()
    again, _, _ = run()
    assert torch.equal(first.actions, again.actions)
    assert not torch.equal(first.actions, second.actions)
    assert len({*seeds[0], *seeds[1]}) == 6


def test_actions_are_clipped_for_the_environment_and_recorded_as_sampled() -> None:
    class Strong(RecordingActor):
        def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
            return torch.full((len(inputs.observations), 2), 5.0), torch.zeros(len(inputs.observations), 4)

    trajectories, _, env, _ = collect(envs_per_task=1, episodes=1, kind=Strong)
    assert np.max(env.received) == 1.0
    assert trajectories.actions[0, 0, 0].tolist() == [5.0, 5.0]


def test_a_policys_actions_are_in_units_of_the_action_space() -> None:
    space = gym.spaces.Box(np.array([-0.1, 0.0, -np.inf]), np.array([0.1, 4.0, np.inf]), dtype=np.float64)
    vectors = np.array([[1.0, -1.0, 7.0], [0.5, 0.5, -2.0], [-3.0, 2.0, 0.0]])
    actions = to_environment(vectors, space)
    assert actions.tolist() == [[0.1, 0.0, 7.0], [0.05, 3.0, -2.0], [-0.1, 4.0, 0.0]]
    np.testing.assert_allclose(to_vectors(actions[:2], space), vectors[:2])


def test_discrete_actions_are_one_hot_vectors_for_the_policy() -> None:
    space = Counting(discrete=True).action_space
    vectors = np.eye(3, dtype=np.float32)[[2, 0]]
    assert to_environment(vectors, space).tolist() == [2, 0]
    assert to_vectors(np.array([2, 0]), space).tolist() == vectors.tolist()


def test_non_finite_actions_stop_the_run_and_name_the_place() -> None:
    class Broken(RecordingActor):
        def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
            actions = torch.zeros(len(inputs.observations), 2)
            actions[1, 0] = float("nan")
            return actions, torch.zeros(len(actions), 4)

    with pytest.raises(RunFailure, match="non-finite action in environment 1 at step 0"):
        collect(envs_per_task=1, episodes=1, kind=Broken)


@pytest.mark.parametrize("split", [(1, 2), (2, 1), (1, 1, 1)])
def test_several_vectors_record_what_one_does(split) -> None:
    def play(split: Sequence[int]) -> tuple[Trajectories, int, list[int | None], list[Shifting]]:
        distribution = Counting()
        envs = [distribution.make_env(2 * count) for count in split]
        sampler = Sampler(envs, distribution.train_tasks, (7, 2, 0), CPU)
        shifts = torch.tensor([[0.0], [0.2], [0.4]])
        actors: list[Shifting] = []

        def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> Shifting:
            actors.append(Shifting(shifts[tasks], noise))
            return actors[-1]

        trajectories = sampler.collect(make_actor, 4)
        return trajectories, sampler.steps, [seed for env in envs for seed in env.seeds[0]], actors

    alone, steps, seeds, _ = play((3,))
    together, *others, actors = play(split)
    assert others == [steps, seeds]
    assert [len(actor.shifts) for actor in actors] == list(split)
    assert together.tasks == alone.tasks == Counting().train_tasks
    for name in TENSORS:
        assert torch.equal(getattr(together, name), getattr(alone, name))


@pytest.mark.parametrize("discrete", [False, True])
@pytest.mark.parametrize("split", [(2, 1), (1, 1, 1)])
@pytest.mark.parametrize("indices", [(0, 1, 2), (2, 0), (1,)])
def test_a_tasks_episodes_depend_on_its_index_in_the_meta_batch_alone(discrete, split, indices) -> None:
    distribution = Counting(discrete=discrete)

    def play(envs: Sequence[CountingEnv], indices: Sequence[int] | None, tasks: Sequence[Task]) -> Trajectories:
        sampler = Sampler(envs, tasks, (7, 2, 0), CPU, indices)
        assert sampler.indices == tuple(range(3) if indices is None else indices)
        assert sampler.tasks == tuple(tasks)
        first = sampler.collect(lambda _, noise: RandomActor(distribution.action_space, noise), 4)
        second = sampler.collect(lambda _, noise: RandomActor(distribution.action_space, noise), 4)
        assert not torch.equal(first.actions, second.actions)
        return second

    whole = play([distribution.make_env(6)], None, distribution.train_tasks)
    split = split if len(indices) == 3 else (1,) * len(indices)
    envs = [distribution.make_env(2 * count) for count in split]
    part = play(envs, indices, [distribution.train_tasks[index] for index in indices])
    for name in TENSORS:
        assert torch.equal(getattr(part, name), getattr(whole, name)[list(indices)])
    seeds = [seed for env in envs for seed in env.seeds[1]]
    assert len(set(seeds)) == len(seeds) == 2 * len(indices)
    assert whole.actions[0].tolist() != whole.actions[1].tolist()


def test_the_policy_acts_for_one_vector_while_the_other_steps() -> None:
    happened: list[str] = []

    class TellingEnv(CountingEnv):
        @property
        def name(self) -> str:
            return "first" if self.num_envs == 2 else "second"

        def send(self, actions: Array) -> None:
            happened.append(f"{self.name} begins")
            super().send(actions)

        def receive(self) -> StepResult:
            happened.append(f"{self.name} ends")
            return super().receive()

    class Telling(Counting):
        def make_env(self, num_envs: int, render_mode: str | None = None) -> TellingEnv:
            return TellingEnv(num_envs, self.horizon)

    distribution = Telling()
    envs = [distribution.make_env(count) for count in (2, 1)]
    Sampler(envs, distribution.train_tasks, (7,), CPU).collect(lambda tasks, noise: RecordingActor(noise), 1)
    assert happened[:6] == [
        "first begins",
        "second begins",
        "first ends",
        "first begins",
        "second ends",
        "second begins",
    ]
    assert happened[-2:] == [
        "second begins",
        "second ends",
    ]  # task 2 has the longest episode; the others are not stepped on
    assert happened.count("first begins") == 3


def test_environments_that_cannot_be_split_among_the_tasks_are_refused() -> None:
    distribution = Counting()
    for envs in (2, 4):
        with pytest.raises(UserError, match=f"^{envs} environments cannot be split evenly among 3 tasks$"):
            Sampler([distribution.make_env(envs)], list(distribution.train_tasks), (7,), CPU)


@pytest.mark.parametrize("episodes", [0, 1, 3])
def test_episodes_that_cannot_be_split_among_the_environments_are_refused(episodes: int) -> None:
    with pytest.raises(
        UserError, match=f"^episodes must be a multiple of 2, the environments per task: got {episodes}$"
    ):
        collect(envs_per_task=2, episodes=episodes)


def test_vectors_without_episodes_to_play_are_not_stepped() -> None:
    distribution = Counting()
    env = distribution.make_env(3)
    env.set_tasks(distribution.train_tasks)
    noise = [np.random.default_rng(seed) for seed in (1, 2, 3)]
    assert list(play([VectorPlay(env, RandomActor(distribution.action_space, noise), 0, [1, 2, 3])])) == []
    assert [rng.random() for rng in noise] == [np.random.default_rng(seed).random() for seed in (1, 2, 3)]  # none drawn


def test_it_counts_the_seconds_of_setting_tasks_and_of_collecting(monkeypatch) -> None:
    clock = iter([0.0, 1.0, 50.0, 70.0, 100.0, 400.0])
    monkeypatch.setattr("metarl.acting.sampler.seconds_now", lambda device: next(clock))
    _, sampler, _, _ = collect(envs_per_task=1, episodes=1)
    assert sampler.seconds == 21.0
    sampler.collect(lambda tasks, noise: RecordingActor(noise), 1)
    assert sampler.seconds == 321.0


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-2, 2), (3, 3)])
def test_integers_of_a_box_have_equal_shares(low: int, high: int) -> None:
    space = gym.spaces.Box(low, high, (1,), np.int64)
    units = np.linspace(-1, 1, 1001)[:, None]
    chosen = to_environment(units, space)
    assert chosen.dtype == np.int64
    values, counts = np.unique(chosen, return_counts=True)
    np.testing.assert_array_equal(values, np.arange(low, high + 1))
    assert counts.max() - counts.min() <= 2
    inside = np.arange(low, high + 1)[:, None]
    np.testing.assert_array_equal(to_environment(to_vectors(inside, space), space), inside)
    assert to_environment(np.array([[7.0], [-7.0]]), space).ravel().tolist() == [high, low]
