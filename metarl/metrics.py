"""Metrics that training logs, by name; docs/metrics.md explains them."""

from __future__ import annotations

from metarl.algorithms.base import IterationResult
from metarl.evaluation.recognition import HeldOutResult, RecognitionResult


def common_metrics(result: IterationResult) -> dict[str, float]:
    """Returns the metrics common to all algorithms and the algorithm's own; those of episodes only if any were played.

    Args:
        result: Outcome of a meta-iteration.
    """
    before, after = result.before, result.after
    metrics = {"train/skipped_updates": float(result.skipped_updates), **result.metrics}
    if before is None or after is None:
        return metrics
    # adaptation gain = return after adaptation - return before
    return {
        "meta/pre_adapt_return": before.episode_return,
        "meta/pre_adapt_success_rate": before.success_rate,
        "rollout/ep_rew_mean": after.episode_return,
        "rollout/success_rate": after.success_rate,
        "meta/adaptation_gain": after.episode_return - before.episode_return,
        **metrics,
    }


def evaluation_metrics(evaluation: HeldOutResult) -> dict[str, float]:
    """Returns mean success and return for each k, mean success of each name for the largest k, and what it cost.

    Of recognition it is the accuracy for each number of shots.
    """
    if isinstance(evaluation, RecognitionResult):
        return {
            f"eval/accuracy/test/{k}_shots": each.mean
            for k, each in zip(evaluation.shots, evaluation.overall(), strict=True)
        }
    metrics = {"eval/env_steps": float(evaluation.env_steps)}
    for summary in evaluation.overall:
        metrics[f"eval/success_rate/test/{summary.k}_episodes"] = summary.success.mean
        metrics[f"eval/return/test/{summary.k}_episodes"] = summary.returns.mean
    for name, summaries in evaluation.per_name.items():
        metrics[f"eval/success_rate/test/{name}"] = summaries[-1].success.mean
    return metrics
