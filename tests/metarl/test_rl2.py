"""RL²: the inputs and the memory of the policy, and the samples that PPO learns from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from counting_env import Counting
from rl2_on_counting import in_order, longer, samples_over
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config
from metarl.algorithms.rl2.losses import (
    Samples,
    Trials,
    cut_into_chunks,
    linear_values,
    make_trials,
    ppo_terms,
    surrogate,
)
from metarl.data.episodes import Episode
from metarl.data.steps import Timestep
from metarl.data.trajectories import Trajectories
from metarl.policies.config import CoreConfig, GRUConfig, LSTMConfig, TransformerConfig
from metarl.policies.distributions import Gaussian
from metarl.policies.inputs import PolicyInput
from metarl_envs.core import Task

CPU = torch.device("cpu")
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=5),
    "lstm": LSTMConfig(hidden_size=5),
    "transformer": TransformerConfig(memory=3, model_size=8, layers=2, heads=2),
}


def make_rl2(
    distribution: Counting | None = None, core: str = "gru", tasks: Sequence[Task] = (), **settings: Any
) -> RL2:
    torch.manual_seed(0)
    distribution = distribution or Counting()
    config = RL2Config(meta_batch=3, episodes=2, core=CORES[core], **settings)
    return RL2(config, distribution.observation_space, distribution.action_space, CPU, tasks)


def play(rl2: RL2, distribution: Counting | None = None, episodes: int = 2) -> Trajectories:
    distribution = distribution or Counting()
    tasks = list(distribution.train_tasks)
    sampler = Sampler([distribution.make_env(len(tasks))], tasks, (1, 2, 3), CPU)
    return sampler.collect(rl2.make_actor, episodes)


def test_trials_lay_episodes_end_to_end_without_gaps() -> None:
    trajectories = play(make_rl2())
    trials = make_trials(trajectories)
    # task 0 plays two episodes of 2 steps, task 1 of 3, task 2 of 4: its clock runs on through the trial
    assert trials.valid.sum(1).tolist() == [4, 6, 8]
    for task, steps in enumerate([4, 6, 8]):
        assert trials.inputs.observations[task, :steps, 0].tolist() == list(range(steps))
    assert trials.inputs.episode_start[1].tolist() == [True, False, False, True, False, False, False, False]


def test_trials_show_the_action_and_reward_of_the_step_before_also_across_episodes() -> None:
    trajectories = play(make_rl2())
    trials = make_trials(trajectories)
    actions = torch.cat([trajectories.actions[1, 0, :3], trajectories.actions[1, 1, :3]])
    rewards = torch.cat([trajectories.rewards[1, 0, :3], trajectories.rewards[1, 1, :3]])
    assert torch.equal(trials.inputs.previous_actions[1, 1:6], actions[:5])
    assert torch.equal(trials.inputs.previous_rewards[1, 1:6], rewards[:5])
    assert trials.inputs.previous_rewards[1, 0] == 0
    assert (trials.inputs.previous_actions[1, 0] == 0).all()


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("observation_to_head", [False, True])
def test_learning_sees_the_same_inputs_and_probabilities_as_acting(core, observation_to_head) -> None:
    rl2 = make_rl2(core=core, observation_to_head=observation_to_head)
    samples = samples_of(play(rl2))
    outputs, _ = rl2.policy.sequence(samples.inputs, rl2.policy.initial_state(3))
    log_probs = rl2.distribution.log_prob(outputs, samples.actions)
    torch.testing.assert_close(log_probs[samples.valid], samples.log_probs[samples.valid], atol=1e-5, rtol=1e-5)
    terms = ppo_terms(rl2.distribution, outputs, samples, 0.2)
    assert terms.approximate_kl.item() == pytest.approx(0.0, abs=1e-6)
    assert terms.clip_fraction.item() == 0.0


@pytest.mark.parametrize("core", CORES)
def test_acting_does_not_depend_on_how_many_environments_act_at_once(core) -> None:
    rl2 = make_rl2(core=core)
    together = play(rl2)
    distribution = Counting()
    for index, task in enumerate(distribution.train_tasks):
        sampler = Sampler([distribution.make_env(1)], [task], (1, 2, 3), CPU, [index])
        alone = sampler.collect(rl2.make_actor, 2)
        torch.testing.assert_close(alone.actions[0], together.actions[index], atol=1e-6, rtol=0)


def samples_of(trajectories: Trajectories, discount: float = 0.9, gae_lambda: float = 0.8) -> Samples:
    trials = make_trials(trajectories)
    return samples_over(trials, linear_values(trials, discount, per_task=False), discount, gae_lambda)


def slow_samples(
    trajectories: Trajectories, values: Tensor, discount: float, gae_lambda: float
) -> tuple[list[npt.NDArray[np.float64]], list[list[float]]]:
    """Advantages, standardised over the batch, and returns to predict, by the sum of all residuals that follow."""
    advantages, returns = [], []
    for task in range(len(trajectories.valid)):
        rewards = trajectories.rewards[task][trajectories.valid[task]].double().tolist()
        value = [*values[task][: len(rewards)].tolist(), 0.0]
        residuals = [reward + discount * value[t + 1] - value[t] for t, reward in enumerate(rewards)]
        row = [
            sum((discount * gae_lambda) ** k * residual for k, residual in enumerate(residuals[t:]))
            for t in range(len(rewards))
        ]
        advantages.append(np.array(row))
        returns.append([sum(discount**k * reward for k, reward in enumerate(rewards[t:])) for t in range(len(rewards))])
    flat = np.concatenate(advantages)
    return [(row - flat.mean()) / flat.std() for row in advantages], returns


@pytest.mark.parametrize(("discount", "gae_lambda"), [(0.9, 0.8), (0.99, 1.0), (0.5, 0.0)])
def test_advantages_of_a_trial_equal_a_slow_reference(discount, gae_lambda) -> None:
    """Across the episodes of a trial, which end early here, by termination or by truncation."""
    trajectories = play(make_rl2())
    trials = make_trials(trajectories)
    values = torch.randn(trials.valid.shape, generator=torch.Generator().manual_seed(2)) * 30
    samples = samples_over(trials, values, discount, gae_lambda)
    advantages, returns = slow_samples(trajectories, values, discount, gae_lambda)
    for task, valid in enumerate(trials.valid):
        np.testing.assert_allclose(samples.advantages[task][valid], advantages[task], atol=1e-5)
        np.testing.assert_allclose(samples.returns[task][valid], returns[task], rtol=1e-5, atol=1e-4)
        assert not samples.advantages[task][~valid].any()
        assert not samples.returns[task][~valid].any()


def test_advantages_by_class_equal_those_of_each_class_alone() -> None:
    """Classes of which one earns a hundredfold weigh the same; a class alone is standardised as a meta-batch is."""
    trials = make_trials(play(make_rl2()))._replace(tasks=tuple(Task(name, []) for name in ("e", "b", "e")))
    trials = trials._replace(rewards=trials.rewards * torch.tensor([[1.0], [100.0], [1.0]]))
    values = torch.randn(trials.valid.shape, generator=torch.Generator().manual_seed(2))
    together = samples_over(trials, values, 0.9, 0.8, classes=("b", "e")).advantages
    for rows in ([1], [0, 2]):
        inputs = PolicyInput(*(x[rows] for x in trials.inputs))
        names = ("actions", "log_probs", "rewards", "valid")
        alone = Trials(inputs, **{name: getattr(trials, name)[rows] for name in names})
        expected = samples_over(alone, values[rows], 0.9, 0.8).advantages
        assert torch.equal(together[rows], expected)
        valid = trials.valid[rows]
        assert together[rows][valid].mean().item() == pytest.approx(0, abs=1e-5)
        assert together[rows][valid].std(correction=0).item() == pytest.approx(1, abs=1e-5)
        assert not together[rows][~valid].any()
    assert not torch.allclose(samples_over(trials, values, 0.9, 0.8).advantages, together, atol=0.1)


def test_trials_know_the_classes_of_their_tasks() -> None:
    tasks = tuple(Task(name, [1.0]) for name in ("push", "door", "push"))
    trials = make_trials(replace(play(make_rl2()), tasks=tasks))
    assert trials.classes(["door", "pull", "push"]).tolist() == [2, 0, 2]


@pytest.mark.parametrize("advantage_scale", ["meta_batch", "class"])
def test_the_setting_decides_what_advantages_are_standardised_over(advantage_scale: str) -> None:
    tasks = tuple(Task(name, []) for name in ("a", "b", "b"))
    rl2 = make_rl2(advantage_scale=advantage_scale, tasks=tasks)
    seen = []
    trials = make_trials(play(rl2))._replace(tasks=tasks)
    rl2.outer.update = lambda samples, *_: seen.append(samples) or {}  # type: ignore[method-assign, func-returns-value]
    rl2.learn(trials, torch.Generator())
    first = seen[0].advantages[0][trials.valid[0]]
    assert (abs(first.mean().item()) < 1e-4) == (advantage_scale == "class")


@pytest.mark.parametrize("per_task", [False, True])
def test_the_linear_baseline_is_fitted_to_returns_of_the_whole_trial(per_task) -> None:
    trials = make_trials(play(make_rl2()))
    values = linear_values(trials, 0.9, per_task)
    rows, targets = [], []
    for task, valid in enumerate(trials.valid):
        o = trials.inputs.observations[task][valid].double().clamp(-10, 10)
        t = torch.arange(len(o)).double().unsqueeze(1) / 100
        rows.append(torch.cat([o, o**2, t, t**2, t**3, torch.ones_like(t)], dim=1).numpy())
        rewards = trials.rewards[task][valid].tolist()
        targets.append([sum(0.9**k * r for k, r in enumerate(rewards[i:])) for i in range(len(rewards))])
    groups = [[0], [1], [2]] if per_task else [[0, 1, 2]]
    for group in groups:
        design, target = np.concatenate([rows[i] for i in group]), np.concatenate([targets[i] for i in group])
        ridge = np.sqrt(1e-5) * np.eye(design.shape[1])
        weights, *_ = np.linalg.lstsq(np.concatenate([design, ridge]), np.concatenate([target, np.zeros(len(ridge))]))
        for i in group:
            np.testing.assert_allclose(values[i][trials.valid[i]], rows[i] @ weights, rtol=1e-4, atol=1e-2)


def test_padding_behind_episodes_changes_nothing() -> None:
    trajectories = play(make_rl2())
    for one, other in zip(flat(samples_of(trajectories)), flat(samples_of(longer(trajectories))), strict=True):
        assert torch.equal(one, other)


def test_the_order_of_tasks_changes_nothing() -> None:
    trajectories = play(make_rl2())
    order = torch.tensor([2, 0, 1])
    reordered = samples_of(in_order(trajectories, order))
    for one, other in zip(flat(samples_of(trajectories)), flat(reordered), strict=True):
        torch.testing.assert_close(one[order].double(), other.double(), atol=1e-5, rtol=1e-5)


def flat(samples: Samples) -> list[Tensor]:
    return [each for each in (*samples.inputs, *samples[1:]) if each is not None]


def test_padding_takes_no_part_in_the_loss_nor_in_its_gradient() -> None:
    rl2 = make_rl2()
    samples = samples_of(play(rl2))
    outputs = torch.randn(*samples.valid.shape, 4, generator=torch.Generator().manual_seed(0))
    damaged = torch.where(samples.valid.unsqueeze(-1), outputs, -500.0).requires_grad_()
    terms = ppo_terms(rl2.distribution, damaged, samples, 0.2)
    for one, other in zip(ppo_terms(rl2.distribution, outputs, samples, 0.2), terms, strict=True):
        assert torch.equal(one, other)
    loss = terms.policy_loss + terms.entropy + surrogate(rl2.distribution, damaged, samples)
    (gradient,) = torch.autograd.grad(loss, damaged)
    assert not gradient[~samples.valid].any()
    assert gradient[samples.valid].isfinite().all()
    assert gradient[samples.valid].any()


def test_clipped_surrogate_worked_out_by_hand(monkeypatch) -> None:
    distribution = Gaussian(1)
    samples = samples_of(play(make_rl2()))
    old = torch.log(torch.tensor([[0.5, 0.5, 0.5, 0.5]]))
    new_over_old = torch.tensor([[2.0, 0.5, 1.1, 7.0]])
    log_probs = old + torch.log(new_over_old)
    samples = samples._replace(
        actions=torch.zeros(1, 4, 1),
        log_probs=old,
        advantages=torch.tensor([[1.0, 1.0, -2.0, 9.0]]),
        valid=torch.tensor([[True, True, True, False]]),
    )
    monkeypatch.setattr(distribution, "log_prob", lambda *_: log_probs)
    terms = ppo_terms(distribution, torch.zeros(1, 4, 2), samples, 0.2)
    # ratios 2, 0.5, 1.1: min(2, 1.2) = 1.2; min(0.5, 0.8) = 0.5; min(-2.2, -2.2) = -2.2
    assert terms.policy_loss.item() == pytest.approx(-(1.2 + 0.5 - 2.2) / 3)
    assert terms.clip_fraction.item() == pytest.approx(2 / 3)
    # TRPO's does not clip: 2 + 0.5 - 2.2
    assert surrogate(distribution, torch.zeros(1, 4, 2), samples).item() == pytest.approx(-(2 + 0.5 - 2.2) / 3)


def test_rows_are_cut_into_chunks_in_order() -> None:
    samples = samples_of(play(make_rl2()))
    assert samples.valid.shape == (3, 8)
    rows = cut_into_chunks(samples, 3)
    assert rows.valid.shape == (9, 3)
    assert rows.valid.any(1).tolist() == [True, True, False, True, True, False, True, True, True]
    for task in range(3):
        again = rows.inputs.observations[3 * task : 3 * task + 3].reshape(9, 2)
        assert torch.equal(again[:8], samples.inputs.observations[task])
        assert not rows.valid[3 * task : 3 * task + 3].reshape(9)[8]


@pytest.mark.parametrize("space", [gym.spaces.Box(-1, 1, (2,), np.float64), gym.spaces.Discrete(3)], ids=str)
def test_agent_is_shown_what_training_shows(space, monkeypatch) -> None:
    """Fed a trial step by step, the agent's policy gets the inputs that `make_trials` makes of the same trial."""
    distribution = Counting(discrete=isinstance(space, gym.spaces.Discrete))
    rl2 = make_rl2(distribution)
    shown = []
    original = rl2.policy.step

    def spy(inputs: PolicyInput, state: Tensor) -> tuple[Tensor, Tensor]:
        shown.append(inputs)
        return original(inputs, state)

    monkeypatch.setattr(rl2.policy, "step", spy)
    agent = rl2.make_agent(seed=3)
    env = distribution.make_env(1)
    env.set_tasks(distribution.train_tasks[1:2])
    observations, _ = env.reset()
    for _ in range(6):
        actions, auxiliary = agent.adapt_action(observations)
        following, rewards, terminated, truncated, _ = env.step(actions)
        agent.step(Timestep(observations, actions, rewards, terminated, truncated, auxiliary))
        observations = following
    assert [bool(inputs.episode_start) for inputs in shown] == [True, False, False, True, False, False]
    for t in range(1, 6):
        expected = 20 + (t - 1) + env.received[t - 1].reshape(-1)[0] / 1000
        assert shown[t].previous_rewards.item() == pytest.approx(expected, rel=1e-5)
        chosen = np.asarray(env.received[t - 1]).reshape(-1)
        previous = shown[t].previous_actions[0]
        if distribution.action_space == space and isinstance(space, gym.spaces.Discrete):
            assert previous.argmax().item() == chosen[0]
        else:
            np.testing.assert_allclose(previous.clamp(-1, 1), chosen, atol=1e-6)


