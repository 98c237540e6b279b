"""What a trial is to RL²: where it begins, what the policy is shown in it, and that nothing else tells trials apart."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from counting_env import Counting
from rl2_on_counting import BASELINES, CORES, CPU, close, doubled, in_order, longer, make_rl2, sampler
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.algorithms.rl2.losses import make_trials
from metarl.data.trajectories import Trajectories
from metarl.evaluation.protocol import evaluate
from metarl.optim.config import TrustRegionConfig
from metarl.policies.inputs import PolicyInput

Shown = list[tuple[PolicyInput, Tensor]]
OUTER = {"ppo": RL2PPOConfig(epochs=3), "trpo": TrustRegionConfig(cg_iterations=3)}


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Callable[[RL2], Shown]:
    """Records the inputs and states that a policy's steps are given."""

    def spy(rl2: RL2) -> Shown:
        shown: Shown = []
        original = rl2.policy.step

        def step(inputs: PolicyInput, state: Tensor) -> tuple[Tensor, Tensor]:
            shown.append((inputs, state))
            return original(inputs, state)

        monkeypatch.setattr(rl2.policy, "step", step)
        monkeypatch.setattr(rl2.policy, "prepare_step", lambda: step)
        return shown

    return spy


@pytest.mark.parametrize("core", CORES)
def test_the_state_is_reset_where_a_trial_begins_and_nowhere_else(core, spy) -> None:
    rl2 = make_rl2(core, outer=RL2PPOConfig(epochs=1))
    shown = spy(rl2)
    for iteration in range(2):
        rl2.meta_iteration(sampler((1, iteration)), torch.Generator().manual_seed(0))
    assert len(shown) == 16  # two trials of two episodes, the longest of which have 4 steps
    for step, (inputs, state) in enumerate(shown):
        start = step % 8 == 0
        assert bool((state == 0).all()) == bool((inputs.previous_actions == 0).all()) == start
        assert state.any(1).all() == (not start)  # of every task, those whose second episode began included
        assert (inputs.previous_rewards == 0).all() == start
    episodes = torch.stack([inputs.episode_start for inputs, _ in shown[:8]], dim=1)
    assert [row.nonzero().flatten().tolist() for row in episodes] == [[0, 2, 4, 6], [0, 3, 6], [0, 4]]


@pytest.mark.parametrize("discrete", [False, True])
def test_trials_hold_exactly_what_the_policy_was_shown(discrete, spy) -> None:
    """The first step of an episode included, which is shown the last one of the episode before."""
    distribution = Counting(discrete=discrete)
    torch.manual_seed(0)
    config = RL2Config(meta_batch=3, episodes=3)
    rl2 = RL2(config, distribution.observation_space, distribution.action_space, CPU)
    shown = spy(rl2)
    env = distribution.make_env(3)
    played = Sampler([env], list(distribution.train_tasks), (1,), CPU).collect(rl2.make_actor, 3)
    inputs = make_trials(played).inputs
    for task, steps in enumerate((6, 9, 12)):
        for t in range(steps):
            for one, other in zip(inputs, shown[t][0], strict=True):
                assert torch.equal(one[task, t], other[task])
            if t > 0:
                first = env.received[t - 1][task] if discrete else env.received[t - 1][task, 0]
                reward = 10 * (task + 1) + (t - 1) + first / 1000
                assert inputs.previous_rewards[task, t].item() == pytest.approx(reward, rel=1e-6)


def test_evaluation_shows_the_step_before_over_adaptation_and_from_there(spy) -> None:
    """An evaluation episode is shown what the last step of adaptation led to; without any, nothing was before."""
    rl2 = make_rl2()
    shown = spy(rl2)
    distribution = Counting()
    env = distribution.make_env(1)
    paid: list[float] = []
    original = env.step

    def step(actions: npt.NDArray[Any]) -> Any:
        outcome = original(actions)
        paid.append(float(outcome[1][0]))
        return outcome

    env.step = step  # type: ignore[method-assign]
    evaluate(
        rl2.make_agent(seed=1),
        distribution,
        distribution.test_tasks,
        adaptation_episodes=(0, 2),
        episodes=2,
        seed=1,
        env=env,
    )
    rewards = [inputs.previous_rewards.item() for inputs, _ in shown]
    # the test task's episodes have 3 steps: 2 episodes without adaptation, 2 to adapt in, 2 after them
    unadapted, adapting = [0.0, *paid[0:2], 0.0, *paid[3:5]], [0.0, *paid[6:11]]
    assert rewards == pytest.approx([*unadapted, *adapting, paid[11], *paid[12:14], paid[11], *paid[15:17]], rel=1e-6)
    assert [bool(inputs.episode_start) for inputs, _ in shown] == [True, False, False] * 6
    last = shown[12][0].previous_actions.clamp(-1, 1)
    np.testing.assert_allclose(last, env.received[11], atol=1e-6)
    assert torch.equal(shown[12][0].previous_actions, shown[15][0].previous_actions)
    assert torch.equal(shown[12][1], shown[15][1])
    assert shown[12][1].any()
    assert [bool(state.any()) for _, state in shown[:7]] == [False, True, True, False, True, True, False]


def learned(trajectories: Trajectories, core: str, outer: str, baseline: str) -> dict[str, Tensor]:
    """All that learning from some trajectories changes, in float64."""
    rl2 = make_rl2(core, outer=OUTER[outer], **BASELINES[baseline])
    rl2.network.double()
    metrics = rl2.learn(doubled(make_trials(trajectories)), torch.Generator().manual_seed(0))
    return rl2.state_dict() | {name: torch.tensor(value) for name, value in metrics.items()}


@pytest.mark.parametrize("baseline", ["linear", "own"])
@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("core", CORES)
def test_padding_and_the_order_of_tasks_change_nothing_that_is_learned(core, outer, baseline) -> None:
    played = sampler().collect(make_rl2(core).make_actor, 2)
    expected = learned(played, core, outer, baseline)
    for name, tensor in learned(longer(played), core, outer, baseline).items():
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in learned(in_order(played, torch.tensor([2, 0, 1])), core, outer, baseline).items():
        close(tensor, expected[name])
