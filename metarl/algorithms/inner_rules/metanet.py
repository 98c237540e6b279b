"""Meta networks: fast weights generated from the gradients of the support's losses."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import normalize

from metarl.algorithms.inner_rules.coordinates import preprocess
from metarl.algorithms.inner_rules.layers import FAST, FastLinear, FastMLP, fast_name
from metarl.algorithms.inner_rules.rules import InnerRule, SampleLoss
from metarl.optim.vectors import Parameters
from metarl_envs.errors import UserError

_KEY = "key."
"""Prefix of the fast weights of the network of keys."""
_KEYS = "keys"


class MetaNetRule(InnerRule):
    """Meta network (Munkhdalai & Yu 2017, algorithm 1): fast weights of a task, and of each query in it.

    Each example of the support gives fast weights of the network, made from the gradient of its loss, and a key. A
    query's fast weights are those of the examples, weighted by the likeness of its key to theirs. The network of keys
    has fast weights of its own, made from the gradient of the support's mean loss; the paper runs a recurrent network
    over the examples there, which depends on their order. Gradients are constants in the outer gradient.

    Args:
        network: Network of `FastLinear` layers, among others perhaps.
        loss: See `InnerRule`.
        input_size: Length of an input, a vector.
        output_size: Length of an output.
        hidden_size: Units of the hidden layers of the networks that make fast weights from gradients.
        key_size: Length of a key, and units of the hidden layer of its network.

    Raises:
        UserError: If the network has no such layer.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: SampleLoss,
        input_size: int,
        output_size: int,
        hidden_size: int = 20,
        key_size: int = 32,
    ) -> None:
        super().__init__(network, loss)
        layers = {name for name, module in network.named_modules() if isinstance(module, FastLinear)}
        self._augmented = [name for name in self.start() if name.rpartition(".")[0] in layers]
        if not self._augmented:
            raise UserError("metanet: the network has no layer that takes fast weights")
        self.keys = FastMLP([input_size, key_size, key_size])
        """u: network of keys."""
        self.readout = nn.Linear(key_size, output_size)
        """What the keys' own loss is taken of."""
        self.generate = _per_coordinate(hidden_size)
        """m: makes fast weights of the network."""
        self.generate_keys = _per_coordinate(hidden_size)
        """d: makes fast weights of the network of keys."""
        self.sharpness = nn.Parameter(torch.tensor(5.0))
        """Factor of the cosines; 1 in the paper, whose weights for few examples are nearly equal."""

    def adapt(self, inputs: Tensor, targets: Tensor) -> Parameters:
        """Fast weights and key of each example, and fast weights of the network of keys."""
        # Q* = d(grad of the support's mean loss),  W*_i = m(grad L_i),  R_i = u(Q, Q*, x_i)
        key_gradients = grad(self._key_loss)(dict(self.keys.named_parameters()), inputs, targets)
        fast_keys = {fast_name(n): self._made(self.generate_keys, g) for n, g in key_gradients.items()}
        of_each = vmap(grad(self._example_loss), in_dims=(None, 0, 0))
        gradients = of_each({name: self.start()[name] for name in self._augmented}, inputs, targets)
        memory = {fast_name(name): self._made(self.generate, gradient) for name, gradient in gradients.items()}
        keys = functional_call(self.keys, fast_keys, (inputs,))
        return memory | {_KEY + name: value for name, value in fast_keys.items()} | {_KEYS: keys}

    def outputs(self, adapted: Parameters, inputs: Tensor) -> Tensor:
        """See `InnerRule`."""
        fast_keys = {name.removeprefix(_KEY): value for name, value in adapted.items() if name.startswith(_KEY)}
        memory = {name: value for name, value in adapted.items() if name.rpartition(".")[2].startswith(FAST)}
        memory = {name: value for name, value in memory.items() if not name.startswith(_KEY)}
        keys = functional_call(self.keys, fast_keys, (inputs,))
        # a = softmax(s cos(R, r)),  W* = sum_i a_i W*_i
        weights = (self.sharpness * normalize(keys, dim=-1) @ normalize(adapted[_KEYS], dim=-1).T).softmax(-1)

        def of_one_query(weights: Tensor, inputs: Tensor) -> Tensor:
            fast = {name: torch.tensordot(weights, value, dims=1) for name, value in memory.items()}
            return self.call(fast, inputs.unsqueeze(0)).squeeze(0)

        outputs: Tensor = vmap(of_one_query)(weights, inputs)
        return outputs

    def _key_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(self.readout(functional_call(self.keys, parameters, (inputs,))), targets).mean()

    def _example_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        return self.mean_loss(parameters, inputs.unsqueeze(0), targets.unsqueeze(0))

    @staticmethod
    def _made(network: nn.Module, gradient: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
        made: Tensor = network(preprocess(gradient.detach())).squeeze(-1)
        return made


def _per_coordinate(hidden_size: int) -> nn.Sequential:
    """Network from a preprocessed gradient to a fast weight, the same for each; small fast weights to begin with."""
    last = nn.Linear(hidden_size, 1)
    nn.init.uniform_(last.weight, -0.01, 0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(2, hidden_size), nn.ReLU(), last)
