"""Configuration of a training run: frozen, strictly typed models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, SerializeAsAny
from pydantic_core import PydanticKnownError

from metarl.algorithms import registry
from metarl.algorithms.base import AlgorithmConfig
from metarl.config.augmentation import AugmentationConfig
from metarl.config.tasks import TasksConfig
from metarl.devices import DeviceName
from metarl.strict import Count, CountOrZero, NumbersOrZero, Seed, StrictModel


class EvaluationConfig(StrictModel):
    """Evaluation on held-out tasks during training."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Largest share of all evaluations' steps in those of training. The policy is evaluated before training, at its
    end, and in between at even distances as often as this pays for, up to 20 times."""
    every: CountOrZero | None = None
    """Iterations between evaluations, whatever they cost; 0 is never, None goes by `share`."""
    adaptation_episodes: NumbersOrZero = (0, 10)
    """Numbers of adaptation episodes, or of demonstrations for imitation, after which the policy is evaluated."""
    episodes: Count = 1
    """Evaluation episodes per task and each of these numbers."""
    tasks_per_name: Count | None = 10
    """Held-out tasks of each name, or all where there are fewer; None takes all."""
    num_envs: Count | None = None
    """Largest number of environments to evaluate in; None is as many as training samples from. Results do not depend on
    it, but for rounding; what fills up the last batch counts towards `share`."""


class CheckpointConfig(StrictModel):
    """Writing and deletion of checkpoints."""

    every: Count = 10
    """Iterations between checkpoints; the last iteration always has one."""
    keep_last: Count = 2
    """Number of latest checkpoints to keep, besides the best."""


def _validate_algorithm(value: Any) -> AlgorithmConfig:
    """Validates the settings of an algorithm by the model registered under their `kind`."""
    if isinstance(value, AlgorithmConfig):
        # Settings of an unregistered class could not be read back from the run's config.yaml.
        if registry.config_class(value.kind) is not type(value):
            raise ValueError(f"{type(value).__name__} is not what is registered as '{value.kind}'")
        return value
    if not isinstance(value, dict):
        raise PydanticKnownError("model_type", {"class_name": "AlgorithmConfig"})
    if "kind" not in value:
        raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
    kind, names = value["kind"], registry.names()
    if kind not in names:
        tags = ", ".join(map(repr, names))
        raise PydanticKnownError(
            "union_tag_invalid", {"discriminator": "'kind'", "tag": str(kind), "expected_tags": tags}
        )
    return registry.config_class(kind).model_validate(value)


class RunConfig(StrictModel):
    """One training run."""

    seed: Seed = 1
    """Seed that all randomness of the run is derived from."""
    device: DeviceName = "auto"
    """Device to learn on: cpu, cuda, cuda:N for the GPU of index N, or auto for the first GPU, else the CPU."""
    threads: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Number of PyTorch's threads on the CPU; None is one per core."""
    workers: Annotated[int, Field(gt=0, le=1024)] | None = None
    """Number of processes or threads that simulate; None is one per core. Results do not depend on it."""
    double_buffered: bool = False
    """True to simulate one half of the tasks while the policy acts in the other half. Faster if acting leaves the cores
    idle, as on a GPU; slower if policy and simulation share a few cores."""
    iterations: Annotated[int, Field(gt=0, le=10**9)]
    """Number of meta-iterations (outer steps)."""
    tasks: TasksConfig
    """Tasks to train on."""
    algorithm: Annotated[SerializeAsAny[AlgorithmConfig], PlainValidator(_validate_algorithm)]
    """Algorithm to train with."""
    augmentation: AugmentationConfig = AugmentationConfig()
    """Perturbations of training episodes."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Evaluation on held-out tasks during training."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Writing and deletion of checkpoints."""
