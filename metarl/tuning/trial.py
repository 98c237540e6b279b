"""One trial: a training run whose evaluations, on training tasks put aside, are its scores."""

from __future__ import annotations

import math
import time

import optuna
from optuna.trial import TrialState

from metarl.evaluation.recognition import RecognitionResult
from metarl.evaluation.statistics import Interval
from metarl.training import Training
from metarl.tuning.samplers import trial_seeds
from metarl.tuning.storage import StorageFailure, storage_errors
from metarl.tuning.study import INTERVAL, REASON, SECONDS, TuningStudy, original
from metarl_envs.errors import UserError, one_line


def play_trial(study: TuningStudy, trial: optuna.Trial, cores: int) -> str:
    """Trains with what a trial chooses, tells the study its score, and returns how it ended in a line.

    Whatever fails in a trial, as its training diverges or its settings exclude each other, ends this trial only.

    Args:
        study: Study of the trial.
        trial: Trial that was claimed.
        cores: Number of cores that it may use.

    Raises:
        StorageFailure: If the study's storage fails.
    """
    began = time.monotonic()
    try:
        state, score = _train(study, trial, cores)
    except StorageFailure:
        raise
    except Exception as error:  # a plug-in may fail in any way
        reason = str(error) if isinstance(error, UserError) else one_line(error)
        seconds = round(time.monotonic() - began, 1)
        study.finish(trial, TrialState.FAIL, None, **{REASON: reason, SECONDS: seconds})
        return f"trial {trial.number} failed after {seconds:.0f} s: {reason}"
    seconds = round(time.monotonic() - began, 1)
    ends = [None if math.isnan(end) else end for end in (score.low, score.high)]
    complete = state == TrialState.COMPLETE
    study.finish(trial, state, score.mean if complete else None, **{INTERVAL: ends, SECONDS: seconds})
    how = "scored" if complete else "was pruned at"
    return f"trial {trial.number} {how} {show_score(score.mean, ends)} after {seconds:.0f} s"


def _train(study: TuningStudy, trial: optuna.Trial, cores: int) -> tuple[TrialState, Interval]:
    """Trains until the end, or until the trial is hopeless."""
    settings = study.settings
    with storage_errors(study.folder):
        chosen = study.space.suggest(trial)
    seed, _ = trial_seeds(settings.seed, original(trial))
    config = settings.trial_config(chosen, seed, cores)
    check = 0
    with Training.start(config, study.run_of(trial)) as training:
        for iteration in training:
            evaluation = iteration.evaluation
            if evaluation is None:
                continue
            assert not isinstance(evaluation, RecognitionResult), "presets of demonstrations are refused"
            summary = evaluation.overall[-1]
            score = summary.success if settings.metric == "success" else summary.returns
            check += 1
            with storage_errors(study.folder):
                trial.report(score.mean, check)
                hopeless = trial.should_prune()
            if hopeless and iteration.iteration < config.iterations:
                return TrialState.PRUNED, score
    return TrialState.COMPLETE, score


def show_score(mean: float, ends: list[float | None]) -> str:
    """Returns a score with the ends of its interval, where they are known."""
    known = [f"{end:.3g}" for end in ends if end is not None]
    return f"{mean:.3g}" + (f" [{', '.join(known)}]" if known else "")