def test_agent_evaluates_every_episode_from_the_memory_that_adaptation_ended_with() -> None:
    rl2 = make_rl2()
    agent = rl2.make_agent(seed=3)
    observations = np.array([[0.0, 20.0], [0.0, 30.0]])
    nothing = np.zeros(2, bool)
    agent.adapt_action(observations)
    agent.step(Timestep(observations, np.zeros((2, 2)), np.array([5.0, -5.0]), nothing, ~nothing, {}))
    agent.adapt()
    agent.reset(np.array([True, True]))
    first = agent.eval_action(observations)
    agent.step(Timestep(observations, first, np.array([9.0, 9.0]), nothing, nothing, {}))
    second = agent.eval_action(observations)
    agent.reset(np.array([True, False]))
    third = agent.eval_action(observations)
    assert np.array_equal(third[0], first[0])  # began anew
    assert not np.array_equal(third[1], first[1])  # went on
    assert not np.array_equal(second, first)


def told(episodes: list[list[float]], keeps: Literal["last", "best"] = "best") -> RL2Agent:
    """Agent of two environments after episodes of two steps, the second of which earns what is given for each."""
    return tell(make_rl2(keeps=keeps).make_agent(seed=3), episodes)


def tell(agent: RL2Agent, episodes: list[list[float]]) -> RL2Agent:
    nothing, everything = np.zeros(2, bool), np.ones(2, bool)
    observations = np.array([[0.0, 20.0], [0.0, 30.0]])
    for rewards in episodes:
        for earned, ended in (([100.0, 100.0], nothing), (rewards, everything)):
            actions, _ = agent.adapt_action(observations)
            agent.step(Timestep(observations, actions, np.array(earned), nothing, ended, {}))
    agent.adapt()
    agent.reset(everything)
    return agent


