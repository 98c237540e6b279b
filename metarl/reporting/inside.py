"""What adaptation leaves in a policy on each held-out task: a recurrent state, a change of parameters, a skill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing

import numpy as np
from rich.progress import Progress

from metarl.acting.adaptation import ExploringAgent, adapt_by_playing
from metarl.acting.agents import AdaptationTrace, TrainedAgent
from metarl.acting.play import VectorPlay, play
from metarl.reporting.figures import Scattered
from metarl.reporting.projection import project
from metarl.seeding import Stream, derive_seeds
from metarl_envs.core import Task, TaskDistribution


def trace_tasks(
    agent: TrainedAgent,
    distribution: TaskDistribution,
    tasks: Sequence[Task],
    episodes: int,
    seed: int,
    progress: Progress | None = None,
) -> AdaptationTrace | None:
    """Adapts an agent to tasks, all at a time, and returns what that leaves in it; None if such agents do not tell.

    Args:
        agent: Agent to adapt.
        distribution: Family of the tasks.
        tasks: Tasks to adapt to.
        episodes: Number of adaptation episodes, or of demonstrations.
        seed: Seed of the environments and of the exploration.
        progress: Display that gets a line; None shows none.
    """
    if progress is not None:
        progress.add_task(f"adapting to {len(tasks)} tasks", total=None)
    with closing(distribution.make_env(len(tasks))) as env:
        env.set_tasks(list(tasks))

        def play_episodes(step: int, count: int) -> None:
            # seeds of task i in adaptation step s = derive(seed, 1 + s, i)
            pairs = [derive_seeds(seed, Stream.EVALUATION, 1 + step, index, count=2) for index in range(len(tasks))]
            actor = ExploringAgent(agent, [exploration for _, exploration in pairs])
            for _ in play([VectorPlay(env, actor, count, [env_seed for env_seed, _ in pairs])]):
                pass

        adapt_by_playing(agent, tasks, episodes, play_episodes)
    return agent.trace()


def scatter(trace: AdaptationTrace, tasks: Sequence[Task]) -> Scattered:
    """Projects what adaptation left to two dimensions; coloured by name, or by a parameter where all share a name."""
    places, explained = project(trace.vectors)
    names = [task.name for task in tasks]
    if len(set(names)) > 1:
        return Scattered(places, explained, names, None)
    parameters = np.stack([task.parameters.ravel() for task in tasks])
    # The parameter that differs most among tasks, as goals do and what stays in place does not.
    widest = int(parameters.std(axis=0).argmax())
    return Scattered(places, explained, names, parameters[:, widest], f"parameter {widest + 1} of the task")


def kept_skills(trace: AdaptationTrace, tasks: Sequence[Task]) -> list[tuple[str, str]]:
    """Returns for each task name the skills that were kept, with the number of tasks, most often first."""
    best = [trace.names[index] for index in trace.vectors.argmax(axis=1)]
    rows = []
    for name in dict.fromkeys(task.name for task in tasks):
        counts = Counter(skill for skill, task in zip(best, tasks, strict=True) if task.name == name)
        rows.append((name, ", ".join(f"{skill} {count}" for skill, count in counts.most_common())))
    return rows
