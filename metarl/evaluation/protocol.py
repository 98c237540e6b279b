"""Evaluation protocol: the same number of episodes on every task, before and after adaptation to it."""

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from rich.progress import Progress, TaskID

from metarl.acting.adaptation import AdaptedAgent, ExploringAgent, adapt_by_playing, sampler_of
from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import ActionChoice, Agent, Named, Origin, TrainedAgent, adapts_on
from metarl.acting.play import Actor, VectorPlay, play
from metarl.config import RunConfig
from metarl.devices import one_torch_thread
from metarl.errors import RunFailure
from metarl.evaluation.result import Evaluation
from metarl.evaluation.schedule import count_episodes
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError

ADAPTATION_EPISODES = (0, 1, 3, 10)
"""Default numbers k of adaptation episodes."""


def usual_adaptation_episodes(config: RunConfig, otherwise: Sequence[int] = ADAPTATION_EPISODES) -> Sequence[int]:
    """Returns numbers k to adapt with unless told: as in training for a policy that imitates.

    Its dataset has as many demonstrations of each task, and may have no more.

    Args:
        config: Configuration of the policy's run.
        otherwise: Numbers k of adaptation episodes, for a policy that plays to adapt.
    """
    shown = config.algorithm.adapts_on is AdaptsOn.DEMONSTRATIONS
    return config.evaluation.adaptation_episodes if shown else otherwise


def evaluate(
    agent: Agent,
    distribution: TaskDistribution,
    tasks: Sequence[Task],
    *,
    adaptation_episodes: Sequence[int] = ADAPTATION_EPISODES,
    episodes: int = 3,
    seed: int,
    actions: ActionChoice = "likeliest",
    adapt_on: Sequence[Task] | None = None,
    env: TaskVectorEnv | None = None,
    num_envs: int = 50,
    progress: Progress | None = None,
) -> Evaluation:
    """Measures an agent's returns and successes on each task after k adaptation episodes, for each k independently.

    The number of episodes per task is fixed and no episode is cut at success, so quick successes cannot crowd out
    failures; `metaworld.evaluation` takes the first few episodes that *end* among all tasks of a name instead. The
    seeds of an environment and of the agent's exploration in it derive from the task, k and the adaptation step. What
    is played on a task therefore depends neither on the other tasks nor on the number of environments.

    Args:
        agent: Agent to evaluate; its `step` gets every step.
        distribution: Family that the tasks belong to.
        tasks: Tasks to play, usually held-out ones.
        adaptation_episodes: Numbers k of adaptation episodes, or of demonstrations that an agent is `Shown`.
        episodes: Number of evaluation episodes per task and k.
        seed: Seed that the environments' seeds and the bootstrap are derived from; the agent draws from its own.
        actions: Choice of the actions in evaluation episodes; those in adaptation episodes are the agent's affair.
        adapt_on: Task whose episodes or demonstrations the agent adapts on for each of `tasks`, exactly as it would if
            it were then evaluated on that task; None is the task itself.
        env: Environments to play in, whose tasks are replaced; None makes environments and closes them at the end.
        num_envs: Largest number of tasks played at a time if `env` is None.
        progress: Display that gets a bar with the number of episodes played; None shows none.

    Raises:
        UserError: If there is no task, not one of `adapt_on` for each, a number is out of range, a k is given twice,
            the agent has fewer demonstrations than it is to be shown, it was trained on tasks that are visible where
            these are not, or the other way round, or actions are to be sampled of an agent that has no `sample_action`.
        RunFailure: If a return is not a finite number.
    """
    ks = _check_settings(tasks, adaptation_episodes, episodes, seed, num_envs)
    origin = agent.origin if isinstance(agent, TrainedAgent) else None
    _check_what_is_shown(origin, distribution)
    if actions == "sampled":
        sampler_of(agent)
    pairs = _Pairs.of(tasks, tasks if adapt_on is None else adapt_on)
    if env is None:
        batches = math.ceil(len(tasks) / num_envs)
        with closing(distribution.make_env(math.ceil(len(tasks) / batches))) as own:
            protocol = _Protocol(agent, own, episodes, seed, actions, progress)
            outcome = protocol.play(pairs, ks)
    else:
        protocol = _Protocol(agent, env, episodes, seed, actions, progress)
        outcome = protocol.play(pairs, ks)
    if not np.isfinite(outcome.returns).all():
        raise RunFailure(f"evaluation on {distribution.name} gave returns that are not finite numbers")
    return Evaluation(
        distribution=distribution.name,
        held_out=set(tasks) <= set(distribution.test_tasks) - set(distribution.train_tasks),
        horizon=distribution.horizon,
        task_names=tuple(task.name for task in tasks),
        task_ids=tuple(task.id for task in tasks),
        adaptation_episodes=ks,
        adaptation_steps=agent.adaptation_steps,
        seed=seed,
        actions=actions,
        divergences=protocol.divergences,
        env_steps=protocol.env_steps,
        adapts_on=adapts_on(agent),
        success=outcome.success,
        success_last=outcome.success_last,
        returns=outcome.returns,
        acted_as=tuple(map(tuple, protocol.acted_as)) if isinstance(agent, Named) else None,
        told_in_training="" if origin is None else origin.told_in_training,
    )


