"""Settings of MAML with a TRPO outer step."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from metarl.strict import StrictModel

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class TRPOConfig(StrictModel):
    """The outer step: trust-region policy optimisation (Schulman et al. 2015)."""

    kind: Literal["trpo"] = "trpo"
    """Which outer step."""
    max_kl: Positive = 0.01
    """Bound on the mean KL divergence between adapted policies before and after the step, in nats."""
    cg_iterations: PositiveInt = 10
    """Conjugate-gradient iterations."""
    cg_damping: Annotated[float, Field(ge=0)] = 1e-5
    """Multiple of the identity added to the curvature."""
    backtrack_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Factor by which the line search shrinks the step."""
    backtrack_steps: PositiveInt = 15
    """Steps that the line search tries before it gives up and leaves the parameters as they are."""


class MAMLConfig(StrictModel):
    """MAML for reinforcement learning (Finn et al. 2017, algorithm 3)."""

    kind: Literal["maml"] = "maml"
    """Which algorithm."""
    meta_batch: PositiveInt = 20
    """Tasks per meta-iteration."""
    episodes: PositiveInt = 10
    """Episodes per task for each inner step, and again for the outer step."""
    parallel_episodes: PositiveInt = 1
    """How many of a task's episodes are simulated side by side; divides `episodes`."""
    inner_steps: PositiveInt = 1
    """Gradient steps of one adaptation."""
    inner_lr: Positive = 0.1
    """Step size of the inner gradient step."""
    discount: Fraction = 0.99
    """Discount factor per step."""
    gae_lambda: Fraction = 1.0
    """Lambda of generalised advantage estimation; 1 is Monte-Carlo returns minus the baseline."""
    hidden_sizes: tuple[PositiveInt, ...] = (64, 64)
    """Units of the policy's hidden layers."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Activation of the policy's hidden layers."""
    init_std: Positive = 1.0
    """Initial standard deviation of the policy's actions; learned, independent of the state."""
    min_std: Positive = 1e-6
    """Floor of that standard deviation."""
    normalize_observations: bool = True
    """Standardise observations by the statistics of random actions on training tasks, taken once before training."""
    outer: TRPOConfig = TRPOConfig()
    """The outer step."""
