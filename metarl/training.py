"""Outer loop as an object; each iteration draws tasks, collects, updates, logs, and evaluates and saves when due."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import torch

from metarl import checkpoints
from metarl.acting.agents import TrainedAgent
from metarl.acting.sampler import Sampler
from metarl.config import RunConfig
from metarl.data_parallel import FollowedRun, gather_divergences, share_progress, share_state
from metarl.data_parallel import join as join_ranks
from metarl.devices import own_device, seconds_now
from metarl.errors import RankLostError, RunFailure
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.recognition import HeldOutResult, evaluate_recognition
from metarl.evaluation.result import Evaluation
from metarl.evaluation.schedule import count_episodes, evaluation_interval
from metarl.evaluation.shared import evaluate_shared
from metarl.evaluation.tasks import select_tasks
from metarl.metrics import common_metrics, evaluation_metrics
from metarl.resuming import changed_config, restore_last
from metarl.runs import BEFORE_TRAINING, RunDirectory
from metarl.seeding import Stream, derive_seeds, generator
from metarl.torchrun import join
from metarl.training_envs import TrainingEnvs
from metarl.versions import versions
from metarl_envs.core import Task
from metarl_envs.errors import UserError

_log = logging.getLogger(__name__)
_MAX_DIVERGENCE_RATE = 0.001
"""Largest share of an iteration's steps in which the simulation may diverge; above it the run stops."""


class TrainedIteration(NamedTuple):
    """One meta-iteration of a training run."""

    iteration: int
    """Number of iterations done, this one included."""
    env_steps: int
    """Number of environment steps so far."""
    metrics: dict[str, float]
    """Logged metrics by name; docs/metrics.md explains them."""
    evaluation: HeldOutResult | None = None
    """Evaluation on held-out tasks after this iteration, if one was due."""


