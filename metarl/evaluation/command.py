"""Evaluation of a run's checkpoint: prints a table and writes a JSON file into the run's directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from rich.console import Console
from rich.progress import Progress

from metarl.acting.agents import ActionChoice
from metarl.checkpoints import Manifest
from metarl.evaluation.experiment import Experiment, check_one_experiment
from metarl.evaluation.hints import print_hints
from metarl.evaluation.protocol import evaluate, usual_adaptation_episodes
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import Origin, StoredEvaluation, file_name, read_evaluation, write_evaluation
from metarl.evaluation.table import evaluation_table
from metarl.evaluation.tasks import select_tasks
from metarl.files import make_room_for
from metarl.loading import comparable_settings, load_agent
from metarl.runs import RunDirectory
from metarl.versions import versions
from metarl_envs.errors import UserError

_MAX_ENVS = 50
"""Largest number of tasks played at a time unless more are asked for."""


class Settings(TypedDict, total=False):
    """Settings of an evaluation."""

    adaptation_episodes: Sequence[int]
    """Numbers k of adaptation episodes, or of demonstrations, each evaluated independently; by default 0, 1, 3 and 10,
    or as in training for a policy that imitates."""
    episodes: int
    """Number of evaluation episodes per task and k; by default 3."""
    tasks_per_name: int | None
    """Number of tasks of each name; None takes all."""
    split: Literal["train", "test"]
    """Split of the tasks to play: "test" (held-out tasks, the default) or "train"."""
    seed: int
    """Seed of the agent's exploration; the environments' seeds are derived from it too. By default 1."""
    actions: ActionChoice
    """Choice of the actions in evaluation episodes; by default the likeliest."""
    num_envs: int | None
    """Largest number of tasks played at a time; None is what the run's configuration says, or else the size of its
    meta-batch, at most 50."""
    workers: int | None
    """Number of processes or threads that simulate; None is what the run's configuration says."""


def evaluate_runs(
    runs: Sequence[RunDirectory],
    which: str = "last",
    *,
    again: bool = False,
    output: Path | None = None,
    **settings: Unpack[Settings],
) -> list[StoredEvaluation]:
    """Evaluates runs of one preset that differ in their seeds, prints the result of all, and writes a file for each.

    A run that was evaluated in the same settings before is not played again: its file is read, and named.

    Args:
        runs: Runs to evaluate.
        which: Checkpoint of each: "last", "best", or the name of one.
        again: True to play anew what was played before.
        output: File to write or replace, of a single run; None names one in the run's `evaluations/`.
        settings: See `evaluate_run`.

    Returns:
        Evaluation of each run.

    Raises:
        UserError: If the runs cannot be compared, or a file is named for several; see `evaluate_run` too.
        RunFailure: See `evaluate_run`.
    """
    if output is not None and len(runs) > 1:
        raise UserError("--output names the file of a single run: leave it out, each run has its own evaluations/")
    check_one_experiment([(str(run.path), run.config.model_dump(mode="json")) for run in runs])
    checkpoints = [run.checkpoint(which) for run in runs]  # raises before anything is played
    stored = []
    for run, checkpoint in zip(runs, checkpoints, strict=True):
        job = _Job(run, checkpoint, output, settings)
        stored.append((None if again or output else job.read(quiet=len(runs) > 1)) or job.play(quiet=len(runs) > 1))
    if len(runs) > 1:
        show(Experiment.of(stored))
    return stored


def evaluate_run(
    run: RunDirectory, checkpoint: Path, *, output: Path | None = None, **settings: Unpack[Settings]
) -> Path:
    """Evaluates a checkpoint, prints the result and writes it to a file, by default in the run's `evaluations/`.

    There the file's name holds the checkpoint's environment steps and a digest of the settings, so only a repetition of
    the same evaluation replaces it.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.
        output: File to write or replace; None names one in the run's `evaluations/`.
        settings: Settings by name; those left out are as `Settings` says.

    Returns:
        Path of the file.

    Raises:
        UserError: If a setting is out of range, the checkpoint is damaged or of another task family, or there cannot
            be such a file.
        RunFailure: If a return is not finite or the file cannot be written after all.
    """
    job = _Job(run, checkpoint, output, settings)
    job.play()
    return job.path


