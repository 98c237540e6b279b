"""A task that only memory solves: the cue of a trial's first episode decides what pays in its fifth."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import pytest
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.actor import RecurrentActor
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2LinearBaselineConfig, RL2PPOConfig, RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import make_trials
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.optim.config import TrustRegionConfig
from metarl.policies.config import CoreConfig, GRUConfig, LSTMConfig, TransformerConfig
from metarl.policies.inputs import PolicyInput
from metarl_envs.core import Task, TaskVectorEnv

pytestmark = pytest.mark.learning
CPU = torch.device("cpu")
CUES, EPISODES, HORIZON = 3, 5, 2
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=16),
    "lstm": LSTMConfig(hidden_size=16),
    "transformer": TransformerConfig(memory=10, model_size=16, layers=1, heads=2),
}


class CueEnv(TaskVectorEnv):
    """Episodes of two steps: the first of all shows the cue, and the last of the fifth episode pays 1 for naming it."""

    horizon = HORIZON
    single_observation_space = gym.spaces.Box(0.0, 1.0, (CUES,), np.float64)
    single_action_space = gym.spaces.Discrete(CUES)

    def __init__(self, num_envs: int) -> None:
        self.num_envs = num_envs
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        self.tasks = self._check_count(tasks)
        self._cues = np.array([int(task.parameters[0]) for task in tasks])

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float64], dict[str, Any]]:
        self._step = 0
        return np.eye(CUES)[self._cues], {}

    def step(
        self, actions: npt.NDArray[Any]
    ) -> tuple[
        npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.bool_], npt.NDArray[np.bool_], dict[str, Any]
    ]:
        self._step += 1
        paying = self._step == EPISODES * HORIZON
        right = actions == self._cues
        nothing = np.zeros((self.num_envs, CUES))
        ended = np.full(self.num_envs, self._step % HORIZON == 0)
        infos = {"success": right & paying}
        if ended.any():
            infos |= {"final_obs": nothing, "_final_obs": ended}
        return nothing, np.where(right & paying, 1.0, 0.0), np.zeros_like(ended), ended, infos


class ForgetfulActor(RecurrentActor):
    """Begins each episode as if it were a trial's first."""

    def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
        start = inputs.episode_start.unsqueeze(1)
        self._state = torch.where(start, torch.zeros_like(self._state), self._state)
        inputs = inputs._replace(
            previous_actions=torch.where(start, 0.0, inputs.previous_actions),
            previous_rewards=torch.where(start.squeeze(1), 0.0, inputs.previous_rewards),
        )
        return super().choose(inputs)


def episodes_apart(trajectories: Trajectories) -> Trajectories:
    """Each episode as a trial of its own."""
    tensors: dict[str, Any] = {name: getattr(trajectories, name).flatten(0, 1).unsqueeze(1) for name in TENSORS}
    return replace(trajectories, **tensors, tasks=())


def train(core: str, iterations: int, remembers: bool = True, **settings: Any) -> float:
    """How often the cue is named after training, chance being a third."""
    torch.manual_seed(0)
    tasks = [Task("cue", [index % CUES]) for index in range(90)]
    config = RL2Config(
        **{
            "meta_batch": len(tasks),
            "episodes": EPISODES,
            "core": CORES[core],
            "discount": 1.0,
            "gae_lambda": 1.0,
            "outer": RL2PPOConfig(lr=1e-2, epochs=4, minibatches=2),
            **settings,
        }
    )
    env = CueEnv(len(tasks))
    rl2 = RL2(config, env.single_observation_space, env.single_action_space, CPU)
    kind = RecurrentActor if remembers else ForgetfulActor

    def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> RecurrentActor:
        return kind(rl2, tasks.stop - tasks.start, noise)

    named = []
    for iteration in range(iterations + 10):
        played = Sampler([env], tasks, (1, iteration), CPU).collect(make_actor, EPISODES)
        named.append(played.rewards.sum((1, 2)).mean().item())
        if iteration < iterations:
            trials = make_trials(played if remembers else episodes_apart(played))
            rl2.learn(trials, torch.Generator().manual_seed(iteration))
    return float(np.mean(named[iterations:]))


@pytest.mark.parametrize(
    ("core", "iterations", "lr"), [("gru", 60, 1e-2), ("lstm", 30, 1e-2), ("transformer", 40, 5e-3)]
)
def test_every_core_remembers_the_cue(core, iterations, lr) -> None:
    assert train(core, iterations, outer=RL2PPOConfig(lr=lr, epochs=4, minibatches=2)) > 0.9


@pytest.mark.parametrize("core", CORES)
def test_no_core_names_the_cue_if_it_forgets_between_episodes(core) -> None:
    assert abs(train(core, 25, remembers=False) - 1 / CUES) < 0.1


def test_chunks_shorter_than_the_gap_do_not_learn_what_whole_trials_do() -> None:
    """The state is carried over chunks, but nothing teaches a chunk to keep what only a later one needs."""
    assert train("lstm", 30, chunk=2) < 0.6


def test_a_trust_region_and_a_critic_learn_it_too() -> None:
    assert train("lstm", 25, outer=TrustRegionConfig(max_kl=0.03), baseline=RL2ValueBaselineConfig()) > 0.9


def test_a_baseline_fitted_to_each_trial_by_itself_hides_what_comes_once_a_trial() -> None:
    """It knows how the trial went, so that nothing is left to learn from."""
    assert train("lstm", 30, baseline=RL2LinearBaselineConfig(per_task=True)) < 0.6