def _check_settings(
    tasks: Sequence[Task], adaptation_episodes: Sequence[int], episodes: int, seed: int, num_envs: int
) -> tuple[int, ...]:
    ks = tuple(sorted(adaptation_episodes))
    if not tasks:
        raise UserError("evaluation needs at least one task")
    if not ks or ks[0] < 0 or len(set(ks)) < len(ks):
        raise UserError(f"adaptation_episodes must be different numbers, none below 0: got {list(adaptation_episodes)}")
    for name, value, least in (("episodes", episodes, 1), ("seed", seed, 0), ("num_envs", num_envs, 1)):
        if value < least:
            raise UserError(f"{name} must be at least {least}: got {value}")
    return ks


class _Pairs(NamedTuple):
    """Tasks to play with those to adapt on, and the part of a seed's key that stands for each."""

    tasks: list[Task]
    keys: list[tuple[int, ...]]
    adapt_on: list[Task]
    adapt_keys: list[tuple[int, ...]]

    @staticmethod
    def of(tasks: Sequence[Task], adapt_on: Sequence[Task]) -> "_Pairs":
        if len(adapt_on) != len(tasks):
            raise UserError(f"adapt_on must have one task for each of the {len(tasks)} tasks: got {len(adapt_on)}")
        return _Pairs(list(tasks), task_keys(tasks), list(adapt_on), task_keys(adapt_on))

    def take(self, indices: Sequence[int]) -> "_Pairs":
        """Returns some of the pairs."""
        return _Pairs(
            [self.tasks[index] for index in indices],
            [self.keys[index] for index in indices],
            [self.adapt_on[index] for index in indices],
            [self.adapt_keys[index] for index in indices],
        )


def _check_what_is_shown(origin: Origin | None, distribution: TaskDistribution) -> None:
    if origin is not None and origin.shown != distribution.shown:
        trained, played = (f"the {shown}" if shown else "no goal" for shown in (origin.shown, distribution.shown))
        raise UserError(
            f"the agent was trained on {origin.tasks}, whose observations show {trained}; those of"
            f" {distribution.name} show {played}"
        )


class _Outcome(NamedTuple):
    """Outcomes of episodes, with any leading axes before `episode`."""

    success: Bool[np.ndarray, "*batch episode"]
    success_last: Bool[np.ndarray, "*batch episode"]
    returns: Float[np.ndarray, "*batch episode"]

    @staticmethod
    def zeros(*shape: int) -> "_Outcome":
        return _Outcome(np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool), np.zeros(shape))


