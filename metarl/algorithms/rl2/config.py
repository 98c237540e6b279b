"""Settings of RL²."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, PositiveInt, model_validator

from metarl.algorithms.base import AlgorithmConfig
from metarl.policies.config import (
    CoreConfig,
    EncoderConfig,
    GRUConfig,
    HeadConfig,
    JointEncoderConfig,
    LinearHeadConfig,
)
from metarl.strict import StrictModel

if TYPE_CHECKING:
    from metarl.algorithms.rl2.algorithm import RL2
    from metarl_envs.core import TaskDistribution

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class PPOConfig(StrictModel):
    """Proximal policy optimisation (Schulman et al. 2017) over whole trials."""

    kind: Literal["ppo"] = "ppo"
    """Which outer step."""
    clip: Positive = 0.2
    """Half-width of the interval that importance ratios are clipped to."""
    epochs: PositiveInt = 10
    """Passes over each meta-batch."""
    minibatches: PositiveInt = 1
    """Parts that a meta-batch is split into, each a gradient step: of whole trials, or of their chunks."""
    lr: Positive = 5e-4
    """Adam's step size."""
    max_grad_norm: Positive = 1.0
    """Gradients longer than this are shortened to it."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus, per nat."""
    max_kl: Positive | None = None
    """The epochs end before a minibatch on which the policy has moved further than this, in nats; None is no bound."""
    steps_at_once: PositiveInt | None = None
    """Steps of a minibatch that go through the network at once, in whole rows, one at least; the gradients of the parts
    add up, so fewer take less memory and change rounding only. None fits the device: up to 24,576 steps on the CPU and
    262,144 on a GPU, but 32 rows at least."""
    recompute_state: bool = False
    """Begin each epoch by recomputing the states that chunks start from; else they are those of the sampling policy."""


class TRPOConfig(StrictModel):
    """Trust-region policy optimisation (Schulman et al. 2015) over whole trials."""

    kind: Literal["trpo"] = "trpo"
    """Which outer step."""
    max_kl: Positive = 0.01
    """Bound on the mean KL divergence between the policies before and after the step, in nats."""
    cg_iterations: PositiveInt = 10
    """Conjugate-gradient iterations."""
    cg_damping: NonNegative = 1e-5
    """Multiple of the identity added to the curvature."""
    backtrack_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Factor by which the line search shrinks the step."""
    backtrack_steps: PositiveInt = 15
    """Steps that the line search tries before it gives up and leaves the parameters as they are."""


class LinearBaselineConfig(StrictModel):
    """Least squares on features of observation and time, for each batch anew (Duan et al. 2016, "Benchmarking")."""

    kind: Literal["linear"] = "linear"
    """Which baseline."""
    per_task: bool = False
    """Fit to each task's own trial instead of all trials together. That takes out how tasks differ but also, the more
    so the shorter trials are, whether a trial went well: not for rewards that come once a trial."""


class ValueBaselineConfig(StrictModel):
    """A learned value function that sees what the policy sees, with memory."""

    kind: Literal["value"] = "value"
    """Which baseline."""
    shares_core: bool = False
    """Read the policy's core rather than one of its own, built alike; with PPO only."""
    coefficient: Positive = 0.5
    """Weight of its squared error in PPO's loss."""
    normalize_returns: bool = True
    """Learn returns in standard units, by running statistics; the rewards behind them stay as they are."""
    epochs: PositiveInt = 5
    """With TRPO: passes over each meta-batch, a gradient step each; PPO has its own."""
    lr: Positive = 1e-3
    """With TRPO: Adam's step size; PPO has its own."""


class RL2Config(AlgorithmConfig):
    """RL² (Duan et al. 2016): a recurrent policy whose state learns the task across the episodes of a trial."""

    kind: Literal["rl2"] = "rl2"
    """Which algorithm."""
    meta_batch: PositiveInt = 40
    """Tasks per meta-iteration, one trial each."""
    episodes: PositiveInt = 10
    """Episodes per trial."""
    discount: Fraction = 0.99
    """Discount factor per step; runs across the episodes of a trial."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation over the whole trial."""
    encoder: EncoderConfig = JointEncoderConfig()
    """What makes features of the inputs."""
    core: CoreConfig = GRUConfig()
    """What remembers."""
    head: HeadConfig = LinearHeadConfig()
    """What makes actions of the core's output."""
    observation_to_head: bool = False
    """Feed the current observation to a linear head beside the core's output (a shortcut the paper does not have). A
    hypernetwork and a value function see it in any case."""
    init_std: Positive = 1.0
    """Initial standard deviation of the policy's actions; learned, independent of the state."""
    min_std: Positive = 1e-6
    """Floor of that standard deviation."""
    normalize_observations: bool = True
    """Standardise observations by running statistics."""
    normalize_reward_input: bool = True
    """Standardise the reward that the policy is shown by running statistics; those learned from stay as they are."""
    baseline: Annotated[LinearBaselineConfig | ValueBaselineConfig, Field(discriminator="kind")] = (
        LinearBaselineConfig()
    )
    """What advantages are measured against."""
    chunk: PositiveInt | None = None
    """Steps that back-propagation goes back: trials are cut into chunks of so many, each starting from the state that
    the one before ended in. None goes back to the start of the trial."""
    outer: Annotated[PPOConfig | TRPOConfig, Field(discriminator="kind")] = PPOConfig()
    """The outer step."""

    @model_validator(mode="after")
    def _check_sharing(self) -> "RL2Config":
        shared = isinstance(self.baseline, ValueBaselineConfig) and self.baseline.shares_core
        if shared and isinstance(self.outer, TRPOConfig):
            raise ValueError(
                "baseline.shares_core: fitting a shared core would leave TRPO's trust region; set it to false, or"
                " outer.kind to ppo"
            )
        return self

    def build(self, distribution: TaskDistribution, device: torch.device) -> RL2:
        """See `AlgorithmConfig`.

        Raises:
            UserError: If chunks are longer than a trial.
        """
        from metarl.algorithms.rl2.algorithm import RL2, check_trial

        check_trial(self, distribution.horizon)
        return RL2(self, distribution.observation_space, distribution.action_space, device)
