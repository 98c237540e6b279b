"""Settings of inner rules, and the way from them to a rule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from torch import nn

from metarl.strict import StepSize, StrictModel, Width

if TYPE_CHECKING:
    from metarl.algorithms.inner_rules.rules import InnerRule, SampleLoss

Steps = Annotated[int, Field(gt=0, le=1000)]


class GradientRuleConfig(StrictModel):
    """Gradient steps: MAML; with `first_order` FOMAML, with `learned_lr` Meta-SGD."""

    kind: Literal["gradient"] = "gradient"
    """Name of the rule."""
    steps: Steps = 5
    """Gradient steps, each on the whole support."""
    lr: StepSize = 0.1
    """Step size."""
    learned_lr: bool = False
    """Learn a step size per parameter, starting from `lr`, as in Meta-SGD (Li et al. 2017)."""
    first_order: bool = False
    """Treat inner gradients as constants in the outer gradient, as in FOMAML (Finn et al. 2017, section 5.2)."""

    def build(self, network: nn.Module, loss: SampleLoss, inputs: int, outputs: int) -> InnerRule:
        """Makes the rule of a network, from vectors of length `inputs` to vectors of length `outputs`."""
        from metarl.algorithms.inner_rules.rules import GradientRule

        return GradientRule(network, loss, self.steps, self.lr, self.learned_lr, self.first_order)


class MetaNetConfig(StrictModel):
    """Meta network: fast weights generated from loss gradients (Munkhdalai & Yu 2017)."""

    kind: Literal["metanet"] = "metanet"
    """Name of the rule."""
    hidden_size: Width = 20
    """Units of the networks that make fast weights from gradients."""
    key_size: Width = 32
    """Length of the keys by which a query finds the examples that are like it."""

    def build(self, network: nn.Module, loss: SampleLoss, inputs: int, outputs: int) -> InnerRule:
        """See `GradientRuleConfig`."""
        from metarl.algorithms.inner_rules.metanet import MetaNetRule

        return MetaNetRule(network, loss, inputs, outputs, self.hidden_size, self.key_size)


class MetaLSTMConfig(StrictModel):
    """Update rule that is a recurrent network (Ravi & Larochelle 2017)."""

    kind: Literal["meta-lstm"] = "meta-lstm"
    """Name of the rule."""
    steps: Steps = 5
    """Updates, each on the whole support."""
    hidden_size: Width = 20
    """Units of the recurrent layer that sees each parameter's gradient and the loss."""

    def build(self, network: nn.Module, loss: SampleLoss, inputs: int, outputs: int) -> InnerRule:
        """See `GradientRuleConfig`."""
        from metarl.algorithms.inner_rules.meta_lstm import MetaLSTMRule

        return MetaLSTMRule(network, loss, self.steps, self.hidden_size)


InnerRuleConfig = Annotated[GradientRuleConfig | MetaNetConfig | MetaLSTMConfig, Field(discriminator="kind")]
