"""PPO (Schulman et al. 2017) on whole trials or chunks of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from metarl.algorithms.rl2.chunk_states import values_and_chunk_states
from metarl.algorithms.rl2.clipped_adam import ClippedAdam
from metarl.algorithms.rl2.config import RL2PPOConfig, RL2ValueBaselineConfig
from metarl.algorithms.rl2.expert import ExpertGuidance
from metarl.algorithms.rl2.losses import Samples, cut_into_chunks, ppo_terms, value_loss
from metarl.algorithms.rl2.minibatches import Minibatch, Minibatches
from metarl.optim.guard import UpdateGuard
from metarl.policies.distributions import ActionDistribution
from metarl.policies.recurrent import ActorCritic
from metarl.ranks import ALONE, Ranks

Metrics = dict[str, Tensor]

_METRICS = ("train/loss", "train/entropy", "train/approx_kl", "train/clip_fraction")
_VALUE_LOSS = "train/value_loss"
_EXPERT_ERROR = "train/expert_error"
_STEPS_AT_ONCE = {"cpu": 3 * 2**13, "cuda": 2**18}
"""Default steps per pass. With more on the CPU, tensors are too large for their memory to be reused; fewer make more
calls for the same work."""
_MIN_ROWS_AT_ONCE = 32
"""Rows per pass by default, at least: a recurrent core takes one time step after the other, for all rows at once."""


class PPO:
    """Epochs of gradient steps on minibatches of rows, each a whole trial or a chunk that starts from a given state.

    Args:
        network: Policy and critic, both learned.
        distribution: Action distribution.
        config: Settings.
        baseline: Settings of the critic; None without one.
        guard: Skips steps whose loss or gradient is not finite.
        guidance: Guidance by an expert, for samples that have its actions; None without one.
    """

    def __init__(
        self,
        network: ActorCritic,
        distribution: ActionDistribution,
        config: RL2PPOConfig,
        baseline: RL2ValueBaselineConfig | None,
        guard: UpdateGuard,
        guidance: ExpertGuidance | None = None,
    ) -> None:
        self._network = network
        self._distribution = distribution
        self._config = config
        self._baseline = baseline
        self._guidance = guidance
        critic = network.critic
        clipped_apart = [network] if critic is None or critic.body is None else [network.policy, critic]
        self._optimizer = ClippedAdam(network, clipped_apart, config.lr, config.max_grad_norm, guard)

    def update(
        self,
        samples: Samples,
        states: Float[Tensor, "row state"],
        chunk: int,
        generator: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> dict[str, float]:
        """Takes the epochs' steps; stops early at the bound on the KL divergence, if there is one.

        Args:
            samples: Whole trials.
            states: State that each chunk of them starts from.
            chunk: Steps of a chunk.
            generator: Random numbers that minibatches are drawn with, the same on all ranks.
            ranks: Ranks that learn together, each from its own trials.

        Returns:
            Metrics, as means over minibatches.

        Raises:
            RunFailure: See `UpdateGuard`.
        """
        rows = cut_into_chunks(samples, chunk)
        played = rows.valid.any(1).nonzero().squeeze(1)  # leaves out chunks of nothing but padding
        rows, states = rows.select(played), states[played]
        minibatches = Minibatches(samples.valid.sum(1), chunk, ranks)
        history: list[Metrics] = []
        for epoch in range(self._config.epochs):
            if epoch > 0 and self._config.recompute_state:
                states = values_and_chunk_states(self._network, samples.inputs, chunk)[1][played]
            if not self._epoch(rows, states, minibatches.draw(self._config.minibatches, generator), history, ranks):
                break
        means = {name: torch.stack([each[name] for each in history]).mean().item() for name in history[0]}
        return {**means, "train/minibatches": float(len(history))}

    def state_dict(self) -> dict[str, Tensor]:
        """State of the optimiser."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores what `state_dict` returned."""
        self._optimizer.load_state_dict(state)

    def _epoch(
        self,
        rows: Samples,
        states: Float[Tensor, "row state"],
        minibatches: Iterable[Minibatch],
        history: list[Metrics],
        ranks: Ranks,
    ) -> bool:
        """Takes a step on each minibatch; returns false once the KL divergence exceeds its bound."""
        for minibatch in minibatches:
            passes = self._passes(rows, states, minibatch)
            names = self._metrics(rows)
            loss, *numbers = self._optimizer.accumulate_gradient(passes, 1 + len(names), ranks)
            metrics = dict(zip(names, numbers, strict=True))
            history.append(metrics)
            if self._config.max_kl is not None and metrics["train/approx_kl"] > self._config.max_kl:
                return False
            self._optimizer.step(loss)
        return True

    def _passes(
        self, rows: Samples, states: Float[Tensor, "row state"], minibatch: Minibatch
    ) -> Iterator[Float[Tensor, "number"]]:
        """Weighted loss and metrics of each pass that this rank's rows of a minibatch are split into."""
        # The minibatch's mean over N steps is the sum over passes and ranks of (N_i / N) times the mean over N_i steps.
        at_once = rows_at_once(self._config, rows.valid.shape[1], states.device)
        count = len(minibatch.rows)
        for indices in minibatch.rows.tensor_split(-(-count // at_once)) if count else ():
            selected = rows.select(indices)
            weight = selected.valid.sum(dtype=rows.returns.dtype) / minibatch.steps
            loss, metrics = self.loss(selected, states[indices])
            yield weight * torch.stack([loss, *(metrics[name] for name in self._metrics(rows))])

    def _metrics(self, rows: Samples) -> tuple[str, ...]:
        """Names of the metrics of the loss, which a rank without rows needs too."""
        of_critic = () if self._baseline is None else (_VALUE_LOSS,)
        return (*_METRICS, *of_critic, *(() if rows.expert_actions is None else (_EXPERT_ERROR,)))

    def loss(self, rows: Samples, states: Float[Tensor, "row state"]) -> tuple[Float[Tensor, ""], Metrics]:
        """Loss and metrics of rows.

        Args:
            rows: Trials or chunks.
            states: State that each of them starts from.
        """
        outputs, values, _ = self._network.sequence(rows.inputs, states)
        terms = ppo_terms(self._distribution, outputs, rows, self._config.clip)
        # L = -L^CLIP - c_entropy H + c_value L^V  (Schulman et al. 2017, equation 9, with the sign of a loss)
        loss = terms.policy_loss - self._config.entropy_coefficient * terms.entropy
        diagnostics = (terms.policy_loss.detach(), terms.entropy.detach(), terms.approximate_kl, terms.clip_fraction)
        metrics = dict(zip(_METRICS, diagnostics, strict=True))
        if self._baseline is not None:
            assert self._network.critic is not None
            assert values is not None
            squared_error = value_loss(values, self._network.critic.to_standard(rows.returns), rows)
            loss = loss + self._baseline.coefficient * squared_error
            metrics[_VALUE_LOSS] = squared_error.detach()
        if rows.expert_actions is not None:
            assert self._guidance is not None
            error = self._guidance.error(self._distribution, outputs, rows)
            # ... + c_t 1/N Σ |mu(h_t) - a*_t|²  (Schmitt et al. 2018, section 3, with a distance for the divergence)
            loss = loss + self._guidance.weight * error
            metrics[_EXPERT_ERROR] = error.detach()
        return loss, metrics


def rows_at_once(config: RL2PPOConfig, time: int, device: torch.device) -> int:
    """Number of rows per pass through the network.

    Args:
        config: Settings.
        time: Steps of a row.
        device: Device that the network runs on.
    """
    if config.steps_at_once is not None:
        return max(1, config.steps_at_once // time)
    return max(_MIN_ROWS_AT_ONCE, _STEPS_AT_ONCE[device.type] // time)