def first_actions(agent: RL2Agent) -> npt.NDArray[Any]:
    return agent.eval_action(np.array([[0.0, 10.0]] * 2))


def test_agent_keeps_the_memory_that_its_best_episode_started_from() -> None:
    played = [[1.0, 3.0], [5.0, 1.0], [2.0, 3.0]]  # the best: the second of one environment, the first of the other
    best, initial = first_actions(told(played)), first_actions(told([]))
    # Told less, with the second episode as the best: it started from the memory after the first.
    after_first = first_actions(told([*played[:1], [9.0, 9.0]]))
    assert np.array_equal(best, [after_first[0], initial[1]])
    assert not np.isclose(after_first, initial, rtol=1e-6).all(1).any()
    assert not np.isclose(after_first, first_actions(told([[0.0, 0.0]] * 2 + [[9.0, 9.0]])), rtol=1e-6).all(1).any()


def test_agent_that_adapts_further_keeps_the_memory_that_the_better_episode_started_from() -> None:
    """Further adaptation starts from the kept memory, not from the end of the first adaptation."""
    agent = told([[5.0, 1.0], [1.0, 5.0], [0.0, 0.0]])
    kept = first_actions(told([[5.0, 1.0], [1.0, 5.0], [0.0, 0.0]]))
    assert np.array_equal(first_actions(tell(agent, [[9.0, 9.0]])), kept)


