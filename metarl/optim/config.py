"""Settings of optimisers that several algorithms share."""

from typing import Annotated, Literal

from pydantic import Field

from metarl.strict import Count, NonNegative, Positive, StrictModel


class TrustRegionConfig(StrictModel):
    """Trust-region policy optimisation (Schulman et al. 2015)."""

    kind: Literal["trpo"] = "trpo"
    """Name of the outer step."""
    max_kl: Positive = 0.01
    """Bound on the mean KL divergence between the policies before and after the step, in nats."""
    cg_iterations: Count = 10
    """Conjugate-gradient iterations."""
    cg_damping: NonNegative = 1e-5
    """Multiple of the identity added to the curvature."""
    backtrack_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Factor by which the line search shrinks the step."""
    backtrack_steps: Count = 15
    """Steps that the line search tries before it gives up and leaves the parameters as they are."""
