"""Settings of recognition: what is looked at, the encoder, and how queries are compared with the support."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field

from metarl.algorithms.base import AlgorithmConfig
from metarl.algorithms.inner_rules.config import GradientRuleConfig, InnerRuleConfig
from metarl.policies.config import CoreConfig, GRUConfig
from metarl.strict import Count, NonNegative, Numbers, Positive, StepSize, StrictModel, Width, Widths
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.algorithms.recognition.algorithm import Recognition
    from metarl_envs.core import TaskDistribution


class PooledEncoderConfig(StrictModel):
    """Means of the features over equal parts of the episode, and a network on all of them."""

    kind: Literal["pooled"] = "pooled"
    """Name of the encoder."""
    parts: Annotated[int, Field(gt=0, le=1000)] = 10
    """Equal parts that an episode is cut into."""
    hidden_sizes: Widths = ()
    """Units of each hidden layer, with ReLU; without one the embedding is linear, which carries over best to classes
    that were never met."""
    embedding_size: Width = 64
    """Length of an embedding."""


class ConvolutionalEncoderConfig(StrictModel):
    """Convolutions over time, each of which halves it."""

    kind: Literal["convolutional"] = "convolutional"
    """Name of the encoder."""
    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=20)] = (64, 64, 64, 64)
    """Channels of each block."""
    embedding_size: Width = 64
    """Length of an embedding."""


class RecurrentEncoderConfig(StrictModel):
    """Recurrent core along the episode."""

    kind: Literal["recurrent"] = "recurrent"
    """Name of the encoder."""
    core: CoreConfig = GRUConfig(hidden_size=128)
    """The core."""
    embedding_size: Width = 64
    """Length of an embedding."""


EncoderConfig = Annotated[
    PooledEncoderConfig | ConvolutionalEncoderConfig | RecurrentEncoderConfig, Field(discriminator="kind")
]


class FramesConfig(StrictModel):
    """Recognition from pictures: a network on each frame, below the encoder over time."""

    count: Count = 8
    """Frames of an episode that are looked at, evenly spaced from the first one to the last one."""
    size: Literal[16, 32, 64] = 32
    """Side of a picture in pixels: those of 64 are averaged down to it. Time goes with its square."""
    shift: Annotated[int, Field(ge=0, le=16)] = 4
    """Largest shift of a training episode's pictures along each axis, in pixels; the same for all of the episode."""
    blocks: Annotated[int, Field(ge=0, le=4)] = 4
    """Blocks of convolution on a picture; with none, its features are linear in its pixels."""
    channels: Annotated[int, Field(gt=0, le=1024, multiple_of=8)] = 32
    """Channels of each block."""
    feature_size: Width = 64
    """Length of the features of a frame."""


class RecognitionConfig(AlgorithmConfig):
    """N-way K-shot recognition of skills from demonstrations, trained on problems drawn from the training classes."""

    meta_batch: Count = 8
    """Problems per meta-iteration."""
    ways: Annotated[int, Field(ge=2, le=1000)] = 5
    """Classes N of a problem."""
    training_ways: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Classes of a training problem; None is `ways`. More make it harder, and comparison better (Snell et al. 2017,
    section 3.1)."""
    shots: Numbers = (1, 5)
    """Numbers K of demonstrations of each class; a meta-iteration draws one of them, an evaluation measures all."""
    queries: Count = 5
    """Queries of each class in a problem."""
    steps: Count | None = None
    """First steps of an episode that are looked at; None is all of them."""
    every: Count = 5
    """Looks at one of so many steps."""
    frames: FramesConfig | None = None
    """Settings of pictures; None is to look at states and actions."""
    encoder: EncoderConfig = PooledEncoderConfig()
    """Encoder over time."""
    noise: NonNegative = 1.0
    """Standard deviation of the offset that each feature of an episode gets in training, in standard deviations of the
    feature; the same in all steps of the episode. Pictures get none."""
    lr: StepSize = 1e-3
    """Adam's step size."""

    def build(self, distribution: TaskDistribution, device: torch.device) -> Recognition:
        """See `AlgorithmConfig`.

        Raises:
            UserError: If the tasks are not known from demonstrations, or there are too few of them.
        """
        from metarl.algorithms.recognition.algorithm import Recognition

        return Recognition(self, distribution, device)


class PrototypicalConfig(RecognitionConfig):
    """Prototypical network: a query is of the class whose mean embedding is nearest (Snell et al. 2017)."""

    kind: Literal["prototypical"] = "prototypical"
    """Name of the algorithm."""


class MatchingConfig(RecognitionConfig):
    """Matching network: attention of the query to the support's examples (Vinyals et al. 2016)."""

    kind: Literal["matching"] = "matching"
    """Name of the algorithm."""
    sharpness: Positive = 10.0
    """Factor of the cosines in the attention before training, which learns it; 1 in the paper."""
    full_context: bool = True
    """Embed each example in the context of the whole support, and each query too (ibid., section 2.1.2)."""
    context_steps: Annotated[int, Field(gt=0, le=100)] = 5
    """Steps in which a query attends to the support before it is compared."""


class SiameseConfig(RecognitionConfig):
    """Siamese network: embeddings of one class attract, others repel each other (Hadsell et al. 2006)."""

    kind: Literal["siamese"] = "siamese"
    """Name of the algorithm."""
    margin: Positive = 5.0
    """Distance beyond which examples of different classes do not repel each other."""


class GradientConfig(RecognitionConfig):
    """A classifier that an inner rule adapts to the support: MAML and its relatives, MetaNet, meta-LSTM."""

    kind: Literal["gradient"] = "gradient"
    """Name of the algorithm."""
    rule: InnerRuleConfig = GradientRuleConfig()
    """Inner rule."""
    adapted: Literal["all", "head"] = "all"
    """What the rule adapts: all parameters, or only the head on the embedding, as in ANIL (Raghu et al. 2020).
    MetaNet and the meta-LSTM adapt the head."""
    outer: Literal["gradient", "reptile"] = "gradient"
    """Outer step: down the gradient of the queries' loss, or towards the adapted parameters (Reptile, Nichol et al.
    2018), which adapts to support and queries together."""
    hidden_sizes: Widths = (64,)
    """Units of the head's hidden layers."""


def check_combination(config: GradientConfig) -> None:
    """Checks that valid settings go together.

    Raises:
        UserError: If they do not; the message names the fields.
    """
    if not isinstance(config.rule, GradientRuleConfig):
        if config.adapted == "all":
            raise UserError(f"algorithm.adapted: {config.rule.kind} adapts the head; set it to head")
        if config.outer == "reptile":
            raise UserError(
                f"algorithm.outer: reptile gives {config.rule.kind} no gradient to learn from; take gradient"
            )
    elif config.outer == "reptile" and (config.rule.learned_lr or config.adapted == "head"):
        field = "rule.learned_lr" if config.rule.learned_lr else "adapted = head"
        raise UserError(f"algorithm.outer: reptile cannot go with algorithm.{field}: it moves adapted parameters only")
    if config.training_ways not in (None, config.ways):
        raise UserError(
            "algorithm.training_ways: the network has as many outputs as a problem has classes; leave it out"
        )
    if isinstance(config.encoder, RecurrentEncoderConfig) and config.adapted == "all":
        raise UserError(
            "algorithm.adapted: a recurrent encoder cannot be adapted; set it to head, or take another encoder"
        )