def test_an_episode_that_was_not_played_to_its_end_tells_nothing() -> None:
    agent = told([[1.0, 1.0]])
    observations, nothing = np.array([[0.0, 20.0], [0.0, 30.0]]), np.zeros(2, bool)
    actions, _ = agent.adapt_action(observations)
    agent.step(Timestep(observations, actions, np.full(2, 1e6), nothing, nothing, {}))
    agent.adapt()
    agent.reset(np.ones(2, bool))
    tell(agent, [[0.5, 2.0]])
    assert np.array_equal(first_actions(agent), first_actions(told([])))


def test_recorded_episodes_do_not_judge_memories() -> None:
    """Who played them is not known, so that the last memory is kept, as it is without a choice."""
    episodes = [Episode(np.ones((2, 2)), np.zeros((2, 2)), np.full(2, earned)) for earned in (5.0, 1.0)]
    agents = [make_rl2(keeps=keeps).make_agent(seed=3) for keeps in ("best", "last")]
    first = []
    for agent in agents:
        agent.adapt_on(episodes)
        agent.reset(np.ones(1, bool))
        first.append(agent.eval_action(np.array([[0.0, 10.0]])))
    assert np.array_equal(first[0], first[1])


def test_recorded_episodes_end_the_judging_of_played_ones() -> None:
    agent = make_rl2(keeps="best").make_agent(seed=3)
    observations, ends = np.array([[0.0, 20.0]]), np.ones(1, bool)
    actions, _ = agent.adapt_action(observations)
    agent.step(Timestep(observations, actions, np.full(1, 1e6), ~ends, ends, {}))
    agent.adapt()
    agent.reset(ends)
    kept = agent.eval_action(observations)
    agent.adapt_on([Episode(np.ones((2, 2)), np.zeros((2, 2)), np.ones(2))])
    agent.reset(ends)
    assert not np.array_equal(agent.eval_action(observations), kept)


