"""The multi-layer perceptron's initial state."""

import torch

from metarl.policies.distributions import Gaussian
from metarl.policies.mlp import MLPPolicy


def test_output_gain_scales_the_last_layer_and_nothing_else() -> None:
    def make(gain: float) -> MLPPolicy:
        torch.manual_seed(0)
        return MLPPolicy(5, Gaussian(2), (8,), "tanh", init_std=0.3, min_std=0.1, output_gain=gain)

    whole, small = make(1.0).state_dict(), make(0.01).state_dict()
    for name, value in whole.items():
        factor = 0.01 if name == "head.linear.weight" else 1.0
        torch.testing.assert_close(small[name], factor * value)
    assert whole["head.linear.weight"].abs().max() > 0.1
