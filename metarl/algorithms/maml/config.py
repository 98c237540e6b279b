"""Settings of the MAML family: an inner rule, an outer rule, and what they share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, PositiveInt

from metarl.algorithms.base import AlgorithmConfig
from metarl.strict import StrictModel
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.algorithms.maml.algorithm import MAML
    from metarl_envs.core import TaskDistribution

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class InnerConfig(StrictModel):
    """The inner rule: how a policy adapts to a task, and how far the outer rule looks through it."""

    steps: PositiveInt = 1
    """Gradient steps of one adaptation, each on episodes of its own."""
    lr: Positive = 0.1
    """Step size."""
    learned_lr: bool = False
    """Meta-SGD (Li et al. 2017): learn a step size for each adapted parameter, starting from `lr`."""
    adapted: Literal["all", "head"] = "all"
    """ANIL (Raghu et al. 2020): "head" adapts the last layer and the standard deviation only."""
    first_order: bool = False
    """FOMAML (Finn et al. 2017, section 5.2): treat inner gradients as constants in the outer gradient."""
    estimator: Literal["log_likelihood", "likelihood_ratio"] = "log_likelihood"
    """What is differentiated twice: log pi A as in MAML, or (pi / pi_old) A, ProMP's low-variance curvature."""


class LinearBaselineConfig(StrictModel):
    """Linear feature baseline (Duan et al. 2016), fitted anew to each task's episodes."""

    kind: Literal["linear"] = "linear"
    """Which baseline."""


class ValueBaselineConfig(StrictModel):
    """A value network shared by all tasks, fitted by Adam to the returns of each iteration after they were used."""

    kind: Literal["value"] = "value"
    """Which baseline."""
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Units of its hidden layers, with tanh."""
    lr: Positive = 1e-3
    """Adam's step size."""
    epochs: PositiveInt = 20
    """Full-batch gradient steps per iteration."""


class TRPOConfig(StrictModel):
    """MAML-TRPO: trust-region policy optimisation (Schulman et al. 2015)."""

    kind: Literal["trpo"] = "trpo"
    """Which outer rule."""
    max_kl: Positive = 0.01
    """Bound on the mean KL divergence of adapted policies from before to after the step, in nats; with exploration
    credit, of all that were sampled from."""
    cg_iterations: PositiveInt = 10
    """Conjugate-gradient iterations."""
    cg_damping: NonNegative = 1e-5
    """Multiple of the identity added to the curvature."""
    fisher_subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the samples that the curvature is estimated from: one of every n, n being 1 over it, rounded."""
    backtrack_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Factor by which the line search shrinks the step."""
    backtrack_steps: PositiveInt = 15
    """Steps that the line search tries before it gives up and leaves the parameters as they are."""


class PPOConfig(StrictModel):
    """MAML-PPO: the clipped surrogate (Schulman et al. 2017) of policies that are adapted anew at every step."""

    kind: Literal["ppo"] = "ppo"
    """Which outer rule."""
    lr: Positive = 1e-3
    """Adam's step size."""
    epochs: PositiveInt = 5
    """Full-batch gradient steps per iteration."""
    clip: Positive = 0.3
    """Half-width of the interval that importance ratios are clipped to."""


class ProMPConfig(StrictModel):
    """ProMP (Rothfuss et al. 2019, algorithm 1): MAML-PPO with a penalty on the change before adaptation."""

    kind: Literal["promp"] = "promp"
    """Which outer rule."""
    lr: Positive = 1e-3
    """Adam's step size."""
    epochs: PositiveInt = 5
    """Full-batch gradient steps per iteration."""
    clip: Positive = 0.3
    """Half-width of the interval that importance ratios are clipped to."""
    inner_kl_penalty: NonNegative = 5e-4
    """eta: weight of KL(old || new) of the policies that took the support episodes, per nat."""


class VPGConfig(StrictModel):
    """Vanilla policy gradient: one Adam step per iteration."""

    kind: Literal["vpg"] = "vpg"
    """Which outer rule."""
    lr: Positive = 1e-3
    """Adam's step size."""


