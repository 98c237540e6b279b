"""Answers and losses of classifiers that compare: of embeddings z of the queries, and of the support by class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

_TINY = 1e-12
"""Smallest squared distance, whose root has a finite gradient; also the smallest probability."""


def prototypes(support: Float[Tensor, "task way shot z"]) -> Float[Tensor, "task way z"]:
    """Mean embedding of each class, c_k = 1/K sum_i z_i (Snell et al. 2017, equation 1)."""
    return support.mean(dim=2)


def squared_distances(
    left: Float[Tensor, "task left z"], right: Float[Tensor, "task right z"]
) -> Float[Tensor, "task left right"]:
    """Squared Euclidean distances between embeddings of the same task."""
    # |a - b|² as it is written: |a|² + |b|² - 2 a b loses digits where a and b are close
    return (left.unsqueeze(2) - right.unsqueeze(1)).square().sum(-1)


def prototypical_logits(
    support: Float[Tensor, "task way shot z"], queries: Float[Tensor, "task query z"]
) -> Float[Tensor, "task query way"]:
    """Logits of a prototypical network, -d(z, c_k) with the squared distance (Snell et al. 2017, equation 2)."""
    return -squared_distances(queries, prototypes(support))


def attention(
    queries: Float[Tensor, "task query z"], support: Float[Tensor, "task example z"], sharpness: Tensor | float
) -> Float[Tensor, "task query example"]:
    """Attention of queries to examples, a softmax over cosines (Vinyals et al. 2016, section 2.1.1).

    Args:
        queries: f(x^), embeddings of the queries.
        support: g(x_i), embeddings of the support.
        sharpness: Factor s of the cosines, 1 in the paper; a large one leaves the nearest example only.
    """
    # a(x^, x_i) = exp(s cos(f, g_i)) / sum_j exp(s cos(f, g_j))
    cosines = normalize(queries, dim=-1) @ normalize(support, dim=-1).transpose(1, 2)
    return (sharpness * cosines).softmax(-1)


def matching_logits(weights: Float[Tensor, "task query example"], ways: int) -> Float[Tensor, "task query way"]:
    """Log-probabilities of a matching network, log sum_i a_i y_i (Vinyals et al. 2016, equation 1).

    Args:
        weights: a, attention to the examples, class by class.
        ways: Number of classes.
    """
    return weights.reshape(*weights.shape[:2], ways, -1).sum(-1).clamp_min(_TINY).log()


def siamese_logits(
    support: Float[Tensor, "task way shot z"], queries: Float[Tensor, "task query z"]
) -> Float[Tensor, "task query way"]:
    """Minus the squared distance to the nearest example of each class: the likest pair decides (Koch et al. 2015).

    Koch et al. have one example of each class; for several, the nearest one speaks for its class.
    """
    distances = squared_distances(queries, support.flatten(1, 2))
    return -distances.reshape(*queries.shape[:2], *support.shape[1:3]).amin(-1)


def contrastive_loss(
    embeddings: Float[Tensor, "task example z"], labels: Int[Tensor, "task example"], margin: float
) -> Float[Tensor, ""]:
    """Contrastive loss (Hadsell et al. 2006, equation 4) of all pairs of different examples of a task.

    Pairs of one class and pairs of different classes weigh the same in all, though the latter are more.

    Args:
        embeddings: z of all examples.
        labels: Class of each.
        margin: m, distance beyond which examples of different classes do not repel each other.
    """
    squared = squared_distances(embeddings, embeddings)
    same = labels.unsqueeze(2) == labels.unsqueeze(1)
    itself = torch.eye(labels.shape[1], dtype=torch.bool, device=labels.device)
    # L = 1/2 D² for a pair of one class, 1/2 max(0, m - D)² for one of different classes
    attract = 0.5 * squared
    repel = 0.5 * (margin - squared.clamp_min(_TINY).sqrt()).clamp_min(0).square()
    return 0.5 * (attract[same & ~itself].mean() + repel[~same].mean())


def query_labels(tasks: int, ways: int, queries: int, device: torch.device | None = None) -> Int[Tensor, "task query"]:
    """Class of each query of problems whose queries are ordered by class."""
    return torch.arange(ways, device=device).repeat_interleave(queries).expand(tasks, -1)


def classification_loss(
    logits: Float[Tensor, "task query way"], labels: Int[Tensor, "task query"]
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the queries, -log p(y | x)."""
    return cross_entropy(logits.flatten(0, 1), labels.flatten())


def accuracy(logits: Float[Tensor, "task query way"], labels: Int[Tensor, "task query"]) -> Float[Tensor, ""]:
    """Share of queries whose largest logit is that of their class."""
    return (logits.argmax(-1) == labels).double().mean()
