"""The smallest algorithm that several processes can train: what all tasks paid moves one action in float64."""

import time
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from metarl.acting.actions import to_environment
from metarl.acting.actors import PolicyActor
from metarl.acting.agents import TrainedAgent
from metarl.acting.exploration import Exploration
from metarl.acting.sampler import Sampler
from metarl.algorithms.base import AlgorithmConfig, EpisodeMeans, IterationResult
from metarl.data.steps import BoolArray, TimestepLike
from metarl.errors import RunFailure
from metarl.policies.distributions import action_distribution
from metarl.policies.inputs import PolicyInput
from metarl.ranks import ALONE, Ranks
from metarl.strict import Count
from metarl_envs.core import TaskDistribution


class AveragingConfig(AlgorithmConfig):
    """Settings of `Averaging`."""

    kind: Literal["averaging"] = "averaging"
    meta_batch: Count = 6
    fails_on: Annotated[int, Field(ge=-1)] = -1
    """Rank that fails alone."""
    pause: Annotated[float, Field(ge=0)] = 0.0
    """Seconds that an iteration takes longer."""

    def build(self, distribution: TaskDistribution, device: torch.device) -> "Averaging":
        return Averaging(self, distribution)


class AlonePlayerConfig(AlgorithmConfig):
    """Settings of an algorithm that does not join others."""

    kind: Literal["alone"] = "alone"
    meta_batch: Count = 6

    def build(self, distribution: TaskDistribution, device: torch.device) -> "Lonely":
        return Lonely(AveragingConfig(meta_batch=self.meta_batch), distribution)


class _Actor(PolicyActor):
    def __init__(self, algorithm: "Lonely", noise: list[np.random.Generator]) -> None:
        super().__init__(algorithm.space, torch.device("cpu"), noise)
        self.parameters = algorithm.parameters

    def choose(self, inputs: PolicyInput) -> tuple[Tensor, Tensor]:
        parameters = self.parameters.expand(len(inputs.observations), -1)
        return self.sample(parameters), parameters


class Lonely:
    """Moves its action by the mean over tasks and steps of reward times action."""

    device = torch.device("cpu")

    def __init__(self, config: AveragingConfig, distribution: TaskDistribution) -> None:
        self.config, self.meta_batch = config, config.meta_batch
        self.num_envs = 2 * config.meta_batch
        self.space = distribution.action_space
        self.observation_size = distribution.observation_space.shape[0]
        self.action = torch.randn(action_distribution(self.space).action_size, dtype=torch.float64)
        self.warm = torch.zeros(1, dtype=torch.float64)
        self.ranks = ALONE

    @property
    def parameters(self) -> Tensor:
        return torch.cat([self.action, torch.zeros_like(self.action)])  # of a normal distribution

    def warm_up(self, sampler: Sampler) -> None:
        steps = sampler.collect(lambda _, noise: _Actor(self, list(noise)), 2).num_steps
        (self.warm,) = self.ranks.sum(torch.tensor([float(steps)], dtype=torch.float64))

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        if self.ranks.rank == self.config.fails_on:
            raise RunFailure("this rank fails alone")
        time.sleep(self.config.pause)
        played = sampler.collect(lambda _, noise: _Actor(self, list(noise)), 2)
        paid = (played.rewards.unsqueeze(-1) * played.actions).double().mean((1, 2)).sum(0)
        means = EpisodeMeans.of(played)
        sums = torch.tensor(means, dtype=torch.float64) * len(sampler.tasks)
        paid, sums = self.ranks.sum(paid, sums)
        self.action = self.action - 0.01 * paid / self.meta_batch
        means = EpisodeMeans(*(sums / self.meta_batch).tolist())
        return IterationResult(means, means, 0, {})

    def make_agent(self, seed: int) -> "AveragingAgent":
        return AveragingAgent(self, seed)

    def state_dict(self) -> dict[str, Tensor]:
        return {"action": self.action, "warm": self.warm}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.action, self.warm = state["action"], state["warm"]


class Averaging(Lonely):
    """The same, and it joins others."""

    def join(self, ranks: Ranks) -> None:
        self.ranks = ranks


class AveragingAgent(TrainedAgent):
    """Explores by the distribution; acts by its mean."""

    adaptation_steps = 1
    exploration: Exploration

    def __init__(self, algorithm: Lonely, seed: int) -> None:
        self.action_space, self.observation_size = algorithm.space, algorithm.observation_size
        self.parameters = algorithm.parameters
        self.distribution = action_distribution(algorithm.space)
        self.exploration = Exploration(self.distribution, seed)

    def init(self) -> None:
        self.exploration.restart()

    def adapt_action(self, observations: npt.NDArray[np.float64]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        actions = self.exploration.sample(self.parameters.expand(len(observations), -1))
        return to_environment(actions.numpy(), self.action_space), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        pass

    def adapt(self) -> None:
        pass

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        pass

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        actions = self.exploration.sample(self.parameters.expand(len(observations), -1))
        return to_environment(actions.numpy(), self.action_space)
