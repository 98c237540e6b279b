"""Baselines: estimates of the return that advantages are taken over."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from metarl.algorithms.maml.config import MAMLLinearBaselineConfig, MAMLValueBaselineConfig
from metarl.data.trajectories import Trajectories
from metarl.optim.adam import AdamState, adam_start, adam_step
from metarl.optim.vectors import flatten, unflatten
from metarl.policies.normalizer import Normalizer
from metarl.ranks import ALONE, Ranks
from metarl.returns import discounted_returns, linear_baseline

_TIME_SCALE = 100.0


class Baseline(ABC):
    """Estimates the discounted return that follows each step."""

    @abstractmethod
    def values(self, trajectories: Trajectories) -> Float[Tensor, "task episode step"]:
        """Estimates the return from each step; zero in padding."""

    def fit(self, records: Sequence[Trajectories], ranks: Ranks = ALONE) -> dict[str, float]:
        """Learns from an iteration's trajectories, after their advantages were computed; returns metrics.

        Args:
            records: Trajectories of this rank's tasks.
            ranks: Ranks that the tasks are divided among, which learn the same together.
        """
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """State by name; names and shapes never change."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state that `state_dict` returned."""
        assert not state


class LinearBaseline(Baseline):
    """Least squares on features of observations and time, fitted to each task's own episodes; without state.

    Args:
        discount: Discount factor per step.
    """

    def __init__(self, discount: float) -> None:
        self._discount = discount

    def values(self, trajectories: Trajectories) -> Float[Tensor, "task episode step"]:
        """See `Baseline`."""
        returns = discounted_returns(trajectories.rewards, trajectories.valid, self._discount)
        return linear_baseline(trajectories.observations, returns, trajectories.valid)


class ValueNetwork(nn.Module):
    """Multi-layer perceptron from observation and time to the return, all standardised by running statistics.

    Args:
        observation_size: Length of an observation.
        hidden_sizes: Units of the hidden layers.
    """

    def __init__(self, observation_size: int, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        self.inputs = Normalizer(observation_size + 1)
        self.returns = Normalizer(1)
        sizes = [observation_size + 1, *hidden_sizes]
        hidden = [(nn.Linear(n, m), nn.Tanh()) for n, m in pairwise(sizes)]
        self.layers = nn.Sequential(*(module for pair in hidden for module in pair), nn.Linear(sizes[-1], 1))

    def forward(self, inputs: Float[Tensor, "*b input"]) -> Float[Tensor, "*b 1"]:
        """Returns standardised values; `returns.restore` converts them to the unit of the returns."""
        output: Tensor = self.layers(self.inputs(inputs, next(self.parameters()).dtype))
        return output


class ValueBaseline(Baseline):
    """Value network shared by all tasks; the task is not among its inputs.

    Args:
        config: The settings.
        observation_size: Length of an observation.
        discount: Discount factor per step.
        device: Device of the network.
    """

    def __init__(
        self, config: MAMLValueBaselineConfig, observation_size: int, discount: float, device: torch.device
    ) -> None:
        self._config = config
        self._discount = discount
        self._network = ValueNetwork(observation_size, config.hidden_sizes).to(device)
        self._adam = adam_start(flatten(self._parameters()))

    @torch.no_grad()
    def values(self, trajectories: Trajectories) -> Float[Tensor, "task episode step"]:
        """See `Baseline`."""
        standardised = self._network(_with_time(trajectories.observations))
        return self._network.returns.restore(standardised).squeeze(-1) * trajectories.valid

    def fit(self, records: Sequence[Trajectories], ranks: Ranks = ALONE) -> dict[str, float]:
        """Takes Adam steps on the mean squared error of standardised returns, up to the first that is not finite."""
        inputs = torch.cat([_with_time(record.observations)[record.valid] for record in records])
        returns = [discounted_returns(record.rewards, record.valid, self._discount) for record in records]
        targets = torch.cat([values[record.valid] for values, record in zip(returns, records, strict=True)])
        targets = targets.unsqueeze(-1)
        valid = torch.ones_like(targets[:, 0], dtype=torch.bool)
        self._network.inputs.update(inputs, valid, ranks)
        self._network.returns.update(targets, valid, ranks)
        (samples,) = ranks.sum(valid.sum())
        standardised = self._network.returns(targets)
        like = self._parameters()

        def loss_at(vector: Float[Tensor, "n"]) -> Float[Tensor, ""]:
            # 1/n sum of (V(s, t) - G)², both standardised: this rank's part of the mean over the samples of all ranks
            values: Tensor = functional_call(self._network, unflatten(vector, like), (inputs,))
            return torch.nn.functional.mse_loss(values, standardised, reduction="sum") / samples

        vector = flatten(like)
        for _ in range(self._config.epochs):
            gradient, loss = ranks.sum(*torch.func.grad_and_value(loss_at)(vector))
            if not torch.isfinite(gradient.norm()):
                break
            vector, self._adam = adam_step(vector, gradient, self._adam, self._config.lr)
        self._network.load_state_dict(unflatten(vector, like), strict=False)
        return {"train/value_loss": loss.item()}

    def state_dict(self) -> dict[str, Tensor]:
        """State by name: the network with its statistics, and Adam's moments."""
        network = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        return network | {f"adam.{name}": value for name, value in self._adam._asdict().items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state that `state_dict` returned."""
        self._network.load_state_dict({name: state[f"network.{name}"] for name in self._network.state_dict()})
        self._adam = AdamState(**{name: state[f"adam.{name}"].to(x) for name, x in self._adam._asdict().items()})

    def _parameters(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._network.named_parameters()}


def make_baseline(
    config: MAMLLinearBaselineConfig | MAMLValueBaselineConfig,
    observation_size: int,
    discount: float,
    device: torch.device,
) -> Baseline:
    """Makes the baseline that a configuration names."""
    if isinstance(config, MAMLValueBaselineConfig):
        return ValueBaseline(config, observation_size, discount, device)
    return LinearBaseline(discount)


def _with_time(observations: Float[Tensor, "task episode step obs"]) -> Float[Tensor, "task episode step input"]:
    """Appends the step within the episode, in hundreds, on which returns depend at a finite horizon."""
    *leading, _ = observations.shape
    time = torch.arange(leading[-1], dtype=observations.dtype, device=observations.device) / _TIME_SCALE
    return torch.cat([observations, time.expand(leading).unsqueeze(-1)], dim=-1)
