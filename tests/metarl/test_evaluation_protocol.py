from collections.abc import Sequence
from typing import Any, cast

import gymnasium as gym
import metaworld
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metaworld.evaluation import metalearning_evaluation
from rich.progress import Progress

from metarl.acting.agents import Agent
from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.errors import RunFailure
from metarl.evaluation import Evaluation, evaluate
from metarl_envs.core import StepResult, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError

HORIZON = 8


def task(name: str = "lane-v3", *, reward: float = 1.0, length: int = HORIZON, solved_at: Sequence[int] = ()) -> Task:
    """Episodes of `length` steps that pay `reward` each; those steps (from 0) whose bit is set count as solved."""
    return Task(name, [reward, length, sum(2**step for step in solved_at)])


class LaneEnv(TaskVectorEnv):
    """Plays such tasks. An observation is (step, offset drawn at reset); a step pays reward * action + offset."""

    def __init__(self, num_envs: int) -> None:
        self.num_envs, self.horizon, self.closed_count = num_envs, HORIZON, 0
        self.single_observation_space = gym.spaces.Box(-np.inf, np.inf, (2,))
        self.single_action_space = gym.spaces.Box(-np.inf, np.inf, (1,))
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks = self._check_count(tasks)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        self.rewards, self.lengths, self.solved = np.array([task.parameters for task in self.tasks]).T
        self.generators = [np.random.default_rng(one) for one in self._seed_each(seed)]
        self.steps = np.zeros(self.num_envs)
        self.offsets = np.array([generator.random() for generator in self.generators])
        return self._observe(), {}

    def step(self, actions: Array) -> StepResult:
        assert actions.shape == (self.num_envs, 1)
        rewards = self.rewards * actions[:, 0] + self.offsets
        infos: dict[str, Any] = {"success": (self.solved.astype(int) >> self.steps.astype(int)) % 2 == 1}
        self.steps += 1
        ended = self.steps >= self.lengths
        truncated = ended & (self.lengths >= HORIZON)
        if ended.any():
            infos |= {"final_obs": self._observe(), "_final_obs": ended}
        for env in np.flatnonzero(ended):
            self.steps[env], self.offsets[env] = 0, self.generators[env].random()
        return self._observe(), rewards, ended & ~truncated, truncated, infos

    def close(self, **options: Any) -> None:
        self.closed_count += 1

    def _observe(self) -> Array:
        return np.stack([self.steps, self.offsets], axis=1).astype(np.float32)


class Lanes(TaskDistribution):
    def __init__(self, test_tasks: Sequence[Task]) -> None:
        super().__init__(
            "lanes", [task(reward=-77)], test_tasks, gym.spaces.Box(-1, 1, (2,)), gym.spaces.Box(-1, 1), HORIZON
        )
        self.made: list[LaneEnv] = []

    def make_env(self, num_envs: int, render_mode: str | None = None) -> LaneEnv:
        self.made.append(LaneEnv(num_envs))
        return self.made[-1]


class Inert:
    """Acts 1 whatever happens, and keeps a diary."""

    adaptation_steps = 1

    def __init__(self) -> None:
        self.diary: list[tuple[str, Any]] = []

    def init(self) -> None:
        self.diary.append(("init", None))

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        self.diary.append(("adapt_action", observations))
        return np.ones((len(observations), 1)), {"noise": np.zeros(len(observations))}

    def eval_action(self, observations: Array) -> Array:
        self.diary.append(("eval_action", observations))
        return np.ones((len(observations), 1))

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        self.diary.append(("step", timestep))
        self.diary.append(("valid", valid))

    def adapt(self) -> None:
        self.diary.append(("adapt", None))

    def reset(self, env_mask: BoolArray) -> None:
        self.diary.append(("reset", env_mask.copy()))

    def entries(self, *kinds: str) -> list[Any]:
        return [entry for kind, entry in self.diary if kind in kinds]


class Averager(Inert):
    """Learns each task's reward from valid adaptation steps; its adapted action is that estimate."""

    rewards: float | Array
    counts: float | Array

    def init(self) -> None:
        self.rewards, self.counts = 0.0, 0.0

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        if "noise" in timestep.aux_policy_outputs:
            assert valid is not None
            self.rewards = self.rewards + valid * (timestep.reward - timestep.observation[:, 1])
            self.counts = self.counts + valid

    def adapt(self) -> None:
        self.estimate = self.rewards / np.maximum(self.counts, 1)

    def eval_action(self, observations: Array) -> Array:
        return np.broadcast_to(np.reshape(self.estimate, (-1, 1)), (len(observations), 1))

    def reset(self, env_mask: BoolArray) -> None:
        pass


