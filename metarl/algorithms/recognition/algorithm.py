"""Recognition: few-shot classification of demonstrations, as an algorithm like the others."""

from __future__ import annotations

from typing import NoReturn

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from metarl.acting.sampler import Sampler
from metarl.algorithms.base import IterationResult
from metarl.algorithms.recognition.config import (
    GradientConfig,
    MatchingConfig,
    PrototypicalConfig,
    RecognitionConfig,
    SiameseConfig,
    check_combination,
)
from metarl.algorithms.recognition.encoders import Encoder, FrameEncoder, make_encoder
from metarl.algorithms.recognition.learners import Adapted, Learner, Matching, Prototypical, Siamese
from metarl.algorithms.recognition.losses import accuracy, query_labels
from metarl.algorithms.recognition.problems import Library, Problems
from metarl.demonstrations.tasks import ShownTasks
from metarl.optim.guard import UpdateGuard
from metarl.optim.module_adam import ModuleAdam
from metarl_envs.core import TaskDistribution
from metarl_envs.errors import UserError

_LEARNER, _SCALE, _OPTIMIZER = "learner.", "scale.", "optimizer."
_SMALLEST_DEVIATION = 1e-3
"""Standard deviation below which a feature is taken for constant, and only centred."""
_EMBEDDED_AT_A_TIME, _ANSWERED_AT_A_TIME = 256, 20
"""Episodes that are embedded, and problems that are answered, together outside of training: bounds of the memory."""


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
        if isinstance(config, GradientConfig):
            check_combination(config)
        if not isinstance(distribution, ShownTasks):
            raise UserError(
                f"algorithm.kind: {config.kind} learns from demonstrations, so tasks.kind must be demonstrations"
            )
        self.config, self.device = config, device
        self.meta_batch, self.num_envs = config.meta_batch, 0
        self.training = Library(distribution.train, config, device)
        """Demonstrations of the training classes."""
        self.held_out = Library(distribution.test, config, device)
        """Demonstrations of the held-out classes."""
        self._ways = config.training_ways or config.ways
        goals = max(config.shots) + config.queries
        self.training.check(self._ways, goals, "training")
        self.held_out.check(config.ways, goals, "held-out")
        self._mean, self._scale = _standardisation(self.training, pictures=config.frames is not None)
        self.learner = _make_learner(config, self.training.episodes).to(device)
        self._guard = UpdateGuard("algorithm.lr")
        self._adam = ModuleAdam(self.learner, config.lr, self._guard)

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
        problems = library.draw(config.meta_batch, self._ways, shots, config.queries, generator)
        loss, logits = self.learner.loss(*(self._encode(each, generator) for each in problems))
        gradient = self._adam.step(loss)
        sampler.steps += sum(len(library.demonstrations[int(index)]) for each in problems for index in each.flatten())
        correct = accuracy(logits, query_labels(config.meta_batch, self._ways, config.queries, logits.device)).item()
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
        episodes = torch.unique(torch.cat([problems.support.flatten(), problems.queries.flatten()]))
        encoded = torch.cat(
            [
                self.learner.encode(self.scaled(library.episodes[part]))
                for part in torch.split(episodes, _EMBEDDED_AT_A_TIME)
            ]
        )
        place = torch.full((len(library.episodes),), -1)
        place[episodes] = torch.arange(len(episodes))
        logits = [
            self.learner.logits(encoded[place[support]], encoded[place[queries]].flatten(1, 2))
            for support, queries in zip(*(torch.split(each, _ANSWERED_AT_A_TIME) for each in problems), strict=True)
        ]
        return torch.cat(logits).argmax(-1).cpu()

    def make_agent(self, seed: int) -> NoReturn:
        """See `Algorithm`.

        Raises:
            UserError: Always, as there is nothing that acts.
        """
        raise UserError(f"{self.config.kind} recognises skills and does not act: 'metarl evaluate' measures it")

    def state_dict(self) -> dict[str, Tensor]:
        """See `Algorithm`."""
        state = {_LEARNER + name: value.detach().clone() for name, value in self.learner.named_parameters()}
        state |= {_SCALE + "mean": self._mean, _SCALE + "deviation": self._scale}
        state |= {_OPTIMIZER + name: value for name, value in self._adam.state_dict().items()}
        return state | self._guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Algorithm`."""
        on_device = {name: value.to(self.device) for name, value in state.items()}
        with torch.no_grad():
            for name, parameter in self.learner.named_parameters():
                parameter.copy_(on_device[_LEARNER + name])
        self._mean, self._scale = on_device[_SCALE + "mean"], on_device[_SCALE + "deviation"]
        self._adam.load_state_dict({name: on_device[_OPTIMIZER + name] for name in self._adam.state_dict()})
        self._guard.load_state_dict(state)

    def _encode(self, index: Int[Tensor, "task way n"], generator: torch.Generator) -> Tensor:
        """Encodes training episodes, with noise."""
        encoded = self.learner.encode(self.noisy(index.flatten(), generator))
        return encoded.reshape(*index.shape, *encoded.shape[1:])

    def noisy(self, index: Int[Tensor, "n"], generator: torch.Generator) -> Tensor:
        """Returns training episodes as they are learned from: standardised, and with noise; or shifted pictures.

        Args:
            index: Indices of the episodes.
            generator: The source of randomness.
        """
        episodes = self.scaled(self.training.episodes[index])
        if self.config.frames is not None:
            return shift_pictures(episodes, self.config.frames.shift, generator)
        if self.config.noise:
            offsets = self.config.noise * torch.randn(len(episodes), 1, episodes.shape[-1] - 1, generator=generator)
            # the mask stays as it is
            episodes = episodes + nn.functional.pad(offsets, (0, 1)).to(episodes)
        return episodes

    def features(self, library: Library) -> Tensor:
        """Returns the standardised features of all episodes, without their mask; or the pixels of their pictures."""
        scaled = self.scaled(library.episodes)
        return scaled.flatten(2).float() if self.config.frames is not None else scaled[..., :-1]

    def scaled(self, episodes: Tensor) -> Tensor:
        """Standardises episodes by the training classes' mean and deviation; pictures stay as they are."""
        return episodes if self.config.frames is not None else (episodes - self._mean) / self._scale


def make_learner_encoder(config: RecognitionConfig, episodes: Tensor) -> Encoder:
    """Makes the encoder that the settings name, for episodes of a library."""
    if config.frames is not None:
        return FrameEncoder(episodes.shape[2], config.frames, config.encoder)
    return make_encoder(episodes.shape[-1] - 1, config.encoder)


def _make_learner(config: RecognitionConfig, episodes: Tensor) -> Learner:
    encoder = make_learner_encoder(config, episodes)
    if isinstance(config, PrototypicalConfig):
        return Prototypical(encoder)
    if isinstance(config, MatchingConfig):
        return Matching(encoder, config)
    if isinstance(config, SiameseConfig):
        return Siamese(encoder, config)
    assert isinstance(config, GradientConfig)
    return Adapted(encoder, config)


def shift_pictures(
    episodes: Shaped[Tensor, "episode frame channel size size"], most: int, generator: torch.Generator
) -> Shaped[Tensor, "episode frame channel size size"]:
    """Shifts pictures at random, those of an episode alike; what comes in from outside repeats the edge.

    Args:
        episodes: Pictures of episodes.
        most: Largest shift along each axis, in pixels.
        generator: The source of randomness.
    """
    count, size = len(episodes), episodes.shape[-1]
    shifts = torch.randint(-most, most + 1, (2, count, 1), generator=generator)
    rows, columns = (torch.arange(size) + shifts).clamp(0, size - 1).to(episodes.device)
    each = torch.arange(count, device=episodes.device)
    moved = episodes[each[:, None, None], :, :, rows.unsqueeze(2), columns.unsqueeze(1)]
    return moved.movedim((1, 2), (-2, -1))


def _standardisation(library: Library, *, pictures: bool) -> tuple[Float[Tensor, "_"], Float[Tensor, "_"]]:
    """Returns mean and standard deviation of each feature over all steps; 0 and 1 for the mask, and for pictures."""
    if pictures:
        return torch.zeros(1), torch.ones(1)
    steps = library.episodes[library.episodes[..., -1] > 0].double()
    mean, deviation = steps.mean(0), steps.std(0)
    deviation = torch.where(deviation < _SMALLEST_DEVIATION, 1.0, deviation)
    mean[-1], deviation[-1] = 0.0, 1.0
    return mean.float(), deviation.float()