def test_agent_that_keeps_the_best_memory_adapts_by_the_likeliest_actions() -> None:
    observations = np.array([[0.0, 20.0], [0.0, 30.0]])
    agent = told([])
    likeliest = agent.eval_action(observations)
    agent.init()
    assert np.array_equal(agent.adapt_action(observations)[0], likeliest)
    sampling = told([], keeps="last")
    sampling.init()
    assert not np.array_equal(sampling.adapt_action(observations)[0], likeliest)


def test_agent_judges_memories_by_the_episodes_of_adaptation_alone() -> None:
    """Neither what waits for other environments counts, nor what is earned after adaptation."""
    agent = told([[1.0, 1.0], [0.0, 0.0]])
    first = first_actions(agent)
    nothing, everything = np.zeros(2, bool), np.ones(2, bool)
    observations = np.array([[0.0, 20.0], [0.0, 30.0]])
    agent.step(Timestep(observations, np.zeros((2, 2)), np.array([1e6, 1e6]), nothing, everything, {}))
    agent.adapt()
    agent.reset(everything)
    assert np.array_equal(first_actions(agent), first)
    agent.init()
    waits = np.array([False, True])
    for earned, ended, valid in ((1.0, everything, everything), (9.0, nothing, waits), (0.5, everything, everything)):
        actions, _ = agent.adapt_action(observations)
        agent.step(Timestep(observations, actions, np.full(2, earned), nothing, ended, {}), valid)
    agent.adapt()
    agent.reset(everything)
    kept, initial = first_actions(agent), first_actions(told([]))
    assert np.array_equal(kept[0], initial[0])  # its second episode earned 0.5
    assert not np.array_equal(kept[1], initial[1])  # and the other's 9.5


