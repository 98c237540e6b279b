"""What an evaluation of a run is held against: controls, learning from scratch, Meta-World's evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.progress import Progress

from metarl.acting.agents import ActionChoice, adapts_on
from metarl.baselines.gail import GAIL_STEPS
from metarl.baselines.learners import check_learner
from metarl.evaluation.command import usual_num_envs
from metarl.evaluation.control_table import control_table
from metarl.evaluation.controls import ALL, choose_controls, play_control
from metarl.evaluation.from_scratch import FromScratch, learn_from_scratch
from metarl.evaluation.match import Match
from metarl.evaluation.metaworld_protocol import check_metaworld, run_metaworld_protocol, write_protocol
from metarl.evaluation.result import Evaluation
from metarl.evaluation.scratch import LearningCurve, check_worth, worth, write_curve
from metarl.evaluation.stored import StoredEvaluation, file_name, write_evaluation
from metarl.evaluation.tasks import select_tasks
from metarl.loading import load_agent
from metarl.runs import RunDirectory
from metarl_envs.cores import available_cores

Protocol = Literal["metarl", "meta-world"]
"""Protocols of evaluation: ours, or Meta-World's own beside it."""


@dataclass(frozen=True)
class Wanted:
    """What to hold an evaluation against."""

    controls: tuple[str, ...] = ()
    """Names of controls, or "all" for those that apply."""
    from_scratch: FromScratch | None = None
    """Learning from scratch; None for none."""
    protocol: Protocol = "metarl"
    """"meta-world" for Meta-World's own evaluation too."""
    oracle_steps: int = 1_000_000
    """Environment steps that the oracle trains for."""
    gail_steps: int = GAIL_STEPS
    """Environment steps that GAIL plays on each task for each number of demonstrations."""