class ReptileConfig(StrictModel):
    """Reptile (Nichol et al. 2018): a step towards the mean of the parameters adapted on support and query episodes."""

    kind: Literal["reptile"] = "reptile"
    """Which outer rule."""
    lr: Positive = 1.0
    """Fraction of the way."""


class MAMLConfig(AlgorithmConfig):
    """The MAML family for reinforcement learning (Finn et al. 2017, algorithm 3)."""

    kind: Literal["maml"] = "maml"
    """Which algorithm."""
    meta_batch: PositiveInt = 20
    """Tasks per meta-iteration."""
    episodes: PositiveInt = 10
    """Episodes per task for each inner step, and again for the outer step."""
    parallel_episodes: PositiveInt = 1
    """How many of a task's episodes are simulated side by side; divides `episodes`."""
    inner: InnerConfig = InnerConfig()
    """The inner rule."""
    outer: Annotated[TRPOConfig | PPOConfig | ProMPConfig | VPGConfig | ReptileConfig, Field(discriminator="kind")] = (
        TRPOConfig()
    )
    """The outer rule."""
    exploration_credit: NonNegative = 0.0
    """E-MAML (Stadie et al. 2018): weight with which support episodes are credited with what adapting to them led to.

    With 1 the estimate is unbiased, but so noisy that the policy before adaptation may drift away on it."""
    baseline: Annotated[LinearBaselineConfig | ValueBaselineConfig, Field(discriminator="kind")] = (
        LinearBaselineConfig()
    )
    """What advantages are taken over."""
    discount: Fraction = 0.99
    """Discount factor per step."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1 is Monte-Carlo returns minus the baseline."""
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Units of the policy's hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the policy's hidden layers."""
    init_std: Positive = 1.0
    """Initial standard deviation of actions, whose bounds are -1 and 1; learned, independent of the state."""
    min_std: Positive = 1e-6
    """Floor of that standard deviation, in the same unit."""
    output_gain: Positive = 1.0
    """Factor on the last layer's initial weights; with 0.01 actions start near zero whatever is observed (Andrychowicz
    et al. 2021, section 3.2), which robots that can fall over need."""
    normalize_observations: bool = True
    """Standardise observations by the statistics of random actions on training tasks, taken once before training."""

    def build(self, distribution: TaskDistribution, device: torch.device) -> MAML:
        """See `AlgorithmConfig`."""
        from metarl.algorithms.maml.algorithm import MAML

        return MAML(self, distribution.observation_space, distribution.action_space, device)


def check_combination(config: MAMLConfig) -> None:
    """Refuses settings that are each valid but do not go together.

    Raises:
        UserError: Naming the fields.
    """
    inner, outer = config.inner, config.outer
    if config.episodes % config.parallel_episodes:
        raise UserError(
            f"algorithm.parallel_episodes: {config.parallel_episodes} does not divide algorithm.episodes ="
            f" {config.episodes}"
        )
    if outer.kind == "promp" and inner.estimator != "likelihood_ratio":
        raise UserError(
            f"algorithm.outer.kind: promp needs algorithm.inner.estimator = likelihood_ratio, not {inner.estimator}"
        )
    if outer.kind == "reptile":
        for name, conflicts, reason in (
            ("inner.learned_lr", inner.learned_lr, "has no gradient for step sizes"),
            ("inner.adapted = head", inner.adapted == "head", "would never move the body"),
            ("exploration_credit", config.exploration_credit, "has no sampling objective"),
        ):
            if conflicts:
                raise UserError(f"algorithm.outer.kind: reptile cannot go with algorithm.{name}: it {reason}")
    if config.exploration_credit and inner.estimator == "likelihood_ratio":
        raise UserError(
            "algorithm.exploration_credit: cannot go with algorithm.inner.estimator = likelihood_ratio, which holds the"
            " same term in expectation: it would count twice; use log_likelihood"
        )
