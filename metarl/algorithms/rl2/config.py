"""Settings of RL² with PPO."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from metarl.strict import StrictModel

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class PPOConfig(StrictModel):
    """The learner: proximal policy optimisation (Schulman et al. 2017) over whole trials."""

    kind: Literal["ppo"] = "ppo"
    """Which learner."""
    clip: Positive = 0.2
    """Half-width of the interval that importance ratios are clipped to."""
    epochs: PositiveInt = 10
    """Passes over each meta-batch."""
    minibatches: PositiveInt = 1
    """Parts that a meta-batch of trials is split into, each a gradient step; a trial is never split."""
    learning_rate: Positive = 5e-4
    """Adam's step size."""
    max_grad_norm: Positive = 1.0
    """Gradients longer than this are shortened to it."""
    entropy_coefficient: NonNegative = 0.0
    """Weight of the entropy bonus, per nat."""


class RL2Config(StrictModel):
    """RL² (Duan et al. 2016): a recurrent policy whose hidden state learns the task across the episodes of a trial."""

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
    hidden_size: PositiveInt = 256
    """Units of the GRU."""
    observation_to_head: bool = False
    """Feed the current observation to the action head beside the GRU's output (a shortcut the paper does not have)."""
    init_std: Positive = 1.0
    """Initial standard deviation of the policy's actions; learned, independent of the state."""
    min_std: Positive = 1e-6
    """Floor of that standard deviation."""
    normalize_inputs: bool = True
    """Standardise observations and the reward input by running statistics; the rewards learned from stay raw."""
    learner: PPOConfig = PPOConfig()
    """The learner."""
