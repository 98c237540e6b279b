"""Classifiers of few-shot problems: each embeds episodes, and answers queries by a support."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from metarl.algorithms.inner_rules.layers import FastMLP
from metarl.algorithms.recognition.config import GradientConfig, MatchingConfig, SiameseConfig
from metarl.algorithms.recognition.context import AttentionLSTM, SupportLSTM
from metarl.algorithms.recognition.encoders import Encoder
from metarl.algorithms.recognition.losses import (
    attention,
    classification_loss,
    contrastive_loss,
    matching_logits,
    prototypical_logits,
    query_labels,
    siamese_logits,
)


class Learner(nn.Module, ABC):
    """Classifier of few-shot problems.

    Args:
        encoder: Network from episodes to embeddings.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encode(self, episodes: Tensor) -> Tensor:
        """What answers are made of: embeddings of episodes, with a leading axis `episode`."""
        encoded: Tensor = self.encoder(self.encoder.prepare(episodes))
        return encoded

    @abstractmethod
    def logits(self, support: Tensor, queries: Tensor) -> Float[Tensor, "task query way"]:
        """Answers queries.

        Args:
            support: Encoded examples, with leading axes `task way shot`.
            queries: Encoded queries, with leading axes `task query`.
        """

    def loss(self, support: Tensor, queries: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, "task query way"]]:
        """Loss of problems, and the answers.

        Args:
            support: Encoded examples, with leading axes `task way shot`.
            queries: Encoded queries, with leading axes `task way query`.
        """
        tasks, ways, count = queries.shape[:3]
        logits = self.logits(support, queries.flatten(1, 2))
        return classification_loss(logits, query_labels(tasks, ways, count, logits.device)), logits


class Prototypical(Learner):
    """Prototypical network (Snell et al. 2017)."""

    def logits(self, support: Tensor, queries: Tensor) -> Float[Tensor, "task query way"]:
        """See `Learner`."""
        return prototypical_logits(support, queries)


class Matching(Learner):
    """Matching network (Vinyals et al. 2016).

    Args:
        encoder: See `Learner`.
        config: Settings.
    """

    def __init__(self, encoder: Encoder, config: MatchingConfig) -> None:
        super().__init__(encoder)
        size = config.encoder.embedding_size
        self.sharpness = nn.Parameter(torch.tensor(config.sharpness))
        self.support_context = SupportLSTM(size) if config.full_context else None
        self.query_context = AttentionLSTM(size, config.context_steps) if config.full_context else None

    def logits(self, support: Tensor, queries: Tensor) -> Float[Tensor, "task query way"]:
        """See `Learner`."""
        examples = support.flatten(1, 2)
        if self.support_context is not None and self.query_context is not None:
            examples = self.support_context(examples)
            queries = self.query_context(queries, examples)
        return matching_logits(attention(queries, examples, self.sharpness), support.shape[1])


class Siamese(Learner):
    """Siamese network (Koch et al. 2015) with the contrastive loss (Hadsell et al. 2006).

    Args:
        encoder: See `Learner`.
        config: Settings.
    """

    def __init__(self, encoder: Encoder, config: SiameseConfig) -> None:
        super().__init__(encoder)
        self._margin = config.margin

    def logits(self, support: Tensor, queries: Tensor) -> Float[Tensor, "task query way"]:
        """See `Learner`."""
        return siamese_logits(support, queries)

    def loss(self, support: Tensor, queries: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, "task query way"]]:
        """See `Learner`."""
        embeddings = torch.cat([support, queries], dim=2)
        tasks, ways, count = embeddings.shape[:3]
        labels = query_labels(tasks, ways, count, embeddings.device)
        loss = contrastive_loss(embeddings.flatten(1, 2), labels, self._margin)
        return loss, self.logits(support, queries.flatten(1, 2))


class Adapted(Learner):
    """Classifier that an inner rule adapts to the support.

    Args:
        encoder: See `Learner`.
        config: Settings.
    """

    def __init__(self, encoder: Encoder, config: GradientConfig) -> None:
        super().__init__(encoder)
        size = config.encoder.embedding_size
        self.head = FastMLP([size, *config.hidden_sizes, config.ways])
        self._whole = config.adapted == "all"
        network: nn.Module = nn.Sequential(encoder, self.head) if self._whole else self.head
        self.rule = config.rule.build(network, _cross_entropy, size, config.ways)
        self._reptile = config.outer == "reptile"

    def encode(self, episodes: Tensor) -> Tensor:
        """What the encoder takes, where the encoder is adapted too."""
        return self.encoder.prepare(episodes) if self._whole else super().encode(episodes)

    def logits(self, support: Tensor, queries: Tensor) -> Float[Tensor, "task query way"]:
        """See `Learner`."""
        tasks, ways, shots = support.shape[:3]
        labels = query_labels(tasks, ways, shots, support.device)
        return self.rule.predict(support.flatten(1, 2), labels, queries)

    def loss(self, support: Tensor, queries: Tensor) -> tuple[Float[Tensor, ""], Float[Tensor, "task query way"]]:
        """See `Learner`."""
        if not self._reptile:
            return super().loss(support, queries)
        examples = torch.cat([support, queries], dim=2)
        tasks, ways, count = examples.shape[:3]
        labels = query_labels(tasks, ways, count, examples.device)
        with torch.no_grad():
            logits = self.logits(support, queries.flatten(1, 2))
            ends = self.rule.adapt_all(examples.flatten(1, 2), labels)
        # 1/2 |theta - phi'|², mean over tasks, has Reptile's gradient theta - mean phi' (Nichol et al. 2018, section 3)
        distances = [(value - ends[name]).square().sum() for name, value in self.rule.start().items()]
        return 0.5 * torch.stack(distances).sum() / len(support), logits


def _cross_entropy(outputs: Tensor, labels: Tensor) -> Float[Tensor, "sample"]:
    return cross_entropy(outputs, labels, reduction="none")
