"""Recognition: few-shot classification of demonstrations, as an algorithm like the others."""

from __future__ import annotations

from typing import NoReturn

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarl.acting.sampler import Sampler
from metarl.algorithms.base import IterationResult
from metarl.algorithms.recognition.config import (
    GradientConfig,
    MatchingConfig,
    PrototypicalConfig,
    RecognitionConfig,
    SiameseConfig,
)
from metarl.algorithms.recognition.encoders import FrameEncoder, make_encoder
from metarl.algorithms.recognition.learners import Adapted, Learner, Matching, Prototypical, Siamese
from metarl.algorithms.recognition.losses import accuracy, query_labels
from metarl.algorithms.recognition.problems import Library, Problems
from metarl.demonstrations.tasks import ShownTasks
from metarl.optim.adam import AdamState, adam_start, adam_step
from metarl.optim.guard import UpdateGuard
from metarl.optim.vectors import flatten, unflatten
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError

_LEARNER, _SCALE, _OPTIMIZER = "learner.", "scale.", "optimizer."
_SMALLEST_DEVIATION = 1e-3
"""Standard deviation below which a feature is taken for constant, and only centred."""
_SMALLEST_SHARE = 0.1
"""Smallest share that the deviation within classes is taken to have in that over all."""
_EMBEDDED_AT_A_TIME = 256
"""Episodes that are embedded together outside of training, which bounds the memory."""


class Recognition:
    """Learns to tell skills apart by few demonstrations; see `metarl.algorithms.base.Algorithm`.

    Args:
        config: Settings.
        distribution: Tasks that are known from demonstrations.
        device: Device to learn on.

    Raises:
        UserError: See `RecognitionConfig.build`.
    """

    training_state = (_OPTIMIZER, "skipped_in_a_row")

    def __init__(self, config: RecognitionConfig, distribution: TaskDistribution, device: torch.device) -> None:
        if not isinstance(distribution, ShownTasks):
            raise UserError(
                f"algorithm.kind: {config.kind} learns from demonstrations, so tasks.kind must be demonstrations"
            )
        self.config, self.device = config, device
        self.meta_batch = self.num_envs = config.meta_batch
        self.training = Library(distribution.train, config, device)
        """Demonstrations of the training classes."""
        self.held_out = Library(distribution.test, config, device)
        """Demonstrations of the held-out classes."""
        self.training.check(config.ways, max(config.shots) + config.queries, "training")
        self._mean, self._scale = _standardisation(self.training, pictures=config.frames is not None)
        self.learner = _make_learner(config, self.training.episodes).to(device)
        self._adam = adam_start(flatten(self._parameters()).detach())
        self._guard = UpdateGuard("algorithm.lr")

    def warm_up(self, sampler: Sampler) -> None:
        """See `Algorithm`; nothing is left to prepare."""

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Draws problems of the training classes and takes one step; see `Algorithm`.

        Args:
            sampler: Counts the steps of the demonstrations that are looked at; nothing is played.
            generator: The source of randomness.
        """
        self._guard.start_iteration()
        config, library = self.config, self.training
        shots = config.shots[int(torch.randint(len(config.shots), (), generator=generator))]
        problems = library.draw(config.meta_batch, config.ways, shots, config.queries, generator)
        loss, logits = self.learner.loss(*(self._encode(each, generator) for each in problems))
        parameters = self._parameters()
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        gradient = torch.cat(
            [
                (torch.zeros_like(value) if each is None else each).reshape(-1)
                for each, value in zip(gradients, parameters.values(), strict=True)
            ]
        )
        if self._guard.passes(loss, gradient):
            vector, self._adam = adam_step(flatten(parameters).detach(), gradient, self._adam, config.lr)
            self._set_parameters(vector)
        sampler.steps += sum(len(library.demonstrations[int(index)]) for each in problems for index in each.flatten())
        correct = accuracy(logits, query_labels(*problems.queries.shape, logits.device)).item()
        metrics = {
            "train/loss": loss.item(),
            "train/accuracy": correct,
            "train/shots": float(shots),
            "train/gradient_norm": gradient.norm().item(),
        }
        return IterationResult(None, None, self._guard.skipped, metrics, score=correct)

    def check_ways(self, ways: int) -> None:
        """Checks that problems of so many classes can be answered.

        Raises:
            UserError: If the network has outputs for another number of classes.
        """
        if isinstance(self.config, GradientConfig) and ways != self.config.ways:
            raise UserError(f"ways: the network has outputs for {self.config.ways} classes, as trained: got {ways}")

    @torch.no_grad()
    def answers(self, library: Library, problems: Problems) -> Int[Tensor, "task query"]:
        """Answers the queries of problems, by the index of a class within its problem.

        Args:
            library: Where the problems are from.
            problems: The problems.
        """
        episodes = torch.cat([problems.support.flatten(), problems.queries.flatten()]).unique()
        encoded = torch.cat(
            [self.learner.encode(self._scaled(library.episodes[part])) for part in episodes.split(_EMBEDDED_AT_A_TIME)]
        )
        place = torch.full((len(library.episodes),), -1)
        place[episodes] = torch.arange(len(episodes))
        answers = []
        for support, queries in zip(problems.support, problems.queries, strict=True):
            logits = self.learner.logits(
                encoded[place[support]].unsqueeze(0), encoded[place[queries]].flatten(0, 1).unsqueeze(0)
            )
            answers.append(logits.argmax(-1))
        return torch.cat(answers).cpu()

    def make_agent(self, seed: int) -> NoReturn:
        """See `Algorithm`.

        Raises:
            UserError: Always, as there is nothing that acts.
        """
        raise UserError(f"{self.config.kind} recognises skills and does not act: 'metarl evaluate' measures it")

    def state_dict(self) -> dict[str, Tensor]:
        """See `Algorithm`."""
        state = {_LEARNER + name: value.detach().clone() for name, value in self._parameters().items()}
        state |= {_SCALE + "mean": self._mean, _SCALE + "deviation": self._scale}
        state |= {_OPTIMIZER + name: value for name, value in self._adam._asdict().items()}
        return state | self._guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Algorithm`."""
        on_device = {name: value.to(self.device) for name, value in state.items()}
        self._set_parameters(flatten({name: on_device[_LEARNER + name] for name in self._parameters()}))
        self._mean, self._scale = on_device[_SCALE + "mean"], on_device[_SCALE + "deviation"]
        self._adam = AdamState(**{name: on_device[_OPTIMIZER + name] for name in AdamState._fields})
        self._guard.load_state_dict(state)

    def _encode(self, index: Int[Tensor, "task way n"], generator: torch.Generator) -> Tensor:
        """Encodes training episodes, with noise."""
        episodes = self._scaled(self.training.episodes[index.flatten()])
        if self.config.frames is None and self.config.noise:
            offsets = self.config.noise * torch.randn(len(episodes), 1, episodes.shape[-1] - 1, generator=generator)
            # the mask stays as it is
            episodes = episodes + nn.functional.pad(offsets, (0, 1)).to(episodes)
        return self.learner.encode(episodes).unflatten(0, index.shape)

    def _scaled(self, episodes: Tensor) -> Tensor:
        return episodes if self.config.frames is not None else (episodes - self._mean) / self._scale

    def _parameters(self) -> dict[str, Tensor]:
        return dict(self.learner.named_parameters())

    @torch.no_grad()
    def _set_parameters(self, vector: Float[Tensor, "n"]) -> None:
        parameters = self._parameters()
        for name, value in unflatten(vector, parameters).items():
            parameters[name].copy_(value)


