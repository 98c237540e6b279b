"""What to try after an evaluation in which adaptation did not help, by what is known of the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from metarl.acting.adapts_on import AdaptsOn
from metarl.algorithms.rl2.config import RL2Config
from metarl.config import RunConfig
from metarl.evaluation.result import Evaluation
from metarl.evaluation.statistics import Interval
from metarl.evaluation.stored import StoredEvaluation, read_evaluation
from metarl.runs import RunDirectory
from metarl.shell import command
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError


def hints(
    evaluation: Evaluation,
    *,
    run: str = "RUN",
    config: RunConfig | None = None,
    iteration: int | None = None,
    distribution: TaskDistribution | None = None,
    held: Evaluation | None = None,
) -> list[str]:
    """Returns what to look at, a sentence or two each, if adaptation raised neither success nor return for certain.

    Args:
        evaluation: Evaluation of the policy, with k = 0 and at least one more k.
        run: Directory of the run, for the commands.
        config: Configuration of the run.
        iteration: Training iterations before the checkpoint.
        distribution: Tasks that were played.
        held: The same evaluation with the memory held at its initial state.

    Returns:
        Hints, the most likely cause first; none if there is a gain, or nothing to compare.
    """
    last = evaluation.overall[-1]
    if last.success_gain is None or last.return_gain is None:
        return []
    if _is_certain(last.success_gain) or _is_certain(last.return_gain):
        return []
    chooses = config is not None and isinstance(config.algorithm, RL2Config) and config.algorithm.keeps == "best"
    if chooses and evaluation.adaptation_episodes[-1] == 1:
        return ["One episode leaves no memory to choose (algorithm.keeps: best): evaluate with 2 or more"]
    if evaluation.success[0].all():
        return ["These tasks are solved before any adaptation, which leaves nothing to gain: evaluate on harder ones"]
    found = [
        _untrained(run, config, iteration),
        _unsolved(evaluation, run),
        _visible(distribution),
        _memory_unused(evaluation, held),
        _harmful(last.return_gain, config, evaluation.adapts_on) or _uncertain(last.return_gain, evaluation),
    ]
    return [hint for hint in found if hint]


def print_hints(stored: StoredEvaluation, run: RunDirectory, distribution: TaskDistribution) -> None:
    """Prints what to try after an evaluation of a run's policy without gain.

    Args:
        stored: Evaluation that has just been made; one of a control needs no hints.
        run: Run that it belongs to; if it holds the same evaluation with the memory held, that is considered too.
        distribution: Tasks that were played.
    """
    evaluation, origin = stored
    if origin.control is not None:
        return
    found = hints(
        evaluation,
        run=origin.run,
        config=run.config,
        iteration=origin.iteration,
        distribution=distribution,
        held=_read_held(stored, run),
    )
    if found:
        print("No adaptation for certain. Try this:")
    for hint in found:
        print(f"- {hint}.")


def _read_held(stored: StoredEvaluation, run: RunDirectory) -> Evaluation | None:
    """Reads the same evaluation with the memory held, if the run has one; a file that cannot be read is left alone."""
    for path in sorted(run.evaluations.glob(f"{stored.origin.env_steps:012d}-state-held-*.json")):
        try:
            held = read_evaluation(path).evaluation
        except UserError:
            continue
        if _protocol(held) == _protocol(stored.evaluation):
            return held
    return None


def _protocol(evaluation: Evaluation) -> tuple[object, ...]:
    return evaluation.task_ids, evaluation.adaptation_episodes, evaluation.episodes, evaluation.seed, evaluation.actions


def _is_certain(gain: Interval) -> bool:
    return gain.mean > 0 and gain.excludes_zero


def _untrained(run: str, config: RunConfig | None, iteration: int | None) -> str | None:
    if config is None or iteration is None or iteration >= config.iterations:
        return None
    go_on = command("train", "--resume", run)
    return f"The policy has trained for {iteration} of {config.iterations} iterations; go on with: {go_on}"


def _unsolved(evaluation: Evaluation, run: str) -> str | None:
    if evaluation.success.any():
        return None
    rises = {
        AdaptsOn.EPISODES: "return rises in training (rollout/ep_rew_mean in metrics.jsonl)",
        AdaptsOn.DEMONSTRATIONS: "the loss falls in training (train/loss in metrics.jsonl)",
    }[evaluation.adapts_on]
    return (
        f"No episode was solved, so that success cannot tell: see whether {rises}, train for longer, and look at it"
        f" with: {command('watch', run)}"
    )


def _visible(distribution: TaskDistribution | None) -> str | None:
    if distribution is None or not distribution.task_visible:
        return None
    return (
        "Observations may show the task here (task_visible), so that a policy need not adapt: leave out of them what"
        " tells the task"
    )


def _memory_unused(evaluation: Evaluation, held: Evaluation | None) -> str | None:
    if held is None:
        return None
    # the memory's worth: outcomes of the policy minus those with its memory held, paired by task
    worth = replace(
        evaluation,
        adaptation_episodes=(0, 1),
        success=np.stack([held.success[-1], evaluation.success[-1]]),
        success_last=np.stack([held.success_last[-1], evaluation.success_last[-1]]),
        returns=np.stack([held.returns[-1], evaluation.returns[-1]]),
    )
    gains = worth.overall[-1].success_gain, worth.overall[-1].return_gain
    if any(gain is not None and _is_certain(gain) for gain in gains):
        return None
    return (
        "With its memory held at the initial state the policy does as well, so it makes no use of what it remembers:"
        " longer trials (algorithm.episodes) and more tasks per update (algorithm.meta_batch) ask more of the memory"
    )


def _harmful(gain: Interval, config: RunConfig | None, adapts_on: AdaptsOn) -> str | None:
    if gain.high >= 0:
        return None
    if adapts_on is AdaptsOn.DEMONSTRATIONS:
        return (
            "Adapting lowers the return: the policy has not learned to follow what it is shown; train longer, or on"
            " demonstrations of more tasks"
        )
    if config is not None and config.algorithm.kind == "maml":
        return "Adapting lowers the return: the inner step may be too long; train with a lower algorithm.inner.lr"
    return (
        "Adapting lowers the return: the policy has not learned to explore and then to use what it found; train longer"
    )


def _uncertain(gain: Interval, evaluation: Evaluation) -> str | None:
    if gain.mean <= 0:
        return None
    tasks, episodes = len(evaluation.task_ids), evaluation.episodes
    return (
        f"Return is up by {gain.mean:.3g}, which may be chance: more than {tasks} tasks (--tasks-per-name) or more"
        f" than {episodes} evaluation episodes each (--episodes), narrow the interval"
    )
