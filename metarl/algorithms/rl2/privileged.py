"""Critic of training only: it sees each trial's class and parameters, which the policy has to find out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from metarl.algorithms.rl2.clipped_adam import ClippedAdam
from metarl.algorithms.rl2.config import RL2PrivilegedBaselineConfig
from metarl.algorithms.rl2.losses import Trials
from metarl.algorithms.rl2.minibatches import Minibatches
from metarl.optim.guard import UpdateGuard
from metarl.policies.normalizer import Normalizer
from metarl.ranks import ALONE, Ranks
from metarl_envs.core import Task

_TIME_SCALE = 100.0
"""Steps per unit of time in the inputs."""
_RATE = 0.1
"""Weight of an iteration's returns in the running statistics."""
_MIN_STD = 1e-2
"""Smallest standard deviation of returns, in the environment's units: returns that do not vary stay small."""


class PrivilegedCritic(nn.Module):
    """Value function of observation, time, class and parameters of the task, for advantages in training only.

    Given all that, the process has no hidden state, so that the critic needs no memory (asymmetric actor-critic, Pinto
    et al. 2018). Each class has its own output, on its own scale, which follows the statistics of its returns without
    changing values (PopArt per task, Hessel et al. 2019, "Multi-task deep reinforcement learning with PopArt").

    Args:
        observation_size: Length of an observation.
        tasks: Training tasks, for their classes and the range of their parameters.
        config: Settings.
        guard: Skips steps whose loss or gradient is not finite.
    """

    mean: Tensor
    """mu, running mean of the returns of each class, in the environment's units."""
    square: Tensor
    """nu, running mean of their squares."""
    seen: Tensor
    """True for classes whose returns have been seen."""

    def __init__(
        self, observation_size: int, tasks: Sequence[Task], config: RL2PrivilegedBaselineConfig, guard: UpdateGuard
    ) -> None:
        super().__init__()
        self._config = config
        self._observation_size = observation_size
        self._task_parameters = _StandardParameters(tasks)
        classes = len(self._task_parameters.names)
        self.normalizer = Normalizer(observation_size)
        self.register_buffer("mean", torch.zeros(classes))
        self.register_buffer("square", torch.ones(classes))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))
        sizes = (observation_size + 2 + classes + self._task_parameters.size, *config.hidden_sizes)
        self.body = nn.Sequential()
        for before, after in pairwise(sizes):
            self.body += nn.Sequential(nn.Linear(before, after), nn.LayerNorm(after), nn.Tanh())
        self.output = nn.Linear(sizes[-1], classes)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.optimizer = ClippedAdam(self, [self], config.lr, config.max_grad_norm, guard)

    def values(self, trials: Trials) -> Float[Tensor, "task time"]:
        """Values along trials, in the environment's units; zero in padding."""
        classes = self._classes(trials)
        with torch.no_grad():
            standard = self._standard_values(self._features(trials), classes.unsqueeze(1))
        # V = mu_c + sigma_c n_c
        values = self.mean[classes].unsqueeze(1) + self._std()[classes].unsqueeze(1) * standard
        return torch.where(trials.valid, values, 0.0)

    def fit(
        self, trials: Trials, targets: Float[Tensor, "task time"], generator: torch.Generator, ranks: Ranks = ALONE
    ) -> float:
        """Fits values to targets by epochs of gradient steps on minibatches of steps.

        Args:
            trials: Whole trials.
            targets: Estimate of the return from each step, in the environment's units.
            generator: Generator that minibatches are drawn from, the same on all ranks.
            ranks: Ranks that learn together, each from its own trials.

        Returns:
            Mean squared error before each gradient step, in standard units, as a mean over minibatches.

        Raises:
            RunFailure: See `UpdateGuard`.
        """
        observations = trials.inputs.observations[..., : self._observation_size]
        self.normalizer.update(observations, trials.valid, ranks)
        classes = self._classes(trials)
        self._update_statistics(targets, trials, classes, ranks)
        # n* = (R - mu_c) / sigma_c
        standard = (targets - self.mean[classes].unsqueeze(1)) / self._std()[classes].unsqueeze(1)
        features, standard = self._features(trials)[trials.valid], standard[trials.valid]
        of_step = classes.unsqueeze(1).expand_as(trials.valid)[trials.valid]
        minibatches = Minibatches(trials.valid.sum(1), 1, ranks)  # each row a step
        errors = []
        for _ in range(self._config.epochs):
            for rows, steps in minibatches.draw(self._config.minibatches, generator):
                losses = []
                if len(rows) > 0:
                    # L = 1/N Σ (n_c(x) - n*)², a rank's share of it: N_rank / N times its own mean
                    error = (self._standard_values(features[rows], of_step[rows]) - standard[rows]) ** 2
                    losses.append(len(rows) / steps * error.mean().unsqueeze(0))
                (loss,) = self.optimizer.accumulate_gradient(losses, ranks=ranks)
                self.optimizer.step(loss)
                errors.append(loss)
        return torch.stack(errors).mean().item()

    def _standard_values(self, features: Float[Tensor, "*b x"], classes: Int[Tensor, "*c"]) -> Float[Tensor, "*b"]:
        outputs: Tensor = self.output(self.body(features))
        return outputs.gather(-1, classes.expand(outputs.shape[:-1]).unsqueeze(-1)).squeeze(-1)

    def _features(self, trials: Trials) -> Float[Tensor, "task time x"]:
        """Standardised observation, time in trial and episode, class as one-hot, standardised parameters."""
        inputs = trials.inputs
        tasks, time = trials.valid.shape
        observations = self.normalizer(inputs.observations[..., : self._observation_size], self.output.weight.dtype)
        steps = torch.arange(time, device=observations.device).expand(tasks, time)
        # step within the episode = step within the trial - last step at which an episode started
        started = torch.where(inputs.episode_start, steps, 0).cummax(1).values
        times = torch.stack([steps, steps - started], dim=-1) / _TIME_SCALE
        classes = nn.functional.one_hot(self._classes(trials), len(self.mean)).to(observations.dtype)
        known = torch.cat([classes, self._task_parameters(trials.tasks).to(observations)], dim=-1)
        return torch.cat([observations, times, known.unsqueeze(1).expand(-1, time, -1)], dim=-1)

    def _classes(self, trials: Trials) -> Int[Tensor, "task"]:
        return trials.classes(self._task_parameters.names)

    def _std(self) -> Float[Tensor, "class"]:
        # sigma² = nu - mu²
        return (self.square - self.mean**2).clamp(min=_MIN_STD**2).sqrt()

    @torch.no_grad()
    def _update_statistics(
        self,
        returns: Float[Tensor, "task time"],
        trials: Trials,
        classes: Int[Tensor, "task"],
        ranks: Ranks = ALONE,
    ) -> None:
        """Moves each class's statistics towards its returns and rescales its output."""
        mean, std = self.mean.clone(), self._std()
        own = [returns[classes == index][trials.valid[classes == index]] for index in range(len(mean))]
        # n_c, Σ R and Σ R² over the steps of each class
        sums = torch.stack([torch.stack([torch.ones_like(x).sum(), x.sum(), (x**2).sum()]) for x in own])
        (sums,) = ranks.sum(sums.double())
        for index, (count, total, squares) in enumerate(sums.to(returns.dtype)):
            if count == 0:
                continue
            rate = _RATE if self.seen[index] else 1.0
            # mu <- (1 - rate) mu + rate R,  nu <- (1 - rate) nu + rate R²
            self.mean[index] += rate * (total / count - self.mean[index])
            self.square[index] += rate * (squares / count - self.square[index])
            self.seen[index] = True
        # w' = w sigma / sigma',  b' = (sigma b + mu - mu') / sigma': values stay what they were
        scale = std / self._std()
        self.output.weight *= scale.unsqueeze(1)
        self.output.bias.copy_(scale * self.output.bias + (mean - self.mean) / self._std())


class _StandardParameters:
    """Maps tasks to their parameters, standardised within each class and padded to one length."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.names = sorted({task.name for task in tasks})
        self.size = max(task.parameters.size for task in tasks)
        self._statistics = {}
        for name in self.names:
            rows = np.array([task.parameters.ravel() for task in tasks if task.name == name])
            std = rows.std(0)
            self._statistics[name] = (rows.mean(0), np.where(std > 0, std, 1.0))

    def __call__(self, tasks: Sequence[Task]) -> Float[Tensor, "task parameter"]:
        result = np.zeros((len(tasks), self.size))
        for row, task in zip(result, tasks, strict=True):
            mean, std = self._statistics[task.name]
            row[: mean.size] = (task.parameters.ravel() - mean) / std
        return torch.as_tensor(result)
