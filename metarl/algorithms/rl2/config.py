"""Settings of RL²."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, model_validator

from metarl.algorithms.base import AlgorithmConfig
from metarl.optim.config import TrustRegionConfig
from metarl.policies.config import (
    CoreConfig,
    EncoderConfig,
    GRUConfig,
    HeadConfig,
    JointEncoderConfig,
    LinearHeadConfig,
    TransformerConfig,
)
from metarl.strict import Count, Deviation, Fraction, NonNegative, Positive, StepSize, StrictModel, Widths
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.algorithms.rl2.algorithm import RL2
    from metarl.algorithms.rl2.expert import ExpertGuidance
    from metarl_envs.core import TaskDistribution

_logger = logging.getLogger(__name__)


class RL2PPOConfig(StrictModel):
    """Proximal policy optimisation (Schulman et al. 2017) on whole trials or chunks of them."""

    kind: Literal["ppo"] = "ppo"
    """Name of the outer step."""
    clip: Positive = 0.2
    """Half-width of the interval that importance ratios are clipped to."""
    epochs: Count = 10
    """Passes over each meta-batch."""
    minibatches: Count = 1
    """Minibatches per epoch, a gradient step each; they are made of whole trials, or of chunks if there are any."""
    lr: StepSize = 5e-4
    """Adam's step size."""
    max_grad_norm: Positive = 1.0
    """Norm that longer gradients are scaled down to."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus, per nat."""
    max_kl: Positive | None = None
    """Bound on the approximate KL divergence of a minibatch, in nats: one that exceeds it ends the epochs, without a
    step. None is no bound."""
    steps_at_once: Annotated[int, Field(gt=0, le=10**9)] | None = None
    """Steps of a minibatch per pass through the network, rounded down to whole rows (trials or chunks), at least one.
    Gradients of the passes are summed, so a smaller number takes less memory and changes rounding only. None fits the
    device: up to 24,576 steps on the CPU and 262,144 on a GPU, but at least 32 rows."""
    recompute_state: bool = False
    """Recompute the states that chunks start from before each epoch; otherwise keep those of the sampling policy."""


class RL2LinearBaselineConfig(StrictModel):
    """Linear feature baseline (Duan et al. 2016, "Benchmarking"), fitted to the trials of each iteration."""

    kind: Literal["linear"] = "linear"
    """Name of the baseline."""
    per_task: bool = False
    """Fit to each task's own trial instead of all trials together. This removes differences between tasks but also,
    above all for short trials, the difference between good and bad trials: not for rewards that come once a trial."""


class RL2ValueBaselineConfig(StrictModel):
    """Value network with a memory, on the policy's inputs."""

    kind: Literal["value"] = "value"
    """Name of the baseline."""
    shares_core: bool = False
    """Read the policy's core instead of one of its own, which is built like the policy's; with PPO only."""
    coefficient: Positive = 0.5
    """Weight of the value loss in PPO's loss."""
    normalize_returns: bool = True
    """Predict returns standardised by running statistics; rewards are not changed."""
    epochs: Count = 5
    """With TRPO: gradient steps per iteration, each on the whole meta-batch; PPO uses its own epochs."""
    lr: StepSize = 1e-3
    """With TRPO: Adam's step size; PPO uses its own."""


class RL2PrivilegedBaselineConfig(StrictModel):
    """Value network that sees the class and the parameters of each task, in training only; scaled for each class.

    Acting never sees them: the policy has no such inputs.
    """

    kind: Literal["privileged"] = "privileged"
    """Name of the baseline."""
    hidden_sizes: Widths = (256, 256)
    """Units of each tanh layer, behind layer norm (Ba et al. 2016)."""
    epochs: Count = 4
    """Passes over each meta-batch."""
    minibatches: Count = 8
    """Minibatches of steps per epoch, a gradient step each."""
    lr: StepSize = 1e-3
    """Adam's step size."""
    max_grad_norm: Positive = 1.0
    """Norm that longer gradients are scaled down to."""


class ExpertConfig(StrictModel):
    """Scripted experts of the training classes, whose actions in the states visited are targets at first."""

    weight: Positive = 1.0
    """Weight in the loss, in the first iteration, of the squared distance from the expert's action, in units of the
    action space, whose bounds are -1 and 1; it falls linearly."""
    iterations: Count = 150
    """Iterations until the weight is 0 and the expert is no longer asked."""


