"""Recognition of skills never met in training: N-way K-shot accuracy on held-out classes, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from metarl.algorithms.base import Algorithm
from metarl.algorithms.recognition.algorithm import Recognition
from metarl.algorithms.recognition.losses import query_labels
from metarl.algorithms.recognition.problems import Library, Problems
from metarl.evaluation.fields import StoredFields, check_fields
from metarl.evaluation.result import Evaluation
from metarl.evaluation.shares import share_bounds
from metarl.evaluation.statistics import Interval, mean_bounds, split_by_name
from metarl.seeding import Stream, derive_seeds, generator
from metarl_envs.errors import UserError

PROBLEMS = 200
"""Default number of problems for each number of shots."""
LEARNER = "policy"
"""Name of what was trained, among the classifiers."""

Answers: TypeAlias = Callable[[Library, Problems], Int[Tensor, "task query"]]
"""Answers the queries of problems, by the index of a class within its problem."""


@dataclass(frozen=True, eq=False)
class RecognitionResult:
    """Accuracy of classifiers on the same problems, of one training run or of several that differ in their seeds.

    Each goal that the held-out demonstrations show is asked for in many problems, each time beside other classes and
    with other examples; its accuracy is the share of right answers. Intervals are over these goals, class by class, as
    those of other evaluations are over tasks, and over training runs where there are several: classes count as given,
    and weigh the same.
    """

    dataset: str
    """Name of the dataset."""
    ways: int
    """Classes N of a problem."""
    shots: tuple[int, ...]
    """Numbers K of examples of each class, ascending."""
    problems: int
    """Number of problems for each K."""
    seed: int
    """Seed that the problems were drawn from."""
    classes: tuple[str, ...]
    """Class of each goal."""
    accuracy: Mapping[str, Float[np.ndarray, "run goal k"]]
    """Accuracy of each classifier: of what was trained ("policy"), and of controls by their names."""

    def overall(self, name: str = LEARNER) -> list[Interval]:
        """Accuracy of a classifier for each K, over all classes."""
        return share_bounds(self._strata(self.accuracy[name]), episodes=1).intervals()

    def of_class(self, of: str, name: str = LEARNER) -> list[Interval]:
        """Accuracy of a classifier for each K, over the goals of a class."""
        chosen = np.array([each == of for each in self.classes])
        return share_bounds([self.accuracy[name][:, chosen]]).intervals()

    def gains(self, over: str) -> list[Interval]:
        """Accuracy of what was trained minus that of a control for each K, paired by goal.

        The interval is Student's, as for returns: a goal's accuracy is a mean over many problems, and no coin.
        """
        gains = self._strata(self.accuracy[LEARNER] - self.accuracy[over])
        return mean_bounds(gains, generator(self.seed, Stream.EVALUATION)).intervals()

    def _strata(self, values: Float[np.ndarray, "run goal k"]) -> list[Float[np.ndarray, "run _ k"]]:
        return list(split_by_name(values, self.classes).values())

    @classmethod
    def together(cls, results: Sequence[RecognitionResult]) -> RecognitionResult:
        """Puts results of several runs on the same problems together.

        Raises:
            UserError: If they are not on the same problems.
        """
        first = results[0]
        for name in ("dataset", "ways", "shots", "problems", "seed", "classes"):
            if any(getattr(each, name) != getattr(first, name) for each in results):
                raise UserError(f"recognition was measured on different problems: {name} differs")
        shared = [name for name in first.accuracy if all(name in each.accuracy for each in results)]
        return replace(
            first, accuracy={name: np.concatenate([each.accuracy[name] for each in results]) for name in shared}
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON types, with its summaries for readers of the file."""
        return {
            "dataset": self.dataset,
            "ways": self.ways,
            "shots": list(self.shots),
            "problems": self.problems,
            "seed": self.seed,
            "classes": list(self.classes),
            "accuracy": {name: values.tolist() for name, values in self.accuracy.items()},
            "summary": {name: [each.to_dict() for each in self.overall(name)] for name in self.accuracy},
            "gains": {name: [each.to_dict() for each in self.gains(name)] for name in self.accuracy if name != LEARNER},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RecognitionResult:
        """Reads what `to_dict` returned.

        Args:
            data: JSON types; fields that are not the result's own are left alone.

        Raises:
            UserError: If a field is missing or not what it should be.
        """
        fields = check_fields(_Fields, data, "a recognition result")
        shape = len(fields.classes), len(fields.shots)
        accuracy = {name: np.array(values, dtype=np.float64) for name, values in fields.accuracy.items()}
        if LEARNER not in accuracy or any(values.shape[1:] != shape for values in accuracy.values()):
            raise UserError(f"not a recognition result: accuracy must have {shape[0]} rows of {shape[1]} numbers")
        own = (fields.dataset, fields.ways, tuple(fields.shots), fields.problems, fields.seed, tuple(fields.classes))
        return cls(*own, accuracy)


class _Fields(StoredFields):
    dataset: str
    ways: int
    shots: list[int]
    problems: int
    seed: int
    classes: list[str]
    accuracy: dict[str, list[list[list[float]]]]


HeldOutResult: TypeAlias = Evaluation | RecognitionResult
"""What is measured on held-out tasks: by playing them, or by recognising demonstrations of them."""


def evaluate_recognition(
    algorithm: Algorithm,
    *,
    ways: int | None = None,
    shots: tuple[int, ...] | None = None,
    problems: int = PROBLEMS,
    seed: int = 1,
    controls: Mapping[str, Answers] | None = None,
) -> RecognitionResult:
    """Measures recognition of the held-out classes.

    Args:
        algorithm: What was trained.
        ways: Number of classes N of a problem; None is as in training.
        shots: Numbers K of examples; None is as in training.
        problems: Number of problems for each K.
        seed: Seed of the problems.
        controls: Further classifiers by name, which answer the same problems.

    Raises:
        UserError: If the algorithm does not recognise, or there are too few held-out classes or demonstrations.
    """
    if not isinstance(algorithm, Recognition):
        raise UserError("tasks.kind: demonstrations are for algorithms that recognise skills, such as prototypical")
    library, ways, queries = algorithm.held_out, ways or algorithm.config.ways, algorithm.config.queries
    shots = tuple(sorted(shots or algorithm.config.shots))
    library.check(ways, max(shots) + queries, "held-out")
    algorithm.check_ways(ways)
    classifiers: dict[str, Answers] = {LEARNER: algorithm.answers, **(controls or {})}
    columns: dict[str, list[Float[np.ndarray, "goal"]]] = {name: [] for name in classifiers}
    for k in shots:
        (key,) = derive_seeds(seed, Stream.EVALUATION, k, count=1)
        drawn = library.draw(problems, ways, k, queries, torch.Generator().manual_seed(key))
        labels = query_labels(problems, ways, queries)
        for name, answer in classifiers.items():
            right = (answer(library, drawn) == labels).double()
            columns[name].append(_of_goals(library, drawn, right))
    asked = ~np.isnan(np.stack(columns[LEARNER])).any(0)  # goals that no problem asks for tell nothing
    classes = tuple(name for name, kept in zip(library.goal_classes, asked, strict=True) if kept)
    accuracy = {name: np.stack(each, axis=1)[None, asked] for name, each in columns.items()}
    return RecognitionResult(library.demonstrations.name, ways, shots, problems, seed, classes, accuracy)


def _of_goals(library: Library, problems: Problems, right: Float[Tensor, "task query"]) -> Float[np.ndarray, "goal"]:
    """Returns the share of right answers to the queries that show each goal; NaN where none does."""
    goals = library.goal_of[problems.queries.flatten()]
    sums, counts = (torch.zeros(len(library.goal_classes), dtype=torch.float64) for _ in range(2))
    sums.index_add_(0, goals, right.flatten())
    counts.index_add_(0, goals, torch.ones_like(right.flatten()))
    share: Float[np.ndarray, "goal"] = (sums / counts).numpy()
    return share
