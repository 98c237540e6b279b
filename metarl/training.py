"""The outer loop: sample tasks, collect, update, measure, keep."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing

import torch

from metarl import checkpoints
from metarl.algorithms import Algorithm, make_algorithm
from metarl.config import RunConfig
from metarl.devices import keep_freed_memory, resolve_device, seconds_now
from metarl.errors import RunFailure
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.tasks import select_tasks
from metarl.loading import restore
from metarl.progress import Reporter, StopSignal
from metarl.runs import RunDirectory
from metarl.sampling import Sampler
from metarl.seeding import Stream, derive_seeds, generator
from metarl.versions import versions
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.parallel import available_cores

_MAX_DIVERGENCE_RATE = 0.001
"""Of the steps of an iteration; a run whose simulation diverges more often stops."""


def train(config: RunConfig, run: RunDirectory, resume: bool) -> None:
    """Trains until `config.iterations` are done, or a signal asks to stop after the iteration under way.

    Everything random derives from the seed and the iteration, and checkpoints are taken between iterations, so an
    interrupted and resumed run equals an uninterrupted one, bit for bit on the CPU.

    Args:
        config: The settings.
        run: Where everything is kept.
        resume: Go on from the run's last checkpoint rather than start.

    Raises:
        UserError: If settings contradict each other, or the checkpoint does not belong to these tasks.
        RunFailure: If the run cannot go on; what was checkpointed stays.
    """
    torch.set_num_threads(config.threads or available_cores())
    torch.manual_seed(derive_seeds(config.seed, Stream.INITIALIZATION, count=1)[0])
    distribution = config.tasks.build()
    held_out = select_tasks(distribution.test_tasks, config.evaluation.tasks_per_name)
    algorithm = make_algorithm(config.algorithm, distribution, resolve_device(config.device))
    keep_freed_memory(algorithm.largest_kept)
    _draw_tasks(config, distribution, Stream.SAMPLING, 0)  # a meta-batch that is too large is told of before all else
    env_counts = _split(config, algorithm)
    iteration, env_steps = 0, 0
    if resume:
        manifest = restore(algorithm, distribution, run.checkpoint("last"))
        iteration, env_steps = manifest.iteration, manifest.env_steps
    run.rewind(iteration)

    with (
        ExitStack() as open_envs,
        closing(distribution.make_env(min(algorithm.num_envs, len(held_out)))) as test_env,
        closing(run),
        StopSignal() as stop,
        Reporter(config.iterations, iteration) as reporter,
    ):
        envs = [open_envs.enter_context(closing(distribution.make_env(count))) for count in env_counts]
        if not resume:
            algorithm.warm_up(_sampler(config, distribution, algorithm, envs, Stream.WARM_UP, 0))
        while iteration < config.iterations and not stop.requested:
            began = seconds_now(algorithm.device)
            sampler = _sampler(config, distribution, algorithm, envs, Stream.SAMPLING, iteration)
            seed = derive_seeds(config.seed, Stream.LEARNING, iteration, count=1)[0]
            try:
                metrics = algorithm.meta_iteration(sampler, torch.Generator().manual_seed(seed))
            except torch.OutOfMemoryError:
                raise RunFailure(_out_of_memory(config, algorithm.device)) from None
            metrics["time/sampling_seconds"] = sampler.seconds
            metrics["time/update_seconds"] = seconds_now(algorithm.device) - began - sampler.seconds
            env_steps += sampler.steps
            metrics["env/divergences"] = float(run.keep_evidence(iteration, sampler.divergences))
            _check_simulation(sampler)
            metrics |= reporter.timing(sampler.steps)
            iteration += 1

            if _is_due(iteration, config.evaluation.every, config.iterations):
                metrics |= _evaluate(config, distribution, algorithm, test_env, held_out, iteration)
            run.log(metrics, iteration - 1, env_steps)
            reporter.show(iteration, env_steps, metrics)
            if stop.requested or _is_due(iteration, config.checkpoint.every, config.iterations):
                _save(config, distribution, algorithm, run, iteration, env_steps, metrics["rollout/ep_rew_mean"])
        reporter.finish(run.path, interrupted=iteration < config.iterations)


def _split(config: RunConfig, algorithm: Algorithm) -> list[int]:
    """How many environments each vector of them has: one has all, or each of two those of half of the tasks."""
    tasks = config.algorithm.meta_batch
    if not config.double_buffered:
        return [algorithm.num_envs]
    if tasks < 2:
        raise UserError("double_buffered: algorithm.meta_batch is 1, and one task cannot be halved; set it to False")
    lanes = algorithm.num_envs // tasks
    return [(tasks - tasks // 2) * lanes, tasks // 2 * lanes]


def _sampler(
    config: RunConfig,
    distribution: TaskDistribution,
    algorithm: Algorithm,
    envs: Sequence[TaskVectorEnv],
    stream: Stream,
    iteration: int,
) -> Sampler:
    """A sampler for a meta-batch of training tasks drawn anew, those of one name side by side: that costs less."""
    tasks = sorted(_draw_tasks(config, distribution, stream, iteration), key=lambda task: task.name)
    return Sampler(envs, tasks, (config.seed, stream, iteration), algorithm.device)


def _draw_tasks(config: RunConfig, distribution: TaskDistribution, stream: Stream, iteration: int) -> list[Task]:
    try:
        return distribution.sample(config.algorithm.meta_batch, generator(config.seed, Stream.TASKS, stream, iteration))
    except UserError as error:
        raise UserError(f"algorithm.meta_batch: {error}") from None


def _out_of_memory(config: RunConfig, device: torch.device) -> str:
    meta_batch = config.algorithm.meta_batch
    return (
        f"an iteration does not fit into the memory of {device}: lower algorithm.meta_batch from {meta_batch} to"
        f" {max(meta_batch // 2, 1)}, which halves what it takes; the last checkpoint is as it was"
    )


def _check_simulation(sampler: Sampler) -> None:
    count = len(sampler.divergences)
    if count > _MAX_DIVERGENCE_RATE * sampler.steps:
        raise RunFailure(
            f"the simulation diverged in {count} of {sampler.steps} steps, more than {_MAX_DIVERGENCE_RATE:.1%}; the"
            " episodes are in the run's divergences/, and the last checkpoint is as it was"
        )


def _is_due(iteration: int, every: int, iterations: int) -> bool:
    """Whether something done every so many iterations (0: never), and after the last one, is due."""
    return every > 0 and (iteration % every == 0 or iteration == iterations)


def _evaluate(
    config: RunConfig,
    distribution: TaskDistribution,
    algorithm: Algorithm,
    env: TaskVectorEnv,
    held_out: Sequence[Task],
    iteration: int,
) -> dict[str, float]:
    """Metrics on held-out tasks: for each number of adaptation episodes, and for each name after the most of them."""
    evaluation = evaluate(
        algorithm.make_agent(derive_seeds(config.seed, Stream.EVALUATION, iteration, count=1)[0]),
        distribution,
        held_out,
        adaptation_episodes=config.evaluation.adaptation_episodes,
        episodes=config.evaluation.episodes,
        seed=config.seed,
        env=env,
    )
    metrics = {}
    for summary in evaluation.overall:
        metrics[f"eval/success_rate/test/{summary.k}_episodes"] = summary.success.mean
        metrics[f"eval/return/test/{summary.k}_episodes"] = summary.returns.mean
    for name, summaries in evaluation.per_name.items():
        metrics[f"eval/success_rate/test/{name}"] = summaries[-1].success.mean
    return metrics


def _save(
    config: RunConfig,
    distribution: TaskDistribution,
    algorithm: Algorithm,
    run: RunDirectory,
    iteration: int,
    env_steps: int,
    score: float,
) -> None:
    """Writes a checkpoint.

    Its score, which picks the best, is the return on *training* tasks: held-out ones must not choose the policy that is
    then measured on them.
    """
    manifest = checkpoints.Manifest(
        iteration=iteration,
        env_steps=env_steps,
        config=config.model_dump(mode="json"),
        task_fingerprint=distribution.fingerprint,
        versions=versions(),
        score=score,
    )
    checkpoints.save(run.checkpoints, algorithm.state_dict(), manifest)
    checkpoints.prune(run.checkpoints, config.checkpoint.keep_last)
