"""Study on disk: who may play the next trial, what became of those before, and which keep their checkpoints.

study.json          settings: preset, search space, what is put aside
journal.log         trials, unless a database has them
trials/0000/ ...    a run's directory for each trial
workers/*.lock      a lock that each worker holds while it lives
best.yaml plots.html
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState

from metarl.tuning.samplers import make_pruner, make_sampler
from metarl.tuning.settings import FILE, StudySettings
from metarl.tuning.storage import JOURNAL, open_study, storage_errors
from metarl_envs.errors import UserError

REASON, INTERVAL, SECONDS = "reason", "interval", "seconds"
"""Attributes of trials: why it failed, ends of the score's interval, and time taken."""
_WORKER, _RETRY_OF, _SETTINGS = "worker", "retry_of", "settings"
_JUST_STARTED = timedelta(minutes=1)
_FOLDERS = ("trials", "workers")
_ENTRIES = {*_FOLDERS, JOURNAL, ".lock"}
"""What a study's folder has before its settings are written."""


class TuningStudy:
    """Study that this process takes part in.

    Args:
        folder: Folder of the study.
        storage: URL of a database; None is the journal in the folder.
        settings: Settings that the study must have; None takes what the folder holds.

    Raises:
        UserError: If the folder holds another study or none, its storage is lost, or the space does not fit the preset.
        StorageFailure: If the storage fails.
    """

    def __init__(self, folder: Path, storage: str | None, settings: StudySettings | None = None) -> None:
        self.folder = folder
        held = StudySettings.read(folder) if settings is None or (folder / FILE).exists() else None
        if settings is not None and held is not None:
            settings.check_same(held, folder)
        self.settings = wanted = settings or held or StudySettings.read(folder)
        self.space = wanted.search_space(folder)
        self._grid = self.space.grid() if wanted.sampler == "grid" else []
        _make_folder(folder)
        self._lock = FileLock(folder / ".lock")
        self._worker: FileLock | None = None
        parts: dict[str, Any] = {
            "sampler": make_sampler(wanted.sampler, wanted.seed),
            "pruner": make_pruner(wanted.pruner),
        }
        try:
            with storage_errors(folder), self._lock:
                self.optuna = open_study(folder, storage, new=held is None, **parts)
                self._agree(new=held is None)
        except UserError:
            _discard_unless_used(folder)
            raise

    def _agree(self, new: bool) -> None:
        """Writes the settings where they are missing, and compares them with those of other machines."""
        there = self.optuna.user_attrs.get(_SETTINGS)
        if there is None:
            self.optuna.set_user_attr(_SETTINGS, self.settings.model_dump(mode="json"))
        else:
            self.settings.check_same(StudySettings.model_validate(there), self.folder)
        if new:
            self.settings.write(self.folder)

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, by number."""
        return self.optuna.get_trials(deepcopy=False)

    def prepare(self) -> int:
        """Queues a grid's settings, marks trials whose worker is gone as failed, and queues their settings again.

        Returns:
            Number of settings that are tried again.
        """
        with storage_errors(self.folder), self._lock:
            for point in self._grid[self._queued() :]:
                self.optuna.enqueue_trial(dict(point))
            for trial in self.trials:
                if trial.state == TrialState.RUNNING and self._is_abandoned(trial):
                    self.optuna.tell(trial.number, state=TrialState.FAIL)
            again = self._interrupted()
            for trial in again:
                self.optuna.enqueue_trial(trial.params, user_attrs={_RETRY_OF: original(trial)})
                shutil.rmtree(self.run_of(trial), ignore_errors=True)
        return len(again)

    def claim(self, trials: int) -> optuna.Trial | None:
        """Takes the next trial, unless there are as many as wanted, or a grid has no more.

        Args:
            trials: Number of trials of the whole study; those that were interrupted do not count.
        """
        with storage_errors(self.folder), self._lock:
            counted = [trial for trial in self.trials if _counts(trial)]
            waiting = any(trial.state == TrialState.WAITING for trial in self.trials)
            if len(counted) >= trials or (self.settings.sampler == "grid" and not waiting):
                return None
            if self._worker is None:
                self._worker = FileLock(self.folder / "workers" / f"{uuid4().hex}.lock")
                self._worker.acquire()
            trial = self.optuna.ask()
            trial.set_user_attr(_WORKER, Path(self._worker.lock_file).name)
            return trial

    def finish(self, trial: optuna.Trial, state: TrialState, score: float | None, **attributes: Any) -> None:
        """Tells how a trial ended, and deletes the checkpoints of all finished trials but the best.

        Args:
            trial: Trial that was claimed.
            state: How it ended.
            score: Score of a trial that is complete.
            attributes: What else is known of it, as JSON types.
        """
        with storage_errors(self.folder), self._lock:
            for name, value in attributes.items():
                trial.set_user_attr(name, value)
            self.optuna.tell(trial, score, state=state)
            kept = {each.number for each in self.best()[: self.settings.keep]}
            for each in self.trials:
                if each.state.is_finished() and each.number not in kept:
                    shutil.rmtree(self.run_of(each) / "checkpoints", ignore_errors=True)

    def best(self) -> list[FrozenTrial]:
        """Returns the complete trials by score, the highest first, the earliest among equals."""
        complete = [trial for trial in self.trials if trial.state == TrialState.COMPLETE]
        return sorted(complete, key=lambda trial: -score_of(trial))

    def run_of(self, trial: FrozenTrial | optuna.Trial) -> Path:
        """Returns the directory of a trial's run."""
        return self.folder / "trials" / f"{trial.number:04d}"

    def _queued(self) -> int:
        """Returns the number of a grid's settings that were queued before; retries do not count."""
        return sum(_RETRY_OF not in trial.user_attrs for trial in self.trials)

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        """Returns true if the worker of a running trial is gone; one of another machine is left alone."""
        name = trial.user_attrs.get(_WORKER)
        if name is None:  # it was killed right after it began, unless it has just begun elsewhere
            return trial.datetime_start is None or datetime.now() - trial.datetime_start > _JUST_STARTED
        path = self.folder / "workers" / Path(name).name
        if not path.exists():
            return False
        try:
            with FileLock(path, timeout=0):
                return True
        except Timeout:
            return False

    def _interrupted(self) -> list[FrozenTrial]:
        """Returns trials that were interrupted and whose setting was not tried again, the last of each setting."""
        last: dict[int, FrozenTrial] = {}
        for trial in self.trials:
            last[original(trial)] = trial
        return [trial for trial in last.values() if trial.state == TrialState.FAIL and not _counts(trial)]