class Training(Iterator[TrainedIteration]):
    """Training run as an iterator: every item is one meta-iteration, whose metrics are logged.

        with Training.start(config, Path("runs/mine")) as training:
            for iteration in training:
                if iteration.metrics["rollout/success_rate"] > 0.9:
                    training.stop()

    All randomness derives from the seed and the iteration, and checkpoints are written between iterations. A resumed
    run therefore equals an uninterrupted one, bit for bit on the CPU. Training installs no signal handlers and runs in
    any thread; it sets the number of PyTorch's threads and PyTorch's global seed for the whole process.

    In processes that torchrun has started, each trains on its share of every meta-batch, and the first one writes the
    run. All of them must call the same methods in the same order; docs/scaling.md tells more.

    Args:
        run: Directory of the run.
        resume: True to continue from the run's last checkpoint.

    Raises:
        UserError: If settings contradict each other, or the checkpoint does not belong to these tasks.
    """

    def __init__(self, run: RunDirectory, *, resume: bool = False) -> None:
        self.run = run
        self.config = config = run.config
        self.ranks = ranks = join()
        """Processes that train together; a training by one process has one."""
        self.iteration, self.env_steps = 0, 0
        self._score: float | None = None
        self._saved: int | None = None
        """Number of iterations done at the last checkpoint; None before the first."""
        self._stopping = self._closed = self._first_evaluated = False
        with ExitStack() as resources:  # closes all of them if one cannot be made
            resources.enter_context(closing(run))
            run.lock()
            torch.set_num_threads(config.threads or ranks.cores)
            torch.manual_seed(derive_seeds(config.seed, Stream.INITIALIZATION, count=1)[0])
            self.distribution = config.tasks.build()
            self.distribution.workers = config.workers or ranks.cores
            self._held_out = select_tasks(self.distribution.test_tasks, config.evaluation.tasks_per_name, or_all=True)
            self.algorithm = config.algorithm.build(self.distribution, own_device(config.device, ranks))
            join_ranks(self.algorithm, ranks, config, self.distribution.fingerprint)
            self._draw_tasks(Stream.SAMPLING, 0)  # raises early if the meta-batch is too large
            manifest = restore_last(run, self.algorithm, self.distribution) if resume and ranks.leads else None
            self._take_over(manifest)
            self._envs = TrainingEnvs(self.distribution, self.algorithm, config, len(self._held_out), ranks)
            resources.enter_context(closing(self._envs))
            run.rewind(BEFORE_TRAINING if self._saved is None else self.iteration)
            if self._saved is None:
                self.algorithm.warm_up(self._sampler(Stream.WARM_UP, 0))
            self._resources = resources.pop_all()

    @classmethod
    def start(cls, config: RunConfig, path: str | Path) -> Training:
        """Starts a run in a new directory, which is removed if the settings contradict each other.

        Args:
            config: Configuration of the run.
            path: Directory of the run, which must not exist.

        Raises:
            UserError: If the directory exists or cannot be made, or settings contradict each other.
        """
        own_device(config.device, join())  # raises before the directory is made
        run = RunDirectory.create(Path(path), config) if join().leads else FollowedRun(Path(path), config)
        run.lock()
        try:
            return cls(run)
        except (UserError, RankLostError):
            run.discard_unless_used()
            raise

    @classmethod
    def resume(cls, path: str | Path, iterations: int | None = None, overrides: Sequence[str] = ()) -> Training:
        """Continues a run after its last checkpoint, or from the beginning if it was killed before the first.

        Args:
            path: Directory of the run.
            iterations: New total number of iterations; None keeps the configured one.
            overrides: Further changes, as on the command line: `["--device", "cpu"]`. The device, the threads, the
                workers and the number of environments to evaluate in may change from machine to machine.

        Raises:
            UserError: If there is no run, another process writes it, its checkpoint is damaged, more iterations are
                done than asked for, or something else would change.
        """
        run = RunDirectory.open(Path(path))
        if not join().leads:
            run = FollowedRun(run.path, run.config)
        as_it_was = run.config
        run.config = changed_config(as_it_was, iterations, overrides)
        training = cls(run, resume=True)
        if run.config != as_it_was:
            try:
                run.set_config(run.config)
            except BaseException:
                training.close()
                raise
        return training

    def __iter__(self) -> Training:
        return self

    def __next__(self) -> TrainedIteration:
        """Trains for one iteration; evaluates and saves when due.

        Raises:
            StopIteration: When all iterations are done, or after `stop`; the last iteration has a checkpoint then.
            RunFailure: If the run cannot go on; its checkpoints stay.
            UserError: If the training is closed.
        """
        if self.ranks.largest(float(self._stopping)) > 0:
            self._stopping = True  # all processes stop if any of them is asked to
        if self._stopping or self.iteration >= self.config.iterations:
            if self._stopping and self.iteration not in (0, self._saved) and not self._closed:
                self.save()
            raise StopIteration
        self._check_open()
        self.evaluate_untrained()
        metrics = self._train_one_iteration()
        evaluation = None
        if _is_due(self.iteration, self._evaluation_interval(), self.config.iterations):
            evaluation = self._measure()
            metrics |= evaluation_metrics(evaluation)
        self.run.log(metrics, self.iteration - 1, self.env_steps)
        if _is_due(self.iteration, self.config.checkpoint.every, self.config.iterations):
            self.save()
        return TrainedIteration(self.iteration, self.env_steps, metrics, evaluation)

    def evaluate_untrained(self) -> HeldOutResult | None:
        """Evaluates before the first iteration and logs it; iterating does so too, unless it is done.

        Returns:
            The evaluation, or None if it is done, training has begun, or the configuration wants none.

        Raises:
            UserError: If the training is closed.
        """
        if self.iteration > 0 or self._first_evaluated or self.config.evaluation.every == 0:
            return None
        evaluation = self._measure()
        self.run.log(evaluation_metrics(evaluation), BEFORE_TRAINING, 0)
        self._first_evaluated = True
        return evaluation

    def stop(self) -> None:
        """Ends training after the current iteration, with a checkpoint; any thread or signal handler may call it."""
        self._stopping = True

    def save(self) -> Path:
        """Writes a checkpoint and returns its directory; of several processes, the leading one writes it.

        Its score, which picks the best checkpoint, is the return on *training* tasks after adaptation, or the score
        that the algorithm gives: held-out tasks must not choose the policy that is then evaluated on them.

        Raises:
            CheckpointError: If it cannot be written; earlier checkpoints stay.
        """
        self._saved = self.iteration
        if not self.ranks.leads:
            return self.run.checkpoints
        manifest = checkpoints.Manifest(
            iteration=self.iteration,
            env_steps=self.env_steps,
            config=self.config.model_dump(mode="json"),
            task_fingerprint=self.distribution.fingerprint,
            versions=versions(),
            score=self._score,
        )
        path = checkpoints.save(self.run.checkpoints, self.algorithm.state_dict(), manifest)
        settings = self.config.checkpoint
        checkpoints.prune(self.run.checkpoints, settings.keep_last, settings.every)
        return path

    def agent(self) -> TrainedAgent:
        """Makes an agent that adapts from the current parameters."""
        return self.algorithm.make_agent(derive_seeds(self.config.seed, Stream.EVALUATION, self.iteration, count=1)[0])

    def evaluate(self) -> Evaluation:
        """Evaluates the current parameters on held-out tasks by the configuration's `evaluation`.

        Raises:
            UserError: If the training is closed.
        """
        self._check_open()
        settings = self.config.evaluation
        evaluation = evaluate_shared(
            self.ranks,
            self._held_out,
            lambda tasks: evaluate(
                self.agent(),
                self.distribution,
                tasks,
                adaptation_episodes=settings.adaptation_episodes,
                episodes=settings.episodes,
                seed=self.config.seed,
                env=self._envs.test,
            ),
        )
        return replace(evaluation, told_in_training=self.config.algorithm.told_in_training())

    def _measure(self) -> HeldOutResult:
        """Evaluates on held-out tasks, or on held-out classes of demonstrations where nothing can be played."""
        if self.distribution.simulated:
            return self.evaluate()
        self._check_open()
        return evaluate_recognition(self.algorithm, seed=self.config.seed)

    def close(self) -> None:
        """Closes the log and the environments, and unlocks the run."""
        self._closed = True
        self._resources.close()

    def __enter__(self) -> Training:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UserError("the training is closed: go on with Training.resume")

    def _take_over(self, manifest: checkpoints.Manifest | None) -> None:
        """Takes over where the leading process stands: at the start of a training, or at a checkpoint's manifest."""
        share_state(self.algorithm, self.ranks)
        if manifest is not None:
            self.iteration, self.env_steps = manifest.iteration, manifest.env_steps
            self._score, self._saved = manifest.score, manifest.iteration
        progress = (self.iteration, self.env_steps, self._score, self._saved)
        iteration, env_steps, self._score, saved = share_progress(self.ranks, *progress)
        self.iteration, self.env_steps = int(iteration or 0), int(env_steps or 0)
        self._saved = None if saved is None else int(saved)

    def _train_one_iteration(self) -> dict[str, float]:
        """Draws tasks, collects, updates and returns the metrics."""
        began, device, ranks = time.perf_counter(), self.algorithm.device, self.ranks
        started = seconds_now(device)
        sampler = self._sampler(Stream.SAMPLING, self.iteration)
        seed = derive_seeds(self.config.seed, Stream.LEARNING, self.iteration, count=1)[0]
        try:
            result = self.algorithm.meta_iteration(sampler, torch.Generator().manual_seed(seed))
        except torch.OutOfMemoryError:
            raise RunFailure(_out_of_memory(self.algorithm.meta_batch, device)) from None
        if result.skipped_updates:
            _log.warning("updates skipped as a number in them was not finite: %d", result.skipped_updates)
        metrics = common_metrics(result)
        metrics["time/sampling_seconds"] = sampling = ranks.largest(sampler.seconds)
        # update = iteration up to here - sampling of the slowest process
        metrics["time/update_seconds"] = ranks.largest(seconds_now(device) - started) - sampling
        steps = int(ranks.sum(torch.tensor([sampler.steps]))[0])
        evidence, divergences = gather_divergences(ranks, sampler.divergences)
        self.run.keep_evidence(self.iteration, evidence)
        metrics["env/divergences"] = float(divergences)
        _check_simulation(divergences, steps)
        seconds = ranks.largest(time.perf_counter() - began)
        metrics |= {"time/iteration_seconds": seconds, "time/fps": steps / seconds}
        self._score = metrics["rollout/ep_rew_mean"] if result.score is None else result.score
        self.env_steps += steps
        self.iteration += 1
        return metrics

    def _evaluation_interval(self) -> int:
        """Returns the number of iterations between evaluations, which depends on configuration and steps so far."""
        settings = self.config.evaluation
        if settings.every is not None:
            return settings.every
        played = self.config.algorithm.adapts_on.played(settings.adaptation_episodes)
        episodes = count_episodes(len(self._held_out), self._envs.num_test, played, settings.episodes)
        cost = episodes * self.distribution.horizon * self.distribution.simulated  # nothing is played of recordings
        iterations = self.config.iterations
        per_iteration = Fraction(self.env_steps, self.iteration)
        share = 2 * cost / (iterations * per_iteration)
        if self.iteration == 1 and share > settings.share:
            _log.warning(
                "evaluating before and after so short a training costs %.0f %% of its steps, above evaluation.share:"
                " fewer evaluation.tasks_per_name or evaluation.adaptation_episodes take less",
                100 * share,
            )
        return evaluation_interval(settings.share, iterations, per_iteration, cost)

    def _sampler(self, stream: Stream, iteration: int) -> Sampler:
        """Draws a meta-batch and makes its sampler; tasks of one name are side by side, which costs less."""
        tasks = sorted(self._draw_tasks(stream, iteration), key=lambda task: task.name)
        key = (self.config.seed, stream, iteration)
        self._envs.augment(key)
        indices = self._envs.indices
        return Sampler(self._envs.training, [tasks[i] for i in indices], key, self.algorithm.device, indices)

    def _draw_tasks(self, stream: Stream, iteration: int) -> list[Task]:
        try:
            rng = generator(self.config.seed, Stream.TASKS, stream, iteration)
            return self.distribution.sample(self.algorithm.meta_batch, rng)
        except UserError as error:
            raise UserError(f"algorithm.meta_batch: {error}") from None


def _out_of_memory(meta_batch: int, device: torch.device) -> str:
    return (
        f"an iteration does not fit into the memory of {device}: lower algorithm.meta_batch from {meta_batch} to"
        f" {max(meta_batch // 2, 1)}, which halves what it takes; the last checkpoint is as it was"
    )


def _check_simulation(count: int, steps: int) -> None:
    if count > _MAX_DIVERGENCE_RATE * steps:
        raise RunFailure(
            f"the simulation diverged in {count} of {steps} steps, more than {_MAX_DIVERGENCE_RATE:.1%}; the"
            " episodes are in the run's divergences/, and the last checkpoint is as it was"
        )


def _is_due(iteration: int, every: int, iterations: int) -> bool:
    """Returns true if `iteration` is a multiple of `every`, or the last one; false if `every` is 0."""
    return every > 0 and (iteration % every == 0 or iteration == iterations)
