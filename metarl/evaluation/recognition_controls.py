"""Controls of recognition: what is right without learning to compare, by the same problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarl.algorithms.recognition.algorithm import Recognition, make_learner_encoder
from metarl.algorithms.recognition.losses import query_labels
from metarl.algorithms.recognition.problems import Library, Problems
from metarl.evaluation.recognition import Answers
from metarl_envs.errors import UserError, unknown

_PROBE_STEPS, _PROBE_BATCH, _PROBE_LR = 300, 64, 1e-3
_EMBEDDED_AT_A_TIME = 256
_HEAD_STEPS, _HEAD_LR, _HEAD_DECAY = 100, 0.1, 1e-3


def make_controls(names: Sequence[str], recognition: Recognition, seed: int) -> dict[str, Answers]:
    """Makes controls.

    Args:
        names: Names of controls; "all" is all of them.
        recognition: What is held against them, for its data and its encoder.
        seed: Seed of what is trained.

    Raises:
        UserError: If a name is unknown, or a control does not apply or needs what is not installed.
    """
    for name in names:
        if name not in (*CONTROLS, "all"):
            raise unknown("control", name, [*CONTROLS, "all"])
    wanted = CONTROLS if "all" in names else names
    return {name: CONTROLS[name](recognition, seed) for name in wanted}


def _chance(recognition: Recognition, seed: int) -> Answers:
    """Guesses."""

    def answers(library: Library, problems: Problems) -> Int[Tensor, "task query"]:
        tasks, ways, queries = problems.queries.shape
        return torch.randint(ways, (tasks, ways * queries), generator=torch.Generator().manual_seed(seed))

    return answers


def _nearest(recognition: Recognition, seed: int) -> Answers:
    """Nearest neighbour by the Euclidean distance of standardised features, step by step."""
    features = recognition.features(recognition.held_out)
    return by_distances(torch.cdist(features.flatten(1), features.flatten(1)))


def _warping(recognition: Recognition, seed: int) -> Answers:
    """Nearest neighbour by dynamic time warping of standardised features, or pixels (Sakoe & Chiba 1978)."""
    features = recognition.features(recognition.held_out).double().numpy()
    series = [each[:length] for each, length in zip(features, recognition.held_out.lengths, strict=True)]
    return by_distances(torch.from_numpy(warped_distances(series)))


def warped_distances(series: Sequence[Float[np.ndarray, "_ feature"]]) -> Float[np.ndarray, "episode episode"]:
    """Distances between series after dynamic time warping: the least over all ways to match their steps in order.

    Raises:
        UserError: If `dtaidistance` is not installed.
    """
    try:
        warping = import_module("dtaidistance.dtw_ndim")
    except ImportError:
        raise UserError(
            "control warping: dtaidistance is not installed: pip install 'metarl-suite[recognition]'"
        ) from None
    distances: Float[np.ndarray, "episode episode"]
    distances = warping.distance_matrix_fast([np.ascontiguousarray(each) for each in series], parallel=False)
    return distances


def _probe(recognition: Recognition, seed: int) -> Answers:
    """Linear classifier fitted to the support, on features of plain supervised training (Chen et al. 2019, Baseline).

    The encoder, as the policy has one, learns to classify all training classes; it is then left as it is.
    """
    library, config = recognition.training, recognition.config
    torch.manual_seed(seed)
    encoder = make_learner_encoder(config, library.episodes).to(recognition.device)
    head = nn.Linear(config.encoder.embedding_size, len(library.classes)).to(recognition.device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_PROBE_LR)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_PROBE_STEPS):
        batch = torch.randint(len(library.episodes), (_PROBE_BATCH,), generator=generator)
        outputs = head(encoder(encoder.prepare(recognition.noisy(batch, generator))))
        loss = nn.functional.cross_entropy(outputs, library.labels[batch].to(outputs.device))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    scaled = recognition.scaled(recognition.held_out.episodes)
    with torch.no_grad():
        held_out = torch.cat([encoder(encoder.prepare(part)) for part in torch.split(scaled, _EMBEDDED_AT_A_TIME)])

    def answers(library: Library, problems: Problems) -> Int[Tensor, "task query"]:
        support, queries = held_out[problems.support.flatten(1)], held_out[problems.queries.flatten(1)]
        return linear_answers(support, problems.support.shape[1], queries)

    return answers


CONTROLS: dict[str, Callable[[Recognition, int], Answers]] = {
    "chance": _chance,
    "nearest": _nearest,
    "warping": _warping,
    "probe": _probe,
}
"""Controls by name."""


def by_distances(distances: Float[Tensor, "episode episode"]) -> Answers:
    """Makes the nearest neighbour of given distances between the held-out episodes."""

    def answers(library: Library, problems: Problems) -> Int[Tensor, "task query"]:
        queries, support = problems.queries.flatten(1).unsqueeze(2), problems.support.flatten(1).unsqueeze(1)
        pairs = distances[queries, support]
        return pairs.reshape(*pairs.shape[:2], *problems.support.shape[1:]).amin(-1).argmin(-1)

    return answers


def linear_answers(
    support: Float[Tensor, "task example z"], ways: int, queries: Float[Tensor, "task query z"]
) -> Int[Tensor, "task query"]:
    """Fits a linear classifier to the support of each problem, and answers its queries.

    Args:
        support: Features of the examples, class by class.
        ways: Number of classes.
        queries: Features of the queries.
    """
    tasks, examples = support.shape[:2]
    labels = query_labels(tasks, ways, examples // ways, support.device)
    centre = support.mean(1, keepdim=True)
    scale = (support - centre).square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-6)
    support, queries = (support - centre) / scale, (queries - centre) / scale
    weights = torch.zeros(tasks, support.shape[2], ways, device=support.device, requires_grad=True)
    bias = torch.zeros(tasks, 1, ways, device=support.device, requires_grad=True)
    optimizer = torch.optim.Adam([weights, bias], lr=_HEAD_LR, weight_decay=_HEAD_DECAY)
    for _ in range(_HEAD_STEPS):
        outputs = (support @ weights + bias).flatten(0, 1)
        # the sum over tasks, so that each is fitted as if it were alone
        loss = nn.functional.cross_entropy(outputs, labels.flatten(), reduction="sum") / examples
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    with torch.no_grad():
        return (queries @ weights + bias).argmax(-1)