def run(agent: Agent, tasks: Sequence[Task], **options: Any) -> Evaluation:
    return evaluate(agent, Lanes(list(dict.fromkeys(tasks))), tasks, **{"seed": 0, **options})


def test_success_and_returns_by_hand() -> None:
    tasks = [
        task(reward=3, length=4, solved_at=[1]),  # solved on the way, lost again
        task(reward=5, length=4, solved_at=[2, 3]),  # solved to the end
        task(reward=7, length=2),
    ]
    found = run(Inert(), tasks, adaptation_episodes=[0, 2], episodes=3)
    assert found.success.tolist() == [[[True] * 3, [True] * 3, [False] * 3]] * 2
    assert found.success_last.tolist() == [[[False] * 3, [True] * 3, [False] * 3]] * 2
    # Offsets lie in [0, 1): a return is steps * (reward + offset), over the whole episode and not up to the success.
    steps, rewards = np.array([4, 4, 2])[:, None], np.array([3, 5, 7])[:, None]
    offsets = found.returns / steps - rewards
    assert found.returns.shape == (2, 3, 3)
    assert ((offsets >= 0) & (offsets < 1)).all()
    assert len(np.unique(offsets.round(6))) == 18  # every episode, task and k has its own randomness


def test_quick_episodes_do_not_crowd_out_slow_ones() -> None:
    """One task of four is solved, and at once: 25 %, though Meta-World's evaluator reports 100 % for it."""
    tasks = [task(reward=reward, solved_at=[0] if reward == 1 else []) for reward in (1, 2, 3, 4)]
    found = run(Inert(), tasks, adaptation_episodes=[0], episodes=3)
    assert found.overall[0].success.mean == 0.25

    class MetaWorldLike(LaneEnv):
        terminate = False

        def get_attr(self, name: str) -> tuple[Any, ...]:
            values = {"terminate_on_success": self.terminate, "task_name": "SawyerReachEnvV3"}
            return (values[name],) * self.num_envs

        def call(self, name: str, *arguments: Any) -> None:
            if name == "toggle_terminate_on_success":
                self.terminate = arguments[0]

        def reset(
            self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
        ) -> tuple[Array, dict[str, Any]]:
            return super().reset(seed=range(self.num_envs))

        def step(self, actions: Array) -> StepResult:
            observations, rewards, terminated, truncated, infos = super().step(actions)
            if self.terminate:
                terminated = infos["success"] & ~truncated
                self.steps[terminated] = 0
            infos["final_info"] = {"success": infos["success"], "episode": {"r": rewards}}
            return observations, rewards, terminated, truncated, infos

    env = MetaWorldLike(4)
    env.set_tasks(tasks)
    vector = cast("gym.vector.SyncVectorEnv[Any, Any]", env)  # has all that the evaluator asks for
    theirs, _, _ = metalearning_evaluation(Inert(), vector, num_evals=1, adaptation_episodes=1, evaluation_episodes=3)
    assert theirs == 1


def test_an_agent_runs_under_meta_worlds_own_evaluator() -> None:
    class Reaching(Inert):
        def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
            actions, auxiliary = super().adapt_action(observations)
            return np.tile(actions, 4), auxiliary

        def eval_action(self, observations: Array) -> Array:
            return np.tile(super().eval_action(observations), 4)

    agent = Reaching()
    envs = metaworld.make_ml_envs_test(
        "reach-v3", seed=1, meta_batch_size=2, total_tasks_per_cls=4, max_episode_steps=20
    )
    assert isinstance(envs, gym.vector.SyncVectorEnv)
    metalearning_evaluation(agent, envs, num_evals=2, adaptation_episodes=2, evaluation_episodes=1)
    envs.close()
    kinds = [kind for kind, _ in agent.diary]
    assert kinds.count("init") == kinds.count("adapt") == 2
    assert len(agent.entries("step")) == len(agent.entries("adapt_action")) == 2 * 2 * 20
    assert agent.entries("eval_action")


