"""Settings of recurrent policies: encoder, core and head."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from metarl.strict import Count, StrictModel, Width, Widths
from metarl_envs.counts import MOST


class GRUConfig(StrictModel):
    """Gated recurrent unit (Cho et al. 2014)."""

    kind: Literal["gru"] = "gru"
    """Name of the core."""
    hidden_size: Width = 256
    """Units of the hidden vector."""
    longest_memory: Annotated[int, Field(ge=2, le=MOST)] | None = None
    """Steps T that units remember at the start of training: the bias of each keep gate is log U(1, T - 1) (Tallec &
    Ollivier 2018, "Can recurrent neural networks warp time?"). None is zero: the memory halves with every step."""


class LSTMConfig(StrictModel):
    """Long short-term memory (Hochreiter and Schmidhuber 1997); its forget gates start open."""

    kind: Literal["lstm"] = "lstm"
    """Name of the core."""
    hidden_size: Width = 256
    """Units of the hidden vector."""


class TransformerConfig(StrictModel):
    """Causal transformer (Vaswani et al. 2017) that attends to a bounded number of past steps."""

    kind: Literal["transformer"] = "transformer"
    """Name of the core."""
    memory: Count = 512
    """Steps that each layer attends to: the current one and those before it, across the episodes of the trial."""
    model_size: Width = 64
    """Length of the vectors between layers."""
    layers: Annotated[int, Field(gt=0, le=100)] = 2
    """Layers, each of attention and a feed-forward network with 4 * `model_size` hidden units."""
    heads: Width = 4
    """Attention heads; `model_size` is a multiple of 2 * `heads`."""

    @model_validator(mode="after")
    def _check_heads(self) -> "TransformerConfig":
        if self.model_size % (2 * self.heads):
            raise ValueError(f"model_size {self.model_size} is not an even multiple of heads {self.heads}")
        return self


CoreConfig = Annotated[GRUConfig | LSTMConfig | TransformerConfig, Field(discriminator="kind")]


class JointEncoderConfig(StrictModel):
    """One network on observation, previous action, previous reward and episode start, concatenated."""

    kind: Literal["joint"] = "joint"
    """Name of the encoder."""
    hidden_sizes: Widths = ()
    """Units of each tanh layer; without layers the core gets the inputs unchanged."""


class SeparateEncoderConfig(StrictModel):
    """Three networks, as in VariBAD: on the observation, on the action, and on reward and episode start."""

    kind: Literal["separate"] = "separate"
    """Name of the encoder."""
    observation_sizes: Widths = (64,)
    """Units of each tanh layer on the observation."""
    action_sizes: Widths = (16,)
    """Units of each tanh layer on the previous action."""
    reward_sizes: Widths = (16,)
    """Units of each tanh layer on previous reward and episode start."""


EncoderConfig = Annotated[JointEncoderConfig | SeparateEncoderConfig, Field(discriminator="kind")]


class LinearHeadConfig(StrictModel):
    """Linear layer from the core's output to the action distribution."""

    kind: Literal["linear"] = "linear"
    """Name of the head."""


class HypernetworkHeadConfig(StrictModel):
    """Small network from the current observation to the action, whose weights the core's output generates.

    Beck et al. 2022, "Hypernetworks in Meta-Reinforcement Learning", with their Bias-HyperInit.
    """

    kind: Literal["hypernetwork"] = "hypernetwork"
    """Name of the head."""
    hidden_size: Width = 32
    """Units of the generated network's hidden layer."""


HeadConfig = Annotated[LinearHeadConfig | HypernetworkHeadConfig, Field(discriminator="kind")]
