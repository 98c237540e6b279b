"""Metrics that training logs, by name; docs/metrics.md explains them."""

from __future__ import annotations

from metarl.algorithms.base import IterationResult
from metarl.evaluation.result import Evaluation


def common_metrics(result: IterationResult) -> dict[str, float]:
    """Returns the metrics common to all algorithms and the algorithm's own.

    Args:
        result: Outcome of a meta-iteration.
    """
    # adaptation gain = return after adaptation - return before
    before, after = result.before, result.after
    return {
        "meta/pre_adapt_return": before.episode_return,
        "meta/pre_adapt_success_rate": before.success_rate,
        "rollout/ep_rew_mean": after.episode_return,
        "rollout/success_rate": after.success_rate,
        "meta/adaptation_gain": after.episode_return - before.episode_return,
        "train/skipped_updates": float(result.skipped_updates),
        **result.metrics,
    }


def evaluation_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Returns mean success and return for each k, mean success of each name for the largest k, and what it cost."""
    metrics = {"eval/env_steps": float(evaluation.env_steps)}
    for summary in evaluation.overall:
        metrics[f"eval/success_rate/test/{summary.k}_episodes"] = summary.success.mean
        metrics[f"eval/return/test/{summary.k}_episodes"] = summary.returns.mean
    for name, summaries in evaluation.per_name.items():
        metrics[f"eval/success_rate/test/{name}"] = summaries[-1].success.mean
    return metrics