@given(
    lengths=st.lists(st.integers(1, HORIZON), min_size=1, max_size=4),
    k=st.integers(0, 5),
    steps=st.integers(1, 4),
    episodes=st.integers(1, 3),
)
@settings(max_examples=50, deadline=None)
def test_every_environment_plays_exactly_its_episodes(lengths, k, steps, episodes) -> None:
    tasks = [task(reward=index, length=length) for index, length in enumerate(lengths)]
    agent = Inert()
    agent.adaptation_steps = steps
    run(agent, tasks, adaptation_episodes=[k], episodes=episodes)
    everything = list(zip(agent.entries("step"), agent.entries("valid"), strict=True))
    adapting = [(entry, valid) for entry, valid in everything if "noise" in entry.aux_policy_outputs]
    evaluating = [(entry, valid) for entry, valid in everything if "noise" not in entry.aux_policy_outputs]
    for told, wanted in ((adapting, k), (evaluating, episodes)):
        steps_told = sum((valid for _, valid in told), np.zeros(len(tasks)))
        ends = sum(((entry.terminated | entry.truncated) * valid for entry, valid in told), 0.0)
        assert steps_told.tolist() == [wanted * length for length in lengths]
        assert np.all(ends == wanted)
    assert len(agent.entries("adapt")) == max(1, min(k, steps))


@pytest.mark.parametrize(
    ("k", "steps", "rounds"),
    [(0, 1, [0]), (1, 1, [1]), (10, 1, [10]), (0, 3, [0]), (1, 3, [1]), (3, 3, [1, 1, 1]), (10, 3, [4, 3, 3])],
)
def test_episodes_are_spread_over_adaptation_steps(k, steps, rounds) -> None:
    agent = Inert()
    agent.adaptation_steps = steps
    run(agent, [task(length=1)], adaptation_episodes=[k], episodes=2)
    adaptation = [call for count in rounds for call in [*["adapt_action", "step"] * count, "adapt"]]
    evaluation = ["eval_action", "step", "reset"] * 2
    assert [kind for kind, _ in agent.diary if kind != "valid"] == ["init", *adaptation, "reset", *evaluation]


def test_the_agent_is_told_what_it_saw_and_reset_where_an_episode_begins() -> None:
    agent = Inert()
    run(agent, [task(length=2), task(length=3)], adaptation_episodes=[1], episodes=2)
    seen = agent.entries("adapt_action", "eval_action")
    told = agent.entries("step")
    assert all(timestep.observation is observation for timestep, observation in zip(told, seen, strict=True))
    assert all(observation.dtype == np.float64 for observation in seen)
    steps = [timestep.observation[:, 0].tolist() for timestep in told]
    assert steps == [[0, 0], [1, 1], [0, 2], [0, 0], [1, 1], [0, 2], [1, 0], [0, 1], [1, 2]]
    valid = [mask.tolist() for mask in agent.entries("valid")]
    assert valid == [[1, 1]] * 2 + [[0, 1]] + [[1, 1]] * 4 + [[0, 1]] * 2
    masks = [mask.tolist() for mask in agent.entries("reset")]
    assert masks == [[True, True], [True, False], [False, True], [True, False], [True, True]]


def test_adaptation_reaches_the_optimum_of_a_known_problem() -> None:
    """The adapted action is the mean reward: an adapted step pays reward ** 2 + offset, an unadapted one the offset."""
    tasks = [task(reward=reward, length=length) for reward, length in ((2, 8), (-3, 5), (4, 2))]
    found = run(Averager(), tasks, adaptation_episodes=[0, 1, 3], episodes=5)
    offsets = (found.returns / np.array([8, 5, 2])[:, None]) - np.array([0, 1, 1])[:, None, None] * [[4], [9], [16]]
    assert ((offsets >= 0) & (offsets < 1)).all()
    assert found.overall[0].return_gain is None
    gain = found.overall[2].return_gain
    assert gain is not None
    assert gain.mean == pytest.approx((32 + 45 + 32) / 3, abs=5)


