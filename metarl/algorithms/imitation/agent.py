"""Agent of imitation, for use outside of training: adapts to demonstrations that it is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NoReturn

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from metarl.acting.actions import to_environment, to_vectors
from metarl.acting.agents import AdaptationTrace, TrainedAgent, check_outputs
from metarl.acting.export import EnvironmentActions, Exportable, example_observations, replace_lost
from metarl.algorithms.imitation.config import ByGradientConfig
from metarl.algorithms.imitation.fine_tuning import PRACTISED, FineTuned
from metarl.algorithms.imitation.library import Steps, look_at, to_steps
from metarl.algorithms.imitation.way import Memory, Way
from metarl.algorithms.inner_rules.config import MetaNetConfig
from metarl.data.episodes import Episode, check_episodes
from metarl.data.steps import BoolArray, TimestepLike
from metarl.demonstrations.data import Demonstration
from metarl_envs.core import Task
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.algorithms.imitation.algorithm import Imitation


class ImitationAgent(TrainedAgent):
    """Adapts to demonstrations, and to nothing else; see `metarl.acting.agents.Agent` and `Shown`.

    Args:
        imitation: Trained algorithm.
    """

    adaptation_steps = 1

    def __init__(self, imitation: Imitation) -> None:
        self.action_space: gym.spaces.Box = imitation.action_space
        self.observation_size = imitation.way.normalizer.mean.shape[0]
        self._imitation, self._device = imitation, imitation.device
        config = imitation.config
        self.way: Way = imitation.way
        """Way from demonstrations to actions."""
        self.looks = config.looks
        """Steps of each demonstration that are looked at."""
        if config.fine_tuning:
            self.way, self.looks = FineTuned(self.way, config.fine_tuning, config.lr), PRACTISED * config.looks
        self.init()

    def init(self) -> None:
        """See `Agent`."""
        self._adapted: Memory = {}
        self._memory: Memory = {}
        self._count: int | None = None

    def show(self, tasks: Sequence[Task], count: int) -> None:
        """See `Shown`."""
        shown = [self.find(task, count) for task in tasks]
        self._watch([[to_steps(each, self.action_space) for each in task] for task in shown])

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        """See `Shown`."""
        return self._imitation.find(task, count)

    def adapt_on(self, episodes: Sequence[Demonstration | Episode | Sequence[Any]]) -> None:
        """Adapts to demonstrations of one task, whatever it was shown before.

        Args:
            episodes: Demonstrations, or recorded episodes. Rewards are not looked at, and may be missing.

        Raises:
            UserError: If the agent is used with several environments, or the episodes are not what they should be.
        """
        self._check_single("adapt_on")
        plain = [_without_rewards(each) if isinstance(each, Demonstration) else each for each in episodes]
        checked = check_episodes(plain, self.observation_size, self.action_space)
        space = self.action_space
        steps = [(each.observations, to_vectors(each.actions, space)) for each in checked]
        self._watch([[Steps(*(torch.as_tensor(part, dtype=torch.float32) for part in each)) for each in steps]])

    def adapt_action(self, observations: npt.NDArray[np.float64]) -> NoReturn:
        """See `Agent`.

        Raises:
            UserError: Always, as the agent learns nothing from its own episodes.
        """
        raise UserError("an agent that imitates adapts to demonstrations, not by playing: show it some with adapt_on")

    def adapt(self) -> None:
        """See `Agent`; nothing is left to do, as demonstrations are taken in when they are shown."""

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        self._check_mask(env_mask)
        if self._count is None:
            self._watch([[]] * len(env_mask))
        mask = torch.as_tensor(env_mask, device=self._device)
        for name in self.way.changing:
            value = self._memory[name]
            rows = mask.reshape(-1, *[1] * (value.ndim - 1))
            self._memory = self._memory | {name: torch.where(rows, self._adapted[name], value)}

    @torch.no_grad()
    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        observations = self._check_observations(observations)
        if self._count is None:
            self._watch([[]] * len(observations))
        seen = self.way.normalizer(torch.as_tensor(observations, device=self._device), torch.float32)
        actions, memory = self.way.act(seen, self._memory)
        check_outputs(actions)
        self._memory = memory
        return to_environment(actions.cpu().numpy(), self.action_space)

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`; the outcome of an action is not looked at."""
        self._check_step(timestep, len(self._check_observations(timestep.observation)), valid)

    @property
    def num_envs(self) -> int | None:
        """See `TrainedAgent`."""
        return self._count

    def trace(self) -> AdaptationTrace | None:
        """See `TrainedAgent`; what the demonstrations left in the memory."""
        if not self._adapted or self._count is None:
            return None
        parts = [value.flatten(1).double() for value in self._adapted.values() if value.is_floating_point()]
        return AdaptationTrace("memory of the demonstrations", torch.cat(parts, 1).cpu().numpy())

    def exportable(self, env: int) -> Exportable:
        """See `TrainedAgent`."""
        way = self._imitation.config.way
        if isinstance(way, ByGradientConfig) and isinstance(way.rule, MetaNetConfig):
            raise UserError("metanet makes weights anew for each observation, which an ONNX file cannot hold")
        if self._count is None:
            self._watch([[]])
        memory = {name: value[env : env + 1].cpu() for name, value in self._adapted.items()}
        module = deepcopy(self.way).cpu()
        initial = {name: memory.pop(name) for name in module.changing}
        inputs = {"observation": example_observations(module.normalizer)}
        metadata = {"algorithm": "imitation", "initial_inputs": json.dumps({n: v.tolist() for n, v in initial.items()})}
        return Exportable(
            _Acting(module, memory, EnvironmentActions(self.action_space)),
            inputs | {name: torch.cat([value, value]) for name, value in initial.items()},
            ["action", *(f"next_{name}" for name in module.changing)],
            metadata,
        )

    @torch.no_grad()
    def _watch(self, shown: Sequence[Sequence[Steps]]) -> None:
        """Takes in demonstrations, as many of each environment."""
        if len(shown[0]):
            looks = look_at(shown, self.looks)
        else:
            sizes = self.observation_size, self.action_space.shape[0]
            looks = Steps(*(torch.zeros(len(shown), 0, 1, size) for size in sizes))
        on_device = Steps(*(part.to(self._device) for part in looks))
        self._adapted = self._memory = {
            name: value.detach() for name, value in self.way.watch(self._imitation.standardised(on_device)).items()
        }
        self._count = len(shown)


