"""Trainings for tests, without a terminal."""

from metarl.runs import RunDirectory
from metarl.training import TrainedIteration, Training


def train(run: RunDirectory, *, resume: bool = False) -> list[TrainedIteration]:
    """Trains until the run's iterations are done."""
    with Training(run, resume=resume) as training:
        return list(training)
