"""Encoders: networks from episodes to embeddings, over time and over frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.algorithms.recognition.config import (
    ConvolutionalEncoderConfig,
    EncoderConfig,
    FramesConfig,
    PooledEncoderConfig,
    RecurrentEncoderConfig,
)
from metarl.policies.cores import make_core

_GROUPS = 8
"""Groups of channels that are normalised together."""


class Encoder(nn.Module, ABC):
    """Network from episodes to embeddings, after a part that has nothing to learn."""

    def prepare(self, episodes: Tensor) -> Tensor:
        """What the network takes: by default the episodes, whose last feature is 1, or 0 after the end of an episode.

        Args:
            episodes: Steps of episodes `(batch, time, feature + 1)`, or frames.
        """
        return episodes

    @abstractmethod
    def forward(self, prepared: Tensor) -> Float[Tensor, "batch z"]:
        """Embeds what `prepare` returned."""


def make_encoder(feature_size: int, config: EncoderConfig) -> Encoder:
    """Makes the encoder that the settings name.

    Args:
        feature_size: Length of the features of a step, without their mask.
        config: Settings.
    """
    if isinstance(config, PooledEncoderConfig):
        return PooledEncoder(feature_size, config)
    if isinstance(config, RecurrentEncoderConfig):
        return RecurrentEncoder(feature_size, config)
    return ConvolutionalEncoder(feature_size, config)


class PooledEncoder(Encoder):
    """Network on the means of the features over equal parts of an episode.

    Args:
        feature_size: Length of the features of a step.
        config: Settings.
    """

    def __init__(self, feature_size: int, config: PooledEncoderConfig) -> None:
        super().__init__()
        self._parts = config.parts
        sizes = [feature_size * config.parts, *config.hidden_sizes, config.embedding_size]
        layers = [module for n, m in pairwise(sizes) for module in (nn.Linear(n, m), nn.ReLU())]
        self.network = nn.Sequential(*layers[:-1])

    def prepare(self, episodes: Float[Tensor, "batch time _"]) -> Float[Tensor, "batch n"]:
        """Means over the parts, one after the other."""
        return part_means(episodes, self._parts).flatten(1)

    def forward(self, prepared: Float[Tensor, "batch n"]) -> Float[Tensor, "batch z"]:
        """See `Encoder`."""
        embedding: Tensor = self.network(prepared)
        return embedding


class RecurrentEncoder(Encoder):
    """Recurrent core along an episode; the embedding is a linear map of its mean output.

    Args:
        feature_size: Length of the features of a step.
        config: Settings.
    """

    def __init__(self, feature_size: int, config: RecurrentEncoderConfig) -> None:
        super().__init__()
        self.core = make_core(feature_size, config.core)
        self.output = nn.Linear(self.core.output_size, config.embedding_size)

    def forward(self, prepared: Float[Tensor, "batch time _"]) -> Float[Tensor, "batch z"]:
        """See `Encoder`."""
        features, mask = prepared[..., :-1], prepared[..., -1:]
        hidden, _ = self.core.sequence(features, self.core.initial_state(len(features)))
        embedding: Tensor = self.output(masked_mean(hidden, mask))
        return embedding


class ConvolutionalEncoder(Encoder):
    """Blocks of convolutions over time, each of which halves it; the embedding is a linear map of the mean.

    Each step's channels are normalised by themselves (Ba et al. 2016), so that an embedding depends on its own episode
    only, and not on what stands after its end.

    Args:
        feature_size: Length of the features of a step.
        config: Settings.
    """

    def __init__(self, feature_size: int, config: ConvolutionalEncoderConfig) -> None:
        super().__init__()
        sizes = [feature_size, *config.channels]
        self.convolutions = nn.ModuleList(nn.Conv1d(n, m, 3, stride=2, padding=1) for n, m in pairwise(sizes))
        self.norms = nn.ModuleList(nn.LayerNorm(m) for m in config.channels)
        self.output = nn.Linear(sizes[-1], config.embedding_size)

    def forward(self, prepared: Float[Tensor, "batch time _"]) -> Float[Tensor, "batch z"]:
        """See `Encoder`."""
        mask = prepared[..., -1:]
        hidden = prepared[..., :-1] * mask
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            mask = mask[:, ::2]
            hidden = convolution(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = norm(hidden).relu() * mask
        embedding: Tensor = self.output(masked_mean(hidden, mask))
        return embedding


class FrameEncoder(Encoder):
    """Blocks of convolution, normalisation, ReLU and max-pooling on each frame (Vinyals et al. 2016), then time.

    The published blocks normalise over the batch, by which the queries would tell each other what they are; these
    normalise over groups of channels (Wu & He 2018).

    Args:
        channels: Channels of a frame, three for each camera.
        config: Settings of the blocks.
        over_time: Settings of the encoder over the frames' features.
    """

    def __init__(self, channels: int, config: FramesConfig, over_time: EncoderConfig) -> None:
        super().__init__()
        sizes = [channels, *[config.channels] * config.blocks]
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(n, m, 3, padding=1), nn.GroupNorm(_GROUPS, m), nn.ReLU(), nn.MaxPool2d(2))
                for n, m in pairwise(sizes)
            )
        )
        # each block halves the sides
        self.output = nn.Linear(sizes[-1] * (config.size // 2**config.blocks) ** 2, config.feature_size)
        self.over_time = make_encoder(config.feature_size, over_time)

    def prepare(self, episodes: Tensor) -> Float[Tensor, "batch frame channel height width"]:
        """Pixels from -1/2 to 1/2, of bytes."""
        return episodes.float() / 255 - 0.5

    def forward(self, prepared: Float[Tensor, "batch frame channel height width"]) -> Float[Tensor, "batch z"]:
        """See `Encoder`."""
        features = self.output(self.blocks(prepared.flatten(0, 1)).flatten(1))
        features = features.reshape(*prepared.shape[:2], -1)
        # all frames are of the episode
        steps = torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)
        embedding: Tensor = self.over_time(self.over_time.prepare(steps))
        return embedding


def part_means(episodes: Float[Tensor, "batch time _"], parts: int) -> Float[Tensor, "batch part f"]:
    """Means of the features over equal parts of each episode; zeros for a part that no step falls into.

    Args:
        episodes: Features of each step, and the mask as the last one.
        parts: Number of parts.
    """
    features, mask = episodes[..., :-1], episodes[..., -1]
    # step t of an episode of length n is in the part floor(t parts / n)
    place = torch.arange(mask.shape[1], device=mask.device) * parts // mask.sum(1, keepdim=True)
    member = (place.unsqueeze(1) == torch.arange(parts, device=mask.device).unsqueeze(1)) * mask.unsqueeze(1)
    return member @ features / member.sum(-1, keepdim=True).clamp_min(1.0)


def masked_mean(values: Float[Tensor, "batch time n"], mask: Float[Tensor, "batch time 1"]) -> Float[Tensor, "batch n"]:
    """Mean over the steps whose mask is 1, of which there is at least one."""
    return (values * mask).sum(1) / mask.sum(1)