@dataclass
class _Protocol:
    """Plays tasks with one agent, in one vector of environments, from one seed."""

    agent: Agent
    env: TaskVectorEnv
    episodes: int
    seed: int
    actions: ActionChoice
    progress: Progress | None
    divergences: int = 0
    acted_as: list[list[str]] = field(default_factory=list)
    """Names `[k][task]` of what was played, of an agent that has them."""
    env_steps: int = 0

    def play(self, pairs: _Pairs, ks: tuple[int, ...]) -> _Outcome:
        """Returns outcomes `(k, task, episode)`; plays as many tasks at a time as there are environments."""
        count, total = self.env.num_envs, len(pairs.tasks)
        starts = range(0, total, count)
        bar = self._add_bar(count_episodes(total, count, adapts_on(self.agent).played(ks), self.episodes))
        outcome = _Outcome.zeros(len(ks), total, self.episodes)
        self.acted_as = [[] for _ in ks]
        for start in starts:
            # The last batch is filled up with the first tasks; their second outcomes are dropped.
            batch = pairs.take([index % total for index in range(start, start + count)])
            for row, k in enumerate(ks):
                for whole, part in zip(outcome, self._adapt_and_play(batch, k, bar), strict=True):
                    whole[row, start : start + count] = part[: total - start]
                if isinstance(self.agent, Named):
                    self.acted_as[row] += self.agent.acting_as[: total - start]
        return outcome

    def _adapt_and_play(self, batch: _Pairs, k: int, bar: TaskID | None) -> _Outcome:
        def seeds(keys: list[tuple[int, ...]], phase: int) -> tuple[list[int], list[int]]:
            pairs = [episode_seeds(self.seed, k, phase, key) for key in keys]
            return [env for env, _ in pairs], [exploration for _, exploration in pairs]

        def play_episodes(step: int, count: int) -> None:
            self.env.set_tasks(batch.adapt_on)
            env_seeds, exploration_seeds = seeds(batch.adapt_keys, 1 + step)
            self._play_episodes(ExploringAgent(self.agent, exploration_seeds), count, env_seeds, bar)

        adapt_by_playing(self.agent, batch.adapt_on, k, play_episodes)
        self.env.set_tasks(batch.tasks)
        env_seeds, own_seeds = seeds(batch.keys, 0)
        actor = AdaptedAgent(self.agent, self.env.num_envs, own_seeds, self.actions)
        return self._play_episodes(actor, self.episodes, env_seeds, bar)

    @one_torch_thread()
    def _play_episodes(self, actor: Actor, count: int, seeds: list[int], bar: TaskID | None) -> _Outcome:
        """Plays `count` episodes in every environment; steps after an environment's last episode do not count."""
        outcome = _Outcome.zeros(self.env.num_envs, count)
        for step in play([VectorPlay(self.env, actor, count, seeds)]):
            envs = np.flatnonzero(step.valid)
            at = (envs, step.episode[envs])
            # With r_t the reward and s_t the success of step t = 1..T:
            # return = sum_t r_t,  success = max_t s_t,  success_last = s_T
            outcome.returns[at] += step.earned[envs]
            outcome.success[at] |= step.success[envs]
            outcome.success_last[at] = step.success[envs]
            self.env_steps += len(envs)
            self.divergences += int((step.diverged & step.valid).sum())
            if self.progress and bar is not None and step.ended.any():
                self.progress.advance(bar, int((step.ended & step.valid).sum()))
        return outcome

    def _add_bar(self, total: int) -> TaskID | None:
        return self.progress.add_task("evaluating", total=total) if self.progress else None


def episode_seeds(seed: int, k: int, phase: int, key: tuple[int, ...]) -> tuple[int, int]:
    """Derives the seed of an environment, and that of the exploration in it.

    Args:
        seed: Seed of the evaluation.
        k: Number of adaptation episodes.
        phase: 0 for the evaluation episodes, 1 + i for adaptation step i = 0, 1, ...
        key: Key of the task, from `task_keys`.
    """
    # (seed of the environment, seed of the exploration) = derive(seed, k, phase, task)
    env, exploration = derive_seeds(seed, Stream.EVALUATION, k, phase, *key, count=2)
    return env, exploration


def task_keys(tasks: Sequence[Task]) -> list[tuple[int, ...]]:
    """Returns the part of a seed's key that stands for each task: its id, and how often it came before in `tasks`."""
    seen: Counter[Task] = Counter()
    keys: list[tuple[int, ...]] = []
    for task in tasks:
        keys.append((int(task.id[:8], 16), int(task.id[8:], 16), seen[task]))
        seen[task] += 1
    return keys