class Comparison:
    """Holds an evaluation of a run against other things; everything is checked before anything is played.

    Args:
        run: Run that is evaluated.
        checkpoint: Directory of the checkpoint that is evaluated.
        wanted: What to hold it against.
        adaptation_episodes: Those of the evaluation, and likewise all of the following.
        episodes: Number of evaluation episodes.
        tasks_per_name: Number of tasks of each name.
        split: Split of the tasks.
        seed: Seed of the evaluation.
        actions: Choice of the actions.
        num_envs: Largest number of tasks played at a time; None is what the run's configuration says, or else the size
            of its meta-batch, at most 50.
        workers: Number of processes or threads; None is what the run's configuration says, or one per core.

    Raises:
        UserError: If something that is wanted is unknown, does not apply to the run, or lacks a package.
    """

    def __init__(
        self,
        run: RunDirectory,
        checkpoint: Path,
        wanted: Wanted,
        *,
        adaptation_episodes: Sequence[int],
        episodes: int,
        tasks_per_name: int | None,
        split: Literal["train", "test"],
        seed: int,
        actions: ActionChoice,
        num_envs: int | None,
        workers: int | None,
    ) -> None:
        self._run, self._wanted = run, wanted
        distribution = run.config.tasks.build()
        self._workers = workers or run.config.workers
        distribution.workers = self._workers
        tasks = select_tasks(distribution.train_tasks if split == "train" else distribution.test_tasks, tasks_per_name)
        agent, _ = load_agent(checkpoint, run.config, distribution, seed)
        self._match = Match(
            agent=agent,
            config=run.config.tasks,
            distribution=distribution,
            tasks=tuple(tasks),
            adaptation_episodes=tuple(sorted(adaptation_episodes)),
            episodes=episodes,
            seed=seed,
            actions=actions,
            num_envs=num_envs or usual_num_envs(run),
            oracle_steps=wanted.oracle_steps,
            gail_steps=wanted.gail_steps,
        )
        self._controls, self._left_out = choose_controls(wanted.controls, self._match)
        if wanted.protocol == "meta-world":
            check_metaworld(agent, distribution, actions)
        if wanted.from_scratch is not None:
            check_worth(adapts_on(agent))
            for learner in wanted.from_scratch.learners:
                check_learner(learner, distribution.action_space)
            self._scratch_tasks = wanted.from_scratch.choose(tasks)

    def play(self, stored: StoredEvaluation) -> None:
        """Plays what is wanted, prints what it tells, and writes files beside that of the evaluation.

        Args:
            stored: Evaluation of the run in the same settings.

        Raises:
            RunFailure: If a return is not finite, a process dies, or a file cannot be written.
        """
        if self._controls or self._left_out:
            self._play_controls(stored)
        if self._wanted.from_scratch is not None:
            for learner in self._wanted.from_scratch.learners:
                self._learn(learner, self._wanted.from_scratch, stored.evaluation)
        if self._wanted.protocol == "meta-world":
            match = self._match
            result = run_metaworld_protocol(match.agent, match.distribution, match.tasks, stored.evaluation)
            print(result.sentence())
            self._keep(f"meta-world-{file_stem(stored)}", partial(write_protocol, result=result))

    def _play_controls(self, stored: StoredEvaluation) -> None:
        played: dict[str, Evaluation] = {}
        cached = []
        for name in self._controls:
            with _progress() as progress:
                played[name], from_cache = play_control(name, self._match, progress)
            if from_cache:
                cached.append(name)
            control = StoredEvaluation(played[name], replace(stored.origin, control=name))
            self._keep(file_stem(control), partial(write_evaluation, stored=control))
        if played:
            Console().print(control_table(stored.evaluation, played))
        if "oracle" in played:
            print(f"The oracle trained for {self._match.oracle_steps:,} environment steps.")
        if cached:
            print(f"Taken from the cache: {', '.join(cached)}.")
        for reason in self._left_out:
            print(f"Left out of {ALL}: {reason}")

    def _learn(self, learner: str, plan: FromScratch, evaluation: Evaluation) -> None:
        lesson = plan.lesson(learner, self._match.seed)
        processes = self._workers or available_cores()
        with _progress() as progress:
            curve, taken = learn_from_scratch(
                self._match.config, self._match.distribution, self._scratch_tasks, lesson, processes, progress
            )
        for sentence in describe(curve, evaluation):
            print(sentence)
        if taken:
            print(f"Taken from the cache: {taken} of {len(self._scratch_tasks)} tasks.")
        names = "".join(f"{name}-" for name in plan.names)
        name = f"from-scratch-{learner}-{names}{len(self._scratch_tasks)}-tasks-{plan.budget}-episodes"
        self._keep(name, partial(write_curve, curve=curve))

    def _keep(self, name: str, write: Callable[[Path], None]) -> None:
        path = self._run.evaluations / f"{name}.json"
        write(path)
        print(f"Written: {path}")


def describe(curve: LearningCurve, evaluation: Evaluation) -> list[str]:
    """Returns plain sentences on learning from scratch, and on what adaptation is worth beside it.

    Args:
        curve: Learning from scratch.
        evaluation: Evaluation of the adapting policy on the same tasks.
    """
    (first, last), (before, after) = (values.mean(axis=0)[[0, -1]] for values in (curve.returns, curve.success))
    sentences = [
        f"{curve.learner.upper()} from scratch, {curve.budget:,} episodes on each of {len(curve.task_ids)} tasks:"
        f" return {first:.4g} to {last:.4g}, success {before:.0%} to {after:.0%}."
    ]
    k = evaluation.adaptation_episodes[-1]
    sentences.append(worth(evaluation, curve, k).sentence())
    compared = np.isin(evaluation.task_ids, curve.task_ids)
    if not evaluation.success[-1, compared].any():
        return [*sentences, f"By success there is nothing to compare: the policy solves none of these tasks after {k}."]
    return [*sentences, worth(evaluation, curve, k, "success").sentence()]


def file_stem(stored: StoredEvaluation) -> str:
    """Returns the name of an evaluation's file without its ending."""
    evaluation = stored.evaluation
    settings = evaluation.adaptation_episodes, evaluation.episodes, evaluation.seed, evaluation.actions
    return file_name(stored.origin, *settings).removesuffix(".json")


@contextmanager
def _progress() -> Iterator[Progress]:
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        yield progress
