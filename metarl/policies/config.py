"""Settings of recurrent policies."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from metarl.strict import StrictModel


class GRUConfig(StrictModel):
    """A gated recurrent unit (Cho et al. 2014)."""

    kind: Literal["gru"] = "gru"
    """Which core."""
    hidden_size: PositiveInt = 256
    """Units."""


class LSTMConfig(StrictModel):
    """Long short-term memory (Hochreiter and Schmidhuber 1997) with forget gates that start open."""

    kind: Literal["lstm"] = "lstm"
    """Which core."""
    hidden_size: PositiveInt = 256
    """Units."""


class TransformerConfig(StrictModel):
    """A causal transformer (Vaswani et al. 2017) that looks back a bounded number of steps."""

    kind: Literal["transformer"] = "transformer"
    """Which core."""
    memory: PositiveInt = 512
    """Steps that each layer attends to, the current one included; they may lie in earlier episodes of the trial."""
    model_size: PositiveInt = 64
    """Length of the vectors that layers pass on."""
    layers: PositiveInt = 2
    """Layers, each of them attention and a feed-forward network of four times the model's size."""
    heads: PositiveInt = 4
    """Attention heads; `model_size` is an even multiple."""

    @model_validator(mode="after")
    def _check_heads(self) -> "TransformerConfig":
        if self.model_size % (2 * self.heads):
            raise ValueError(f"model_size {self.model_size} is not an even multiple of heads {self.heads}")
        return self


CoreConfig = Annotated[GRUConfig | LSTMConfig | TransformerConfig, Field(discriminator="kind")]


class JointEncoderConfig(StrictModel):
    """Observation, previous action, previous reward and episode start go side by side through one network."""

    kind: Literal["joint"] = "joint"
    """Which encoder."""
    hidden_sizes: tuple[PositiveInt, ...] = ()
    """Units of its tanh layers; none hands the inputs to the core as they are."""


class SeparateEncoderConfig(StrictModel):
    """A network each for the observation, for the action, and for reward and episode start (as in VariBAD)."""

    kind: Literal["separate"] = "separate"
    """Which encoder."""
    observation_sizes: tuple[PositiveInt, ...] = (64,)
    """Units of the observation's tanh layers."""
    action_sizes: tuple[PositiveInt, ...] = (16,)
    """Units of the previous action's tanh layers."""
    reward_sizes: tuple[PositiveInt, ...] = (16,)
    """Units of the tanh layers for the previous reward and the episode start."""


EncoderConfig = Annotated[JointEncoderConfig | SeparateEncoderConfig, Field(discriminator="kind")]


class LinearHeadConfig(StrictModel):
    """A linear layer from the core's output to the action distribution."""

    kind: Literal["linear"] = "linear"
    """Which head."""


class HypernetworkHeadConfig(StrictModel):
    """A small network from the current observation to the action, whose weights the core's output generates.

    Beck et al. 2022, "Hypernetworks in Meta-Reinforcement Learning", with their Bias-HyperInit.
    """

    kind: Literal["hypernetwork"] = "hypernetwork"
    """Which head."""
    hidden_size: PositiveInt = 32
    """Units of the generated network's hidden layer."""


HeadConfig = Annotated[LinearHeadConfig | HypernetworkHeadConfig, Field(discriminator="kind")]