class _Acting(nn.Module):
    """Module that computes `eval_action` with the memory of one task, whose changing part is input and output."""

    def __init__(self, way: Way, memory: Memory, to_environment: nn.Module) -> None:
        super().__init__()
        self.way, self.to_environment = way, to_environment
        self._memory = memory

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        observations, *changing = inputs
        observations, whole = replace_lost(observations, self.way.normalizer)
        before = dict(zip(self.way.changing, changing, strict=True))
        seen = self.way.normalizer(observations, torch.float32)
        actions, after = self.way.one_for_all(seen, self._memory | before)
        # A step with a number that was lost commands an action, but leaves nothing in the memory.
        kept = [
            torch.where(whole.reshape(-1, *[1] * (value.ndim - 1)), after[name], value)
            for name, value in before.items()
        ]
        return (self.to_environment(actions), *kept)


def check_imitates(agent: TrainedAgent, control: str) -> ImitationAgent:
    """Returns the agent as one that imitates.

    Args:
        agent: Agent that a control is to be held against.
        control: Name of the control, for the message.

    Raises:
        UserError: If it does not imitate.
    """
    if not isinstance(agent, ImitationAgent):
        raise UserError(
            f"this policy is not shown demonstrations: only those that imitate can be held against {control}"
        )
    return agent


def _without_rewards(shown: Demonstration) -> Episode:
    return Episode(shown.observations[:-1], shown.actions, np.zeros(len(shown)))