class RL2Config(AlgorithmConfig):
    """RL² (Duan et al. 2016): a recurrent policy whose state learns the task across the episodes of a trial."""

    kind: Literal["rl2"] = "rl2"
    """Name of the algorithm."""
    meta_batch: Count = 40
    """Tasks per meta-iteration, one trial each."""
    episodes: Count = 10
    """Episodes per trial."""
    discount: Fraction = 0.99
    """Discount factor per step, across the episodes of a trial."""
    gae_lambda: Fraction = 0.95
    """Lambda of generalised advantage estimation, across the episodes of a trial."""
    encoder: EncoderConfig = JointEncoderConfig()
    """Network from the inputs to the core's features."""
    core: CoreConfig = GRUConfig()
    """Recurrent network that remembers the trial."""
    head: HeadConfig = LinearHeadConfig()
    """Network from the core's output to the action distribution."""
    observation_to_head: bool = False
    """Feed the current observation to a linear head beside the core's output, a shortcut that the paper does not have.
    Hypernetworks and value functions always get it."""
    init_std: Deviation = 1.0
    """Initial standard deviation of actions; learned, independent of the observation."""
    min_std: Deviation = 1e-6
    """Lower bound of the standard deviation of actions."""
    normalize_observations: bool = True
    """Standardise observations by running statistics."""
    normalize_reward_input: bool = True
    """Standardise the previous reward, an input of the policy, by running statistics; returns use unchanged rewards."""
    baseline: Annotated[
        RL2LinearBaselineConfig | RL2ValueBaselineConfig | RL2PrivilegedBaselineConfig, Field(discriminator="kind")
    ] = RL2LinearBaselineConfig()
    """Baseline that advantages are measured against."""
    advantage_scale: Literal["meta_batch", "class"] = "meta_batch"
    """Steps that advantages are standardised over: those of the whole meta-batch, or of each class of tasks by itself,
    so that classes that earn much do not drown those that earn little yet."""
    chunk: Count | None = None
    """Steps that back-propagation goes back: trials are cut into chunks of this length, each of which starts from the
    state that the chunk before ended in. None goes back to the start of the trial."""
    outer: Annotated[RL2PPOConfig | TrustRegionConfig, Field(discriminator="kind")] = RL2PPOConfig()
    """Outer step."""
    keeps: Literal["last", "best"] = "last"
    """Memory that episodes start from after adaptation: that of its end, or that from which its best episode started,
    by return alone. The latter adapts by the likeliest actions, which are what is judged, and does not suffer from a
    memory that drifts where it is carried through more episodes than a trial has."""
    expert: ExpertConfig | None = None
    """Experts to learn from besides the reward, in training only, with PPO; None is reward alone."""

    @model_validator(mode="after")
    def _check_combination(self) -> "RL2Config":
        if self.init_std < self.min_std:
            raise ValueError(f"init_std: {self.init_std} is below min_std = {self.min_std}")
        shared = isinstance(self.baseline, RL2ValueBaselineConfig) and self.baseline.shares_core
        if shared and isinstance(self.outer, TrustRegionConfig):
            raise ValueError(
                "baseline.shares_core: fitting a shared core would leave TRPO's trust region; set it to false, or"
                " outer.kind to ppo"
            )
        if self.expert is not None and isinstance(self.outer, TrustRegionConfig):
            raise ValueError(
                "expert: the distance from an expert is a term of PPO's loss, not of TRPO's; set outer.kind to ppo, or"
                " expert to None"
            )
        return self

    def told(self) -> tuple[str, ...]:
        """See `AlgorithmConfig`."""
        told = []
        if self.expert is not None:
            told.append(
                "Trained with experts of the training classes, not by reward alone: their actions were targets for the"
                f" first {self.expert.iterations} iterations."
            )
        if isinstance(self.baseline, RL2PrivilegedBaselineConfig):
            told.append("In training, the critic saw class and parameters of each task.")
        return tuple(told)

    def build(self, distribution: TaskDistribution, device: torch.device) -> RL2:
        """See `AlgorithmConfig`.

        Raises:
            UserError: If chunks are longer than a trial, or the family has no expert although one is wanted.
        """
        from metarl.algorithms.rl2.algorithm import RL2

        _check_trial(self, distribution.horizon)
        spaces = distribution.observation_space, distribution.action_space
        return RL2(self, *spaces, device, distribution.train_tasks, self.build_guidance(distribution))

    def build_guidance(self, distribution: TaskDistribution) -> ExpertGuidance | None:
        """Makes the guidance by experts, if there is any.

        Raises:
            UserError: See `ExpertGuidance`.
        """
        from metarl.algorithms.rl2.expert import ExpertGuidance

        return None if self.expert is None else ExpertGuidance(self.expert, distribution)


def _check_trial(config: RL2Config, horizon: int) -> None:
    """Checks the settings against the length of a trial; warns if a transformer's memory is shorter.

    Args:
        config: Settings.
        horizon: Number of steps per episode.

    Raises:
        UserError: If chunks are longer than a trial.
    """
    trial = config.episodes * horizon
    length = f"the {trial} steps of a trial ({config.episodes} episodes of {horizon})"
    if config.chunk is not None and config.chunk > trial:
        raise UserError(f"algorithm.chunk: {config.chunk} is more than {length}; take {trial} or less, or None")
    if isinstance(config.core, TransformerConfig) and config.core.memory < trial:
        _logger.warning(
            "algorithm.core.memory: a layer remembers %d steps, fewer than %s; take %d or more, or it forgets what came"
            " before",
            config.core.memory,
            length,
            trial,
        )