def _make_learner(config: RecognitionConfig, episodes: Tensor) -> Learner:
    if config.frames is not None:
        encoder: nn.Module = FrameEncoder(episodes.shape[2], config.frames, config.encoder)
    else:
        encoder = make_encoder(episodes.shape[-1] - 1, config.encoder)
    if isinstance(config, PrototypicalConfig):
        return Prototypical(encoder)
    if isinstance(config, MatchingConfig):
        return Matching(encoder, config)
    if isinstance(config, SiameseConfig):
        return Siamese(encoder, config)
    assert isinstance(config, GradientConfig)
    return Adapted(encoder, config)


def _standardisation(library: Library, *, pictures: bool) -> tuple[Float[Tensor, "feature"], Float[Tensor, "feature"]]:
    """Returns mean and deviation of each feature; 0 and 1 for the mask, the last one, and for pictures.

    The deviation is the one within a class at the same step: what differs little between demonstrations of one skill
    tells skills apart, and so counts more.
    """
    if pictures:
        return torch.zeros(1), torch.ones(1)
    episodes, labels = library.episodes.double().cpu(), library.labels
    mask = episodes[..., -1:]
    count = mask.sum()
    mean = (episodes * mask).sum((0, 1)) / count
    total = (((episodes - mean) * mask).square().sum((0, 1)) / count).sqrt()
    # m[class, step]: means of the classes at each step
    members = torch.nn.functional.one_hot(labels).double().T
    sums = torch.einsum("ce,etf->ctf", members, episodes * mask)
    means = sums / torch.einsum("ce,etf->ctf", members, mask).clamp_min(1.0)
    within = (((episodes - means[labels]) * mask).square().sum((0, 1)) / count).sqrt()
    deviation = torch.maximum(within, _SMALLEST_SHARE * total)
    deviation = torch.where(total < _SMALLEST_DEVIATION, 1.0, deviation)
    mean[-1], deviation[-1] = 0.0, 1.0
    return mean.float().to(library.episodes.device), deviation.float().to(library.episodes.device)
