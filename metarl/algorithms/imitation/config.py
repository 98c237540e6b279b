"""Settings of imitation: what is shown, and the way from demonstrations to a policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import torch
from pydantic import Field, model_validator

from metarl.acting.adapts_on import AdaptsOn
from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.inner_rules.config import GradientRuleConfig, InnerRuleConfig
from metarl.algorithms.recognition.config import EncoderConfig, PooledEncoderConfig
from metarl.policies.config import CoreConfig, GRUConfig
from metarl.strict import Count, CountOrZero, NonNegative, NumbersOrZero, StepSize, StrictModel, Widths

if TYPE_CHECKING:
    from metarl.algorithms.imitation.algorithm import Imitation
    from metarl_envs.core import TaskDistribution


class InContextConfig(StrictModel):
    """A recurrent core is shown the demonstrations, then acts from the state that they left (Duan et al. 2017)."""

    kind: Literal["in-context"] = "in-context"
    """Name of the way."""
    core: CoreConfig = GRUConfig(hidden_size=128)
    """The core."""
    hidden_sizes: Widths = (128,)
    """Units of each hidden layer of the network from the core's output and the observation to the action."""
    window: Count = 10
    """Steps that the core acts for before it goes back to the state that the demonstrations left; in training it acts
    for as many, from any step of an episode. What it met while it acts thus cannot wash out what it was shown."""


class ByGradientConfig(StrictModel):
    """An inner rule adapts a network by the loss of cloning the demonstrations (Finn et al. 2017b)."""

    kind: Literal["gradient"] = "gradient"
    """Name of the way."""
    rule: InnerRuleConfig = GradientRuleConfig()
    """Inner rule."""
    hidden_sizes: Widths = (100, 100)
    """Units of each hidden layer, with ReLU."""
    bias_size: CountOrZero = 10
    """Length of the bias transformation, learned numbers that the network gets beside each observation and that are
    adapted too (ibid., section 4.2)."""


class EmbeddingConfig(StrictModel):
    """A policy is conditioned on the demonstrations' embedding: task-embedded control (James et al. 2018)."""

    kind: Literal["embedding"] = "embedding"
    """Name of the way."""
    encoder: EncoderConfig = PooledEncoderConfig(hidden_sizes=(64,), embedding_size=20)
    """Encoder of a demonstration, over time."""
    hidden_sizes: Widths = (128, 128)
    """Units of each hidden layer of the policy, with ReLU."""
    margin: NonNegative = 0.1
    """Least difference between the likeness of a demonstration to its own task and to another one."""
    metric_weight: NonNegative = 1.0
    """Weight of the metric loss beside that of cloning."""


class AttentionConfig(StrictModel):
    """A policy attends to the steps of the demonstrations, relative to where it is (Duan et al. 2017b)."""

    kind: Literal["attention"] = "attention"
    """Name of the way."""
    heads: Count = 4
    """Heads, each of which reads from the demonstrations by itself."""
    key_size: Count = 32
    """Length of a head's keys and queries."""
    hidden_sizes: Widths = (128, 128)
    """Units of each hidden layer of the policy, with ReLU."""


WayConfig = Annotated[
    InContextConfig | ByGradientConfig | EmbeddingConfig | AttentionConfig, Field(discriminator="kind")
]


class ImitationConfig(AlgorithmConfig):
    """Imitation of few demonstrations, learned by cloning other demonstrations of the same tasks."""

    adapts_on: ClassVar[AdaptsOn] = AdaptsOn.DEMONSTRATIONS

    kind: Literal["imitation"] = "imitation"
    """Name of the algorithm."""
    dataset: str
    """Demonstrations of training and held-out tasks: a dataset's folder, or its name in `demonstrations/` or in
    Minari's own folder."""
    meta_batch: Count = 16
    """Tasks per meta-iteration, all different."""
    shots: NumbersOrZero = (1,)
    """Numbers of demonstrations that are shown; a meta-iteration draws one of them."""
    looks: Annotated[int, Field(ge=2, le=1000)] = 50
    """Steps of each demonstration that are looked at, evenly spaced from its first to its last one."""
    queries: Count = 100
    """Steps of another demonstration of each task that are cloned in a meta-iteration."""
    shifted_starts: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Augmentation: largest share of a demonstration that is left out at its start, in training."""
    noise: NonNegative = 0.0
    """Augmentation: standard deviation of normal noise on the standardised observations that training clones."""
    way: WayConfig = AttentionConfig()
    """Way from demonstrations to a policy."""
    lr: StepSize = 1e-3
    """Adam's step size."""
    fine_tuning: CountOrZero = 0
    """Steps of Adam, of size `lr`, on the demonstrations of a task before the policy acts; training takes none."""

    @model_validator(mode="after")
    def _check_fine_tuning(self) -> ImitationConfig:
        if self.fine_tuning and not isinstance(self.way, AttentionConfig | EmbeddingConfig):
            raise ValueError(f"fine_tuning is for the ways attention and embedding, not for {self.way.kind}")
        return self

    def build(self, distribution: TaskDistribution, device: torch.device) -> Imitation:
        """See `AlgorithmConfig`.

        Raises:
            UserError: If nothing can be played, or actions are discrete.
        """
        from metarl.algorithms.imitation.algorithm import Imitation

        return Imitation(self, distribution, device)
