"""Control that learns each task from scratch by GAIL, from the demonstrations that the policy is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch.func import functional_call, stack_module_state, vmap

from metarl.acting.actions import make_to_environment
from metarl.acting.agents import check_outputs
from metarl.algorithms.imitation.agent import check_imitates
from metarl.algorithms.imitation.library import to_steps
from metarl.baselines.gail import GailLesson, GailPolicy, check_actions, gail_settings, learn_gail
from metarl.baselines.processes import Tell, spread
from metarl.cache import Cached, relevant_versions
from metarl.config.tasks import TasksConfig
from metarl.demonstrations.data import Demonstration
from metarl.evaluation.bars import add_bar
from metarl.evaluation.behaviour import behaviour
from metarl.evaluation.control_agents import FixedAgent
from metarl.evaluation.match import Match
from metarl.evaluation.result import Evaluation
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.cores import available_cores
from metarl_envs.counts import check_counts
from metarl_envs.errors import UserError


def check_gail(match: Match) -> None:
    """Checks that GAIL can learn the tasks of an evaluation from what its policy is shown.

    Raises:
        UserError: If the policy does not imitate, there are too few demonstrations or none are asked for, the budget is
            out of its range, stable-baselines3 is not installed, or actions have no bounds.
    """
    agent = check_imitates(match.agent, "gail")
    check_counts(gail_steps=match.gail_steps)
    if not _shots(match):
        raise UserError("gail learns from demonstrations, so some must be shown, such as --adaptation-episodes 1")
    check_actions(agent.action_space)
    for task in match.tasks:
        agent.find(task, max(_shots(match)))


def _shots(match: Match) -> list[int]:
    return [k for k in match.adaptation_episodes if k]


def _gail_agent(match: Match, tell: Callable[[int], object] = lambda count: None) -> GailAgent:
    find, processes = check_imitates(match.agent, "gail").find, match.distribution.workers or available_cores()
    return GailAgent(match.config, match.distribution, find, match.gail_steps, match.seed, processes, tell)


def gail_key(match: Match) -> dict[str, Any]:
    """Returns what the result depends on beside `Match.key`, as JSON types."""
    agent = _gail_agent(match)
    digests = [[agent.lesson(task, k).digest() for task in match.tasks] for k in _shots(match)]
    return {"lessons": digests, "settings": gail_settings()}


def play_gail(match: Match, progress: Progress | None) -> Evaluation:
    """Learns the tasks of an evaluation for each number of demonstrations that its policy is shown, and plays them.

    Raises:
        RunFailure: If a process dies.
    """
    tell = add_bar(progress, "learning by GAIL", match.gail_steps * len(match.tasks) * len(_shots(match)))
    played = match.play(_gail_agent(match, tell), _shots(match), progress=progress)
    return replace(played, learning_steps=match.gail_steps)


class GailAgent(FixedAgent):
    """Agent that learns each task by GAIL when it is shown demonstrations; see `metarl.acting.agents.Shown`.

    A task that was learned before is taken from the cache.

    Args:
        config: Settings that `distribution` was made of.
        distribution: Family of the tasks.
        find: Returns so many demonstrations of a task.
        steps: Environment steps to play on each task.
        seed: Seed of the learning.
        processes: Number of processes that learn, each a task at a time.
        tell: Is told the number of environment steps since it was last told.
    """

    def __init__(
        self,
        config: TasksConfig,
        distribution: TaskDistribution,
        find: Callable[[Task, int], Sequence[Demonstration]],
        steps: int,
        seed: int,
        processes: int,
        tell: Tell = lambda count: None,
    ) -> None:
        self._config, self._distribution, self._find = config, distribution, find
        self._steps, self._seed, self._processes, self._tell = steps, seed, processes, tell

    def show(self, tasks: Sequence[Task], count: int) -> None:
        """See `Shown`; learns the tasks anew.

        Raises:
            UserError: If there are fewer demonstrations than `count`.
            RunFailure: If a process dies.
        """
        lessons = {task: self.lesson(task, count) for task in tasks}
        policies = dict(zip(lessons, self._learn(list(lessons.values())), strict=True))
        self._act = _act_for(self._distribution.action_space, [policies[task] for task in tasks])

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        """See `Shown`."""
        return self._find(task, count)

    def lesson(self, task: Task, count: int) -> GailLesson:
        """Returns what is learned of a task from its first `count` demonstrations."""
        space = self._distribution.action_space
        assert isinstance(space, gym.spaces.Box)
        steps = [to_steps(each, space) for each in self.find(task, count)]
        observations, actions = (np.concatenate([part.numpy() for part in parts]) for parts in zip(*steps, strict=True))
        return GailLesson(self._config, task, observations, actions, self._steps, self._seed)

    def _learn(self, lessons: Sequence[GailLesson]) -> list[GailPolicy]:
        policies = [GailPolicy(lesson) for lesson in lessons]
        entries = self._entries(lessons)
        missing = [
            index
            for index, (policy, entry) in enumerate(zip(policies, entries, strict=True))
            if not _read(entry, policy)
        ]
        self._tell((len(lessons) - len(missing)) * self._steps)
        for index, learned in spread(learn_gail, [lessons[index] for index in missing], self._processes, self._tell):
            entries[missing[index]].write(learned)
            _load(policies[missing[index]], learned)
        return policies

    def _entries(self, lessons: Sequence[GailLesson]) -> list[Cached]:
        family = self._distribution
        common: dict[str, Any] = {"what": "gail", "distribution": family.name, "horizon": family.horizon}
        common |= {"settings": gail_settings(), "versions": relevant_versions()}
        digests = behaviour(family, [lesson.task for lesson in lessons])
        return [
            Cached(common | {"lesson": lesson.digest(), "behaviour": digest})
            for lesson, digest in zip(lessons, digests, strict=True)
        ]


def _read(entry: Cached, policy: GailPolicy) -> bool:
    """Takes a policy from the cache; returns false if it is not there."""
    try:
        _load(policy, entry.read())
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return False
    return all(bool(value.isfinite().all()) for value in policy.network.parameters())


def _load(policy: GailPolicy, learned: dict[str, Any]) -> None:
    policy.network.load_state_dict({name: torch.tensor(value) for name, value in learned.items()})


def _act_for(
    space: gym.spaces.Box | gym.spaces.Discrete, policies: Sequence[GailPolicy]
) -> Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]]:
    """Returns the mean actions of a policy for each environment."""
    state = stack_module_state([*policies])
    to_environment = make_to_environment(space)

    @torch.no_grad()
    def act(observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        def of_one(own: Any, seen: torch.Tensor) -> torch.Tensor:
            actions: torch.Tensor = functional_call(policies[0], own, (seen,))
            return actions

        actions = vmap(of_one)(state, torch.from_numpy(observations))
        check_outputs(actions)
        return to_environment(actions.numpy())

    return act
