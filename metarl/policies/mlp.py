"""Multi-layer perceptrons as policies."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from metarl.policies.distributions import ActionDistribution
from metarl.policies.feedforward import ActionHead, FeedForwardPolicy

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}


class MLPPolicy(FeedForwardPolicy):
    """Multi-layer perceptron from observations to the parameters of an action distribution.

    Weights start from Xavier's uniform initialisation, the last layer's times `output_gain`; biases start at zero.

    Args:
        observation_size: Length of an observation.
        distribution: The action distribution.
        hidden_sizes: Units of each hidden layer.
        activation: "tanh" or "relu".
        init_std: Initial standard deviation of Gaussian actions.
        min_std: Floor of the standard deviation.
        output_gain: Factor on the last layer's initial weights; with a small one initial actions are near zero.
    """

    def __init__(
        self,
        observation_size: int,
        distribution: ActionDistribution,
        hidden_sizes: Sequence[int],
        activation: str,
        init_std: float,
        min_std: float,
        output_gain: float = 1.0,
    ) -> None:
        sizes = [observation_size, *hidden_sizes]
        layers = [(nn.Linear(n, m), ACTIVATIONS[activation]()) for n, m in pairwise(sizes)]
        body = nn.Sequential(*(module for layer in layers for module in layer))
        super().__init__(observation_size, body, ActionHead(sizes[-1], distribution, init_std, min_std))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, output_gain if module is self.head.linear else 1.0)
                nn.init.zeros_(module.bias)
