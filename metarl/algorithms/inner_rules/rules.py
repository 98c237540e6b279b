"""Contract of inner rules, and the rule of gradient steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarl.optim.vectors import Parameters

SampleLoss = Callable[[Tensor, Tensor], Float[Tensor, "sample"]]
"""Loss of each sample, from a network's outputs and the targets."""


class InnerRule(nn.Module, ABC):
    """Adapts a network to one task at a time by labelled samples; `predict` does so for all tasks at once.

    What the rule has learned are its own parameters, and the network's, which adaptation starts from.

    Args:
        network: Maps a batch of inputs to outputs; any that `torch.func` can differentiate.
        loss: Loss of each sample.
    """

    def __init__(self, network: nn.Module, loss: SampleLoss) -> None:
        super().__init__()
        self.network = network
        self.loss = loss

    @abstractmethod
    def adapt(self, inputs: Tensor, targets: Tensor) -> Parameters:
        """Returns what the rule has made of a task's support, by name.

        Args:
            inputs: Inputs of the support, with a leading axis `sample`.
            targets: Targets of the support.
        """

    def outputs(self, adapted: Parameters, inputs: Tensor) -> Tensor:
        """Outputs of the adapted network.

        Args:
            adapted: What `adapt` returned.
            inputs: Inputs, with a leading axis `sample`.
        """
        return self.call(adapted, inputs)

    def predict(self, inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
        """Adapts to each task of a batch, and returns the adapted networks' outputs for queries.

        Args:
            inputs: Inputs of the supports, with leading axes `task sample`.
            targets: Targets of the supports, likewise.
            queries: Inputs of the queries, likewise.
        """

        def of_one_task(inputs: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
            return self.outputs(self.adapt(inputs, targets), queries)

        predicted: Tensor = vmap(of_one_task)(inputs, targets, queries)
        return predicted

    def adapt_all(self, inputs: Tensor, targets: Tensor) -> Parameters:
        """Adapts to each task of a batch; all of the result has a leading axis `task`.

        Args:
            inputs: Inputs of the supports, with leading axes `task sample`.
            targets: Targets of the supports, likewise.
        """
        adapted: Parameters = vmap(self.adapt)(inputs, targets)
        return adapted

    def call(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        """Outputs of the network with parameters, or fast weights, of these names in place of its own."""
        outputs: Tensor = functional_call(self.network, parameters, (inputs,))
        return outputs

    def start(self) -> Parameters:
        """The network's own parameters, which adaptation starts from."""
        return dict(self.network.named_parameters())

    def mean_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """Mean loss of samples with some parameters."""
        return self.loss(self.call(parameters, inputs), targets).mean()


class GradientRule(InnerRule):
    """Gradient steps, phi' = phi - alpha * grad L(phi): MAML, FOMAML and Meta-SGD (Finn et al. 2017; Li et al. 2017).

    For the losses of reinforcement learning, `metarl.algorithms.maml.inner` has the same step with derivatives written
    out, which is faster where a policy's episodes are many.

    Args:
        network: See `InnerRule`.
        loss: See `InnerRule`.
        steps: Number of steps.
        lr: alpha, or what it starts from.
        learned_lr: Learn alpha, a number per parameter, as in Meta-SGD.
        first_order: Treat the inner gradients as constants in the outer gradient, as in FOMAML.
    """

    def __init__(
        self, network: nn.Module, loss: SampleLoss, steps: int, lr: float, learned_lr: bool, first_order: bool
    ) -> None:
        super().__init__(network, loss)
        self._steps, self._lr, self._first_order = steps, lr, first_order
        sizes = [nn.Parameter(torch.full_like(each, lr)) for each in self.start().values()] if learned_lr else []
        self.step_sizes = nn.ParameterList(sizes)

    def adapt(self, inputs: Tensor, targets: Tensor) -> Parameters:
        """See `InnerRule`."""
        parameters = self.start()
        sizes = list(self.step_sizes) or [self._lr] * len(parameters)
        for _ in range(self._steps):
            gradient = grad(self.mean_loss)(parameters, inputs, targets)
            if self._first_order:
                gradient = {name: value.detach() for name, value in gradient.items()}
            # phi' = phi - alpha * grad L(phi)
            parameters = {
                name: value - size * gradient[name]
                for (name, value), size in zip(parameters.items(), sizes, strict=True)
            }
        return parameters
