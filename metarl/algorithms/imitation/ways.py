"""Ways from demonstrations to a policy: in context, by gradients, by an embedding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.functional import normalize

from metarl.algorithms.imitation.attention import Attentive
from metarl.algorithms.imitation.config import (
    AttentionConfig,
    ByGradientConfig,
    EmbeddingConfig,
    InContextConfig,
    WayConfig,
)
from metarl.algorithms.imitation.library import Lesson, Steps
from metarl.algorithms.imitation.losses import cloning_loss, metric_loss
from metarl.algorithms.imitation.way import Memory, OwnNetworks, Way, mlp
from metarl.algorithms.inner_rules.layers import FastMLP
from metarl.algorithms.recognition.encoders import make_encoder
from metarl.policies.cores import make_core


class InContext(Way):
    """A recurrent core is shown demonstrations one after the other, then acts.

    While it acts it sees observations only: of its own last actions it could learn to repeat them.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    changing = ("state", "steps")

    def __init__(self, observation_size: int, action_size: int, config: InContextConfig) -> None:
        super().__init__(observation_size)
        self.window = config.window
        self._action_size = action_size
        # observation, action, and 1 while it is shown
        self.core = make_core(observation_size + action_size + 1, config.core)
        self.head = mlp([self.core.output_size + observation_size, *config.hidden_sizes, action_size])

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; the state of the core after all that was shown."""
        observations, actions = (each.flatten(1, 2) for each in shown)
        state = self.core.initial_state(len(observations)).to(observations)
        if observations.shape[1]:
            ones = torch.ones_like(observations[..., :1])
            _, state = self.core.sequence(torch.cat([observations, actions, ones], -1), state)
        steps = torch.zeros(len(observations), dtype=torch.int64, device=observations.device)
        return {"shown": state, "state": state, "steps": steps}

    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """See `Way`."""
        returns = (memory["steps"] % self.window == 0).unsqueeze(1)
        state = torch.where(returns, memory["shown"], memory["state"])
        hidden, state = self.core.step(self._unshown(observations), state)
        actions = self.head(torch.cat([hidden, observations], -1))
        return actions, memory | {"state": state, "steps": memory["steps"] + 1}

    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """See `Way`."""
        tasks, pieces = observations.shape[:2]
        state = memory["shown"].repeat_interleave(pieces, 0)
        flat = observations.flatten(0, 1)
        hidden, _ = self.core.sequence(self._unshown(flat), state)
        actions: Tensor = self.head(torch.cat([hidden, flat], -1))
        return actions.reshape(tasks, pieces, *actions.shape[1:])

    def _unshown(self, observations: Float[Tensor, "*b obs"]) -> Float[Tensor, "*b f"]:
        return nn.functional.pad(observations, (0, self._action_size + 1))


class ByGradient(OwnNetworks):
    """An inner rule adapts a network to clone the demonstrations.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: ByGradientConfig) -> None:
        super().__init__(observation_size)
        sizes = [observation_size, *config.hidden_sizes, action_size]
        network = BiasTransformed(sizes, config.bias_size) if config.bias_size else FastMLP(sizes)
        self.rule = config.rule.build(network, cloning_loss, observation_size, action_size)

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; what the inner rule has made of the network."""
        observations, actions = (each.flatten(1, 2) for each in shown)
        return self.rule.adapt_all(observations, actions) if observations.shape[1] else {}

    def one_for_all(
        self, observations: Float[Tensor, "batch obs"], memory: Memory
    ) -> tuple[Float[Tensor, "batch action"], Memory]:
        """See `Way`."""
        if not memory:
            return self.rule.call({}, observations), memory
        return self.rule.outputs({name: value[0] for name, value in memory.items()}, observations), memory

    def outputs(
        self, observations: Float[Tensor, "task sample obs"], memory: Memory
    ) -> Float[Tensor, "task sample action"]:
        """See `OwnNetworks`."""
        if not memory:
            return self.rule.call({}, observations)
        outputs: Tensor = vmap(self.rule.outputs)(memory, observations)
        return outputs


class BiasTransformed(nn.Module):
    """Network that gets learned numbers beside its input (Finn et al. 2017b, section 4.2).

    An inner step on them moves the first layer's biases independently of its weights.

    Args:
        sizes: Length of the input, units of each hidden layer, and length of the output.
        bias_size: How many numbers.
    """

    def __init__(self, sizes: Sequence[int], bias_size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(bias_size))
        self.layers = FastMLP([sizes[0] + bias_size, *sizes[1:]])

    def forward(self, inputs: Float[Tensor, "*b n"]) -> Float[Tensor, "*b m"]:
        """Returns the outputs."""
        outputs: Tensor = self.layers(torch.cat([inputs, self.bias.expand(*inputs.shape[:-1], -1)], dim=-1))
        return outputs


class Embedded(Way):
    """A policy is conditioned on the sentence of a task, the mean embedding of its demonstrations.

    Args:
        observation_size: Length of an observation.
        action_size: Length of an action vector.
        config: Settings.
    """

    def __init__(self, observation_size: int, action_size: int, config: EmbeddingConfig) -> None:
        super().__init__(observation_size)
        size = config.encoder.embedding_size
        self._size, self._margin, self._weight = size, config.margin, config.metric_weight
        self.encoder = make_encoder(observation_size + action_size, config.encoder)
        self.policy = mlp([observation_size + size, *config.hidden_sizes, action_size])

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; the sentence s = mean of e_i / |mean of e_i|, and 0 of nothing (James et al. 2018, equation 1)."""
        tasks, shots = shown.observations.shape[:2]
        if not shots:
            return {"sentence": shown.observations.new_zeros(tasks, self._size)}
        # the mask of the encoder is 1: every step that is looked at is of the episode
        features = torch.cat([*shown, torch.ones_like(shown.observations[..., :1])], -1).flatten(0, 1)
        embeddings = normalize(self.encoder(self.encoder.prepare(features)), dim=-1)
        return {"sentence": normalize(embeddings.reshape(tasks, shots, -1).mean(1), dim=-1)}

    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """See `Way`."""
        return self.policy(torch.cat([observations, memory["sentence"]], -1)), memory

    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """See `Way`."""
        sentences = memory["sentence"][:, None, None].expand(*observations.shape[:3], -1)
        actions: Tensor = self.policy(torch.cat([observations, sentences], -1))
        return actions

    def loss(self, lesson: Lesson) -> tuple[Float[Tensor, ""], dict[str, float]]:
        """See `Way`: the loss of cloning, and the metric loss where anything was shown."""
        memory = self.watch(lesson.shown)
        outputs = self.clone(lesson.cloned.observations, memory)
        loss = cloning_loss(outputs, lesson.cloned.actions).mean()
        if not lesson.shown.observations.shape[1]:
            return loss, {}
        metric = metric_loss(memory["sentence"], self.watch(lesson.other)["sentence"], self._margin)
        # L = L_ctr + lambda L_emb (ibid., equation 4)
        return loss + self._weight * metric, {"train/metric_loss": metric.item()}


def make_way(observation_size: int, action_size: int, config: WayConfig) -> Way:
    """Makes the way that the settings name."""
    if isinstance(config, InContextConfig):
        return InContext(observation_size, action_size, config)
    if isinstance(config, ByGradientConfig):
        return ByGradient(observation_size, action_size, config)
    if isinstance(config, AttentionConfig):
        return Attentive(observation_size, action_size, config)
    return Embedded(observation_size, action_size, config)