@given(num_tasks=st.integers(1, 6), num_envs=st.integers(1, 8), given_env=st.booleans())
@settings(max_examples=40, deadline=None)
def test_results_do_not_depend_on_how_tasks_are_batched(num_tasks, num_envs, given_env) -> None:
    tasks = [task(reward=index, length=1 + index) for index in range(num_tasks)]
    options = {"adaptation_episodes": [0, 3], "episodes": 2}
    one_by_one = run(Averager(), tasks, num_envs=1, **options)
    batched = run(Averager(), tasks, **options, **({"env": LaneEnv(num_envs)} if given_env else {"num_envs": num_envs}))
    assert np.array_equal(one_by_one.returns, batched.returns)
    assert batched.task_ids == tuple(one.id for one in tasks)


def test_each_k_is_measured_independently() -> None:
    tasks = [task(reward=1), task(reward=2, length=3)]
    together = run(Averager(), tasks, adaptation_episodes=[3, 0, 1])
    alone = run(Averager(), tasks, adaptation_episodes=[1])
    assert together.adaptation_episodes == (0, 1, 3)
    assert np.array_equal(together.returns[1], alone.returns[0])


def test_the_seed_decides() -> None:
    first, again, other = (run(Averager(), [task()], seed=seed) for seed in (1, 1, 2))
    assert first.to_dict() == again.to_dict()
    assert not np.array_equal(first.returns, other.returns)


def test_every_round_and_the_evaluation_have_their_own_randomness() -> None:
    agent = Inert()
    agent.adaptation_steps = 2
    run(agent, [task(length=1)], adaptation_episodes=[0, 2], episodes=1)
    offsets = [observations[0, 1] for observations in agent.entries("adapt_action", "eval_action")]
    assert len(set(offsets)) == len(offsets) == 4


def test_tasks_are_spread_evenly_and_only_an_own_environment_is_closed() -> None:
    tasks = [task(reward=index) for index in range(5)]
    family = Lanes(tasks)
    evaluate(Inert(), family, tasks, seed=0, adaptation_episodes=[0], num_envs=4)
    assert [(env.num_envs, env.closed_count) for env in family.made] == [(3, 1)]
    env = LaneEnv(2)
    evaluate(Inert(), family, tasks, seed=0, adaptation_episodes=[0], env=env)
    assert len(family.made) == 1
    assert env.closed_count == 0


def test_an_own_environment_is_closed_when_the_agent_fails() -> None:
    class Failing(Inert):
        def eval_action(self, observations: Array) -> Array:
            raise RuntimeError("no action")

    family = Lanes([task()])
    with pytest.raises(RuntimeError, match="no action"):
        evaluate(Failing(), family, family.test_tasks, seed=0, adaptation_episodes=[0])
    assert family.made[0].closed_count == 1


def test_progress_counts_every_episode() -> None:
    tasks = [task(reward=index, length=1 + index) for index in range(5)]
    with Progress(disable=True) as progress:
        run(Inert(), tasks, adaptation_episodes=[0, 3], episodes=2, num_envs=2, progress=progress)
    (bar,) = progress.tasks
    assert bar.total == bar.completed == 3 * 2 * (2 + 5)  # batches, environments, episodes


def test_held_out_is_said_of_test_tasks_only() -> None:
    family = Lanes([task()])
    assert evaluate(Inert(), family, family.test_tasks, seed=0).held_out
    assert not evaluate(Inert(), family, [*family.test_tasks, *family.train_tasks], seed=0).held_out
    family.train_tasks = family.test_tasks  # as where there are no others
    assert not evaluate(Inert(), family, family.test_tasks, seed=0).held_out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adaptation_episodes": [0, -1]}, r"adaptation_episodes .* none below 0: got \[0, -1\]"),
        ({"adaptation_episodes": [1, 3, 1]}, r"different numbers.*got \[1, 3, 1\]"),
        ({"adaptation_episodes": []}, r"got \[\]"),
        ({"episodes": 0}, "episodes must be at least 1: got 0"),
        ({"seed": -1}, "seed must be at least 0: got -1"),
        ({"num_envs": 0}, "num_envs must be at least 1: got 0"),
    ],
)
def test_bad_numbers_are_refused_in_one_line(options, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run(Inert(), [task()], **options)
    assert "\n" not in str(caught.value)


def test_no_task_is_refused() -> None:
    with pytest.raises(UserError, match="at least one task"):
        evaluate(Inert(), Lanes([task()]), [], seed=0)


def test_a_return_that_is_no_number_is_a_failure() -> None:
    with pytest.raises(RunFailure, match="lanes gave returns that are not finite"):
        run(Inert(), [task(reward=float("nan"))])