def original(trial: FrozenTrial | optuna.Trial) -> int:
    """Returns the number of the trial whose setting this one tries again; its own, if it tries a new one."""
    return int(trial.user_attrs.get(_RETRY_OF, trial.number))


def score_of(trial: FrozenTrial) -> float:
    """Returns the score of a complete trial."""
    assert trial.value is not None
    return trial.value


def failed(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the trials that failed for a reason; those that were interrupted are not among them."""
    return [trial for trial in trials if trial.state == TrialState.FAIL and REASON in trial.user_attrs]


def _counts(trial: FrozenTrial) -> bool:
    if trial.state == TrialState.FAIL:
        return REASON in trial.user_attrs
    return trial.state != TrialState.WAITING


def _make_folder(folder: Path) -> None:
    try:
        strange = {path.name for path in folder.iterdir()} - _ENTRIES if folder.exists() else set()
        if strange and not (folder / FILE).exists():
            raise UserError(f"{folder} is no search's folder: it has {min(strange)}; name another by --folder")
        for name in _FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {folder}: {error.strerror}; name another by --folder") from None


def _discard_unless_used(folder: Path) -> None:
    """Removes a folder in which no study was begun, so that a mistake leaves none behind."""
    if not (folder / FILE).exists():
        (folder / ".lock").unlink(missing_ok=True)
        for path in (*(folder / name for name in _FOLDERS), folder):
            with suppress(OSError):  # it is not empty
                path.rmdir()