class _Job:
    """One checkpoint to evaluate, and the file of the result."""

    def __init__(self, run: RunDirectory, checkpoint: Path, output: Path | None, settings: Settings) -> None:
        self._run, self._settings = run, settings
        self._seed = settings.get("seed", 1)
        self._ks = settings.get("adaptation_episodes") or usual_adaptation_episodes(run.config)
        self._episodes = settings.get("episodes", 3)
        self._actions = settings.get("actions", "likeliest")
        split, tasks_per_name = settings.get("split", "test"), settings.get("tasks_per_name")
        self._distribution = run.config.tasks.build()
        self._distribution.workers = settings.get("workers") or run.config.workers
        tasks = self._distribution.train_tasks if split == "train" else self._distribution.test_tasks
        self._tasks = select_tasks(tasks, tasks_per_name)
        self._agent, manifest = load_agent(checkpoint, run.config, self._distribution, self._seed)
        self._origin = origin_of(run, checkpoint, manifest, split, tasks_per_name)
        name = file_name(self._origin, self._ks, self._episodes, self._seed, self._actions)
        self.path = output or run.evaluations / name

    def read(self, quiet: bool) -> StoredEvaluation | None:
        """Reads and prints what was played before in these settings; returns None if nothing was.

        What was played of another training, as in a file that was copied from another run, is not taken.
        """
        if not self.path.exists():
            return None
        stored = read_evaluation(self.path)
        other = self._difference(stored)
        if other is not None:
            print(f"Played anew, as what {self.path} holds is of {other}")
            return None
        if not quiet:
            show(stored.evaluation)
        print(f"Played before, and read from {self.path} (--again plays it anew)")
        return stored

    def _difference(self, stored: StoredEvaluation) -> str | None:
        """Returns what else an evaluation is of than of this checkpoint in these settings; None if of nothing else."""
        origin, evaluation = stored.origin, stored.evaluation
        if origin.training_seed != self._origin.training_seed:
            return f"a run of seed {origin.training_seed}, not {self._origin.training_seed}"
        trained = [comparable_settings(each.config) for each in (origin, self._origin)]
        if origin.task_fingerprint != self._origin.task_fingerprint or trained[0] != trained[1]:
            return "a run that was configured otherwise"
        if evaluation.task_ids != tuple(task.id for task in self._tasks):
            return "other tasks"
        played = (list(evaluation.adaptation_episodes), evaluation.episodes, evaluation.seed, evaluation.actions)
        as_wanted = (sorted(self._ks), self._episodes, self._seed, self._actions)
        here = (origin.env_steps, origin.split, origin.control)
        if played != as_wanted or here != (self._origin.env_steps, self._origin.split, None):
            return "other settings"
        return None

    def play(self, quiet: bool = False) -> StoredEvaluation:
        """Plays, prints and writes the evaluation; prints the file's name only if `quiet`."""
        make_room_for(self.path)
        messages = Console(stderr=True)
        with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
            evaluation = evaluate(
                self._agent,
                self._distribution,
                self._tasks,
                adaptation_episodes=self._ks,
                episodes=self._episodes,
                seed=self._seed,
                actions=self._actions,
                num_envs=self._settings.get("num_envs") or usual_num_envs(self._run),
                progress=progress,
            )
        stored = StoredEvaluation(evaluation, self._origin)
        if not quiet:
            show(evaluation)  # first, so that the numbers are not lost with the file
        write_evaluation(self.path, stored)
        if not quiet:
            print_hints(stored, self._run, self._distribution)
        print(f"Evaluation: {self.path}")
        return stored


def origin_of(
    run: RunDirectory, checkpoint: Path, manifest: Manifest, split: str, tasks_per_name: int | None
) -> Origin:
    """Describes where an evaluation of a run's checkpoint comes from; see `Origin`."""
    return Origin(
        run=str(run.path),
        checkpoint=str(checkpoint),
        iteration=manifest.iteration,
        env_steps=manifest.env_steps,
        split=split,
        tasks_per_name=tasks_per_name,
        control=None,
        training_seed=run.config.seed,
        task_fingerprint=manifest.task_fingerprint,
        versions=versions(),
        config=manifest.config,
    )


def usual_num_envs(run: RunDirectory) -> int:
    """Returns the largest number of tasks played at a time unless another is asked for."""
    return run.config.evaluation.num_envs or min(run.config.algorithm.meta_batch, _MAX_ENVS)


def show(result: Evaluation | Experiment) -> None:
    """Prints an evaluation."""
    Console().print(evaluation_table(result))