def test_agent_forgets_at_init_and_zero_shot_is_a_fresh_trial() -> None:
    rl2 = make_rl2()
    observations = np.array([[0.0, 20.0]])
    fresh = rl2.make_agent(seed=3)
    fresh.adapt()
    fresh.reset(np.array([True]))
    expected = fresh.eval_action(observations)
    used = rl2.make_agent(seed=4)
    used.adapt_action(observations)
    used.step(Timestep(observations, np.zeros((1, 2)), np.ones(1), np.zeros(1, bool), np.ones(1, bool), {}))
    used.adapt()
    used.init()
    used.adapt()
    used.reset(np.array([True]))
    assert np.array_equal(used.eval_action(observations), expected)


def test_environments_that_wait_do_not_remember() -> None:
    rl2 = make_rl2()
    observations = np.array([[0.0, 20.0], [0.0, 20.0]])

    def adapted_actions(wait: bool) -> npt.NDArray[Any]:
        agent = rl2.make_agent(seed=3)
        ended = np.ones(2, bool)
        for step in range(2):
            actions, _ = agent.adapt_action(observations)
            valid = np.array([True, not (wait and step == 1)])
            agent.step(Timestep(observations, actions, np.full(2, 7.0), ~ended, ended, {}), valid)
        agent.adapt()
        agent.reset(ended)
        return agent.eval_action(observations)

    waited, played = adapted_actions(wait=True), adapted_actions(wait=False)
    assert np.array_equal(waited[0], played[0])
    assert not np.array_equal(waited[1], played[1])
