"""Settings of the MAML family: the inner rule, the outer rule, the baseline and the policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field

from metarl.algorithms.base import AlgorithmConfig
from metarl.optim.config import TrustRegionConfig
from metarl.strict import Count, Deviation, Fraction, NonNegative, Positive, StepSize, StrictModel, Widths
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.algorithms.maml.algorithm import MAML
    from metarl_envs.core import TaskDistribution


class InnerConfig(StrictModel):
    """Inner rule: the gradient steps that adapt a policy to a task, and the order of their derivatives."""

    steps: Annotated[int, Field(gt=0, le=1000)] = 1
    """Gradient steps per adaptation, each on new episodes."""
    lr: StepSize = 0.1
    """Step size."""
    learned_lr: bool = False
    """Learn a step size per adapted parameter, starting from `lr`, as in Meta-SGD (Li et al. 2017)."""
    prior_episodes: NonNegative = 0.0
    """Episodes n0 without a learning signal that count with a step's n: the step is n / (n + n0) times as long.

    The gradient of few episodes is longer, as its noise is, and so should be trusted less; 0 trusts all alike."""
    refinements: Annotated[int, Field(ge=0, le=1000)] = 0
    """Further steps outside of training: the adaptation episodes are spread over `steps` + `refinements` steps. The
    policy that a step led to shows by how much it went wrong."""
    refinement_decay: Fraction = 0.5
    """Length of each of these further steps, as a multiple of that of the step before."""
    adapted: Literal["all", "head"] = "all"
    """Adapted parameters: all, or only last layer and standard deviation ("head"), as in ANIL (Raghu et al. 2020)."""
    first_order: bool = False
    """Treat inner gradients as constants in the outer gradient, as in FOMAML (Finn et al. 2017, section 5.2)."""
    estimator: Literal["log_likelihood", "likelihood_ratio"] = "log_likelihood"
    """Objective of the inner steps: log pi A as in MAML, or (pi / pi_old) A, ProMP's low-variance curvature."""


class MAMLLinearBaselineConfig(StrictModel):
    """Linear feature baseline (Duan et al. 2016, "Benchmarking"), fitted to each task's episodes in each iteration."""

    kind: Literal["linear"] = "linear"
    """Name of the baseline."""


class MAMLValueBaselineConfig(StrictModel):
    """Value network shared by all tasks; Adam fits it to an iteration's returns after the outer step."""

    kind: Literal["value"] = "value"
    """Name of the baseline."""
    hidden_sizes: Widths = (64, 64)
    """Units of each hidden tanh layer."""
    lr: StepSize = 1e-3
    """Adam's step size."""
    epochs: Count = 20
    """Full-batch gradient steps per iteration."""


class MAMLTRPOConfig(TrustRegionConfig):
    """MAML-TRPO: a trust-region step (Schulman et al. 2015) of the adapted policies."""

    max_kl: Positive = 0.01
    """Bound on the mean KL divergence between the adapted policies before and after the step, in nats; with exploration
    credit the divergence of the policies before adaptation is added."""
    fisher_subsample: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the samples that the curvature is estimated from: every n-th sample, n = round(1 / share)."""


class MAMLPPOConfig(StrictModel):
    """MAML-PPO: Adam steps on the clipped surrogate (Schulman et al. 2017), each of which adapts the policies again."""

    kind: Literal["ppo"] = "ppo"
    """Name of the outer rule."""
    lr: StepSize = 1e-3
    """Adam's step size."""
    epochs: Count = 5
    """Full-batch gradient steps per iteration."""
    clip: Positive = 0.3
    """Half-width of the interval that importance ratios are clipped to."""


class ProMPConfig(StrictModel):
    """ProMP (Rothfuss et al. 2019, algorithm 1): MAML-PPO with a KL penalty on the policies before adaptation."""

    kind: Literal["promp"] = "promp"
    """Name of the outer rule."""
    lr: StepSize = 1e-3
    """Adam's step size."""
    epochs: Count = 5
    """Full-batch gradient steps per iteration."""
    clip: Positive = 0.3
    """Half-width of the interval that importance ratios are clipped to."""
    inner_kl_penalty: NonNegative = 5e-4
    """eta: weight of the mean KL(old || new) on the support trajectories, per nat."""


class VPGConfig(StrictModel):
    """Vanilla policy gradient: one Adam step per iteration."""

    kind: Literal["vpg"] = "vpg"
    """Name of the outer rule."""
    lr: StepSize = 1e-3
    """Adam's step size."""


class ReptileConfig(StrictModel):
    """Reptile (Nichol et al. 2018): a step towards the mean over tasks of the adapted parameters."""

    kind: Literal["reptile"] = "reptile"
    """Name of the outer rule."""
    lr: StepSize = 1.0
    """Fraction of the way to that mean."""


OuterConfig = MAMLTRPOConfig | MAMLPPOConfig | ProMPConfig | VPGConfig | ReptileConfig


class MAMLConfig(AlgorithmConfig):
    """MAML family for reinforcement learning (Finn et al. 2017, algorithm 3)."""

    kind: Literal["maml"] = "maml"
    """Name of the algorithm."""
    meta_batch: Count = 20
    """Tasks per meta-iteration."""
    episodes: Count = 10
    """Episodes per task for each inner step, and as many for the outer step."""
    parallel_episodes: Count = 1
    """Environments per task; divides `episodes`."""
    inner: InnerConfig = InnerConfig()
    """Inner rule."""
    outer: Annotated[OuterConfig, Field(discriminator="kind")] = MAMLTRPOConfig()
    """Outer rule."""
    exploration_credit: NonNegative = 0.0
    """Weight of the credit that support trajectories get for the return after adaptation (E-MAML, Stadie et al. 2018).

    With 1 the meta-gradient is unbiased, but so noisy that the policy before adaptation may drift away."""
    baseline: Annotated[MAMLLinearBaselineConfig | MAMLValueBaselineConfig, Field(discriminator="kind")] = (
        MAMLLinearBaselineConfig()
    )
    """Baseline that is subtracted from the returns."""
    discount: Fraction = 0.99
    """Discount factor per step."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1 is Monte-Carlo returns minus the baseline."""
    hidden_sizes: Widths = (64, 64)
    """Units of the policy's hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the policy's hidden layers."""
    init_std: Deviation = 1.0
    """Initial standard deviation of actions, which are bounded by -1 and 1; learned, independent of the observation."""
    min_std: Deviation = 1e-6
    """Lower bound of the standard deviation of actions."""
    output_gain: Positive = 1.0
    """Factor on the last layer's initial weights. With 0.01 actions start near zero for every observation (Andrychowicz
    et al. 2021, section 3.2), which robots that can fall over need."""
    normalize_observations: bool = True
    """Standardise observations by statistics of random actions on training tasks, taken once before training."""

    def build(self, distribution: TaskDistribution, device: torch.device) -> MAML:
        """See `AlgorithmConfig`."""
        from metarl.algorithms.maml.algorithm import MAML

        return MAML(self, distribution.observation_space, distribution.action_space, device)


def check_combination(config: MAMLConfig) -> None:
    """Checks that valid settings go together.

    Raises:
        UserError: If they do not; the message names the fields.
    """
    inner, outer = config.inner, config.outer
    if config.init_std < config.min_std:
        raise UserError(f"algorithm.init_std: {config.init_std} is below algorithm.min_std = {config.min_std}")
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
