"""PPO over whole trials or their chunks (Schulman et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.rl2.config import PPOConfig, ValueBaselineConfig
from metarl.algorithms.rl2.descent import Descent, Guard
from metarl.algorithms.rl2.losses import Samples, cut, ppo_terms, value_loss
from metarl.algorithms.rl2.unrolling import unroll
from metarl.policies.distributions import ActionDistribution
from metarl.policies.recurrent import ActorCritic

Metrics = dict[str, Tensor]

_STEPS_AT_ONCE = {"cpu": 3 * 2**13, "cuda": 2**18}
"""With more, tensors are too large for their memory to be kept on the CPU; fewer make more calls of the same work."""
_ROWS_AT_ONCE = 32
"""At least: steps follow each other, so that long sequences are worth it only if many go side by side."""


class PPO:
    """Epochs of gradient steps on minibatches of rows: whole trials, or chunks that start from a given state.

    Args:
        network: What is learned.
        distribution: The action distribution.
        config: The settings.
        baseline: Those of the critic, None if there is none.
        guard: Keeps out numbers that are not finite.
    """

    def __init__(
        self,
        network: ActorCritic,
        distribution: ActionDistribution,
        config: PPOConfig,
        baseline: ValueBaselineConfig | None,
        guard: Guard,
    ) -> None:
        self._network = network
        self._distribution = distribution
        self._config = config
        self._baseline = baseline
        critic = network.critic
        parts = [network] if critic is None or critic.body is None else [network.policy, critic]
        self._descent = Descent(network, parts, config.lr, config.max_grad_norm, guard)

    def update(
        self, samples: Samples, states: Float[Tensor, "row state"], chunk: int, generator: torch.Generator
    ) -> dict[str, float]:
        """The epochs, until the bound on the divergence if there is one.

        Args:
            samples: Whole trials.
            states: What each chunk of them starts from.
            chunk: Steps of a chunk.
            generator: What minibatches are drawn from.

        Returns:
            Metrics, as means over minibatches.

        Raises:
            RunFailure: See `Guard`.
        """
        rows = cut(samples, chunk)
        played = rows.valid.any(1).nonzero().squeeze(1)  # chunks of nothing but padding are left out
        rows, states = rows.select(played), states[played]
        history: list[Metrics] = []
        for epoch in range(self._config.epochs):
            if epoch > 0 and self._config.recompute_state:
                states = unroll(self._network, samples.inputs, chunk)[1][played]
            if not self._epoch(rows, states, generator, history):
                break
        means = {name: torch.stack([each[name] for each in history]).mean().item() for name in history[0]}
        return {**means, "train/minibatches": float(len(history))}

    def state_dict(self) -> dict[str, Tensor]:
        """The optimiser's."""
        return self._descent.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        self._descent.load_state_dict(state)

    def _epoch(
        self, rows: Samples, states: Float[Tensor, "row state"], generator: torch.Generator, history: list[Metrics]
    ) -> bool:
        """A gradient step on each of the minibatches, drawn anew; false if the policy has moved too far."""
        shuffled = torch.randperm(len(states), generator=generator).to(states.device)
        for chosen in shuffled.tensor_split(min(self._config.minibatches, len(states))):
            parts: list[Metrics] = []
            loss = self._descent.differentiate(self._losses(rows, states, chosen, parts))
            metrics = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
            history.append(metrics)
            if self._config.max_kl is not None and metrics["train/approx_kl"] > self._config.max_kl:
                return False
            self._descent.step(loss)
        return True

    def _losses(
        self, rows: Samples, states: Float[Tensor, "row state"], chosen: Tensor, metrics: list[Metrics]
    ) -> Iterator[Float[Tensor, ""]]:
        """What parts of a minibatch add to its loss, and to its metrics; each is as small as `steps_at_once` wants."""
        steps = rows.valid[chosen].sum(dtype=rows.returns.dtype)
        at_once = rows_at_once(self._config, rows.valid.shape[1], states.device)
        for part in torch.tensor_split(chosen, -(-len(chosen) // at_once)):
            some = rows.select(part)
            share = some.valid.sum() / steps
            loss, watched = self.loss(some, states[part])
            metrics.append({name: share * value for name, value in watched.items()})
            yield share * loss

    def loss(self, rows: Samples, states: Float[Tensor, "row state"]) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of some rows, and what one watches it by."""
        outputs, values, _ = self._network.sequence(rows.inputs, states)
        terms = ppo_terms(self._distribution, outputs, rows, self._config.clip)
        loss = terms.policy_loss - self._config.entropy_coefficient * terms.entropy
        metrics = {
            "train/loss": terms.policy_loss.detach(),
            "train/entropy": terms.entropy.detach(),
            "train/approx_kl": terms.approximate_kl,
            "train/clip_fraction": terms.clip_fraction,
        }
        if self._baseline is not None:
            assert self._network.critic is not None
            assert values is not None
            squared_error = value_loss(values, self._network.critic.to_standard(rows.returns), rows)
            loss = loss + self._baseline.coefficient * squared_error
            metrics["train/value_loss"] = squared_error.detach()
        return loss, metrics


def rows_at_once(config: PPOConfig, time: int, device: torch.device) -> int:
    """How many rows go through the network at once.

    Args:
        config: The settings.
        time: Steps of a row.
        device: Where.
    """
    if config.steps_at_once is not None:
        return max(1, config.steps_at_once // time)
    return max(_ROWS_AT_ONCE, _STEPS_AT_ONCE[device.type] // time)
