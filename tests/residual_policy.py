"""Policy network that is not an `MLPPolicy`: layer norm and residual connections."""

from itertools import pairwise

from torch import Tensor, nn

from metarl.policies.distributions import ActionDistribution
from metarl.policies.feedforward import ActionHead, FeedForwardPolicy


class ResidualBlock(nn.Module):
    """h + W act(norm(h))."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.linear = nn.Linear(size, size)

    def forward(self, hidden: Tensor) -> Tensor:
        output: Tensor = hidden + self.linear(nn.functional.silu(self.norm(hidden)))
        return output


def residual_policy(
    observation_size: int,
    distribution: ActionDistribution,
    sizes: tuple[int, ...] = (8, 8),
    init_std: float = 0.7,
    min_std: float = 0.5,
) -> FeedForwardPolicy:
    """Makes a policy of residual blocks, one for each size after the first; all sizes are equal."""
    blocks = [ResidualBlock(size) for size, _ in pairwise(sizes)]
    body = nn.Sequential(nn.Linear(observation_size, sizes[0]), *blocks, nn.Tanh())
    return FeedForwardPolicy(observation_size, body, ActionHead(sizes[-1], distribution, init_std, min_std))
