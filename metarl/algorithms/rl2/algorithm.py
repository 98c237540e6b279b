"""RL² (Duan et al. 2016) learned by PPO or TRPO over whole trials."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actors import RandomActor
from metarl.acting.sampler import Sampler
from metarl.algorithms.base import EpisodeMeans, IterationResult
from metarl.algorithms.rl2.actor import RecurrentActor, chunk_states
from metarl.algorithms.rl2.agent import RL2Agent
from metarl.algorithms.rl2.chunk_states import values_and_chunk_states
from metarl.algorithms.rl2.config import (
    RL2Config,
    RL2LinearBaselineConfig,
    RL2PPOConfig,
    RL2PrivilegedBaselineConfig,
    RL2ValueBaselineConfig,
)
from metarl.algorithms.rl2.expert import ExpertGuidance
from metarl.algorithms.rl2.losses import Trials, linear_values, make_samples, make_trials
from metarl.algorithms.rl2.ppo import PPO, rows_at_once
from metarl.algorithms.rl2.privileged import PrivilegedCritic
from metarl.algorithms.rl2.trpo import TRPO
from metarl.data.trajectories import Trajectories
from metarl.devices import keep_freed_memory
from metarl.errors import RunFailure
from metarl.optim.guard import UpdateGuard
from metarl.policies.distributions import action_distribution
from metarl.policies.recurrent import ActorCritic, Critic, RecurrentBody, RecurrentPolicy
from metarl.ranks import ALONE, Ranks
from metarl.returns import gae
from metarl_envs.core import Task
from metarl_envs.errors import UserError

_LARGEST_KEPT = 2**25
"""Argument of `keep_freed_memory`, in bytes; tensors of the same sizes recur with each part of a minibatch."""


class RL2:
    """Learns a recurrent policy whose state adapts to a task over a trial, several episodes of the task.

    Args:
        config: Settings.
        observation_space: Observation space of a single environment.
        action_space: Action space of a single environment.
        device: Device to learn and act on.
        tasks: Training tasks, whose classes a privileged baseline and an advantage scale by class need; other settings
            do not need them.
        guidance: Guidance by experts; None is learning by reward alone.

    Raises:
        UserError: If there are more minibatches than trials and trials are not cut into chunks.
    """

    training_state = ("critic.", "optimizer.", "privileged.", "privileged_optimizer.", "guidance.")

    def __init__(
        self,
        config: RL2Config,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
        tasks: Sequence[Task] = (),
        guidance: ExpertGuidance | None = None,
    ) -> None:
        _check_minibatches(config)
        self.config = config
        self.device = device
        self.ranks = ALONE
        """Ranks that learn together; see `join`."""
        self._classes = sorted({task.name for task in tasks})
        self.meta_batch = self.num_envs = config.meta_batch
        self.action_space = action_space
        self.distribution = action_distribution(action_space)
        observation_size = observation_space.shape[0]
        self.policy = self._make_policy(observation_size)
        baseline = config.baseline if isinstance(config.baseline, RL2ValueBaselineConfig) else None
        critic = None
        if baseline is not None:
            sizes = (observation_size, self.distribution.action_size)
            body = None if baseline.shares_core else RecurrentBody(*sizes, config.encoder, config.core)
            critic = Critic(self.policy.body.output_size, observation_size, body)
        self.network = ActorCritic(self.policy, critic).to(device)
        self.guard = UpdateGuard("the step size under algorithm.outer")
        self.privileged: PrivilegedCritic | None = None
        if isinstance(config.baseline, RL2PrivilegedBaselineConfig):
            self.privileged = PrivilegedCritic(observation_size, tasks, config.baseline, self.guard).to(device)
        self.guidance = guidance
        self.outer: PPO | TRPO
        if isinstance(config.outer, RL2PPOConfig):
            self.outer = PPO(self.network, self.distribution, config.outer, baseline, self.guard, guidance)
        else:
            self.outer = TRPO(self.network, self.distribution, config.outer, baseline, self.guard)

    def join(self, ranks: Ranks) -> None:
        """See `DataParallel`."""
        self.ranks = ranks

    def warm_up(self, sampler: Sampler) -> None:
        """Collects random episodes for the normalisers' first statistics; called once, before training."""
        self._update_normalizers(sampler.collect(lambda _, noise: RandomActor(self.action_space, noise), 1))

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Plays one trial of each task and takes the outer step on them.

        The first episode of a trial counts as before adaptation, the last one as after it.

        Args:
            sampler: Sampler of a meta-batch, with one environment per task.
            generator: Generator that minibatches are drawn from.

        Raises:
            RunFailure: If five updates in a row are not finite, or an update does not fit into the device's memory and
                a smaller `steps_at_once` would take less.
            torch.OutOfMemoryError: If an iteration does not fit into the device's memory and no setting of
                `steps_at_once` would help.
        """
        keep_freed_memory(_LARGEST_KEPT)
        actors: list[RecurrentActor] = []

        def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> RecurrentActor:
            actors.append(self._make_training_actor(sampler.tasks[tasks], noise))
            return actors[-1]

        trajectories = sampler.collect(make_actor, self.config.episodes)
        # trials leave out diverged steps
        diverged = self.ranks.largest(float(len(sampler.divergences) > 0))
        states = None if diverged else chunk_states(actors)
        metrics = self._learn_or_advise(trajectories, generator, states) | self._input_metrics(trajectories)
        self._update_normalizers(trajectories)
        first, last = (EpisodeMeans.of(trajectories, which, self.ranks) for which in (slice(0, 1), slice(-1, None)))
        return IterationResult(first, last, self.guard.skipped, metrics | self._trial_return(trajectories))

    def _learn_or_advise(
        self, trajectories: Trajectories, generator: torch.Generator, states: Float[Tensor, "row state"] | None
    ) -> dict[str, float]:
        """Learns from trials; if memory runs out, raises with a setting that takes less."""
        try:
            return self.learn(self._make_trials(trajectories), generator, states)
        except torch.OutOfMemoryError:
            steps, fewer = self._steps_at_once(trajectories)
            if fewer == 0:
                raise
            raise RunFailure(
                f"the update does not fit into the memory of {self.device}: lower algorithm.outer.steps_at_once from"
                f" {steps} to {fewer}, which at least halves what it takes and learns the same; the last checkpoint is"
                " as it was"
            ) from None

    def learn(
        self, trials: Trials, generator: torch.Generator, states: Float[Tensor, "row state"] | None = None
    ) -> dict[str, float]:
        """Computes advantages over the baseline and takes the outer step.

        Args:
            trials: Whole trials of the meta-batch.
            generator: Generator that minibatches are drawn from.
            states: States that the chunks of the trials start from, in the row order of `losses.cut_into_chunks`; None
                recomputes them.

        Returns:
            Metrics of the update, by their logged names.

        Raises:
            RunFailure: If five updates in a row are not finite.
        """
        config = self.config
        longest = int(self.ranks.largest(float(trials.valid.shape[1])))  # so that all ranks count the same chunks
        chunk = min(config.chunk or longest, longest)
        standard_values = None
        if states is None or self.network.critic is not None:
            standard_values, states = values_and_chunk_states(self.network, trials.inputs, chunk)
        values = self._values(trials, standard_values)
        # delta_t = r_t + discount V_{t+1} - V_t,  A_t = Σ_k (discount lambda)^k delta_{t+k},  V after the last step = 0
        advantages = gae(trials.rewards, values, trials.valid, config.discount, config.gae_lambda)
        classes = self._classes if config.advantage_scale == "class" else None
        samples = make_samples(trials, advantages, config.discount, classes, self.ranks)
        if isinstance(config.baseline, RL2ValueBaselineConfig) and config.baseline.normalize_returns:
            assert self.network.critic is not None
            self.network.critic.update_statistics(samples.returns, samples.valid, self.ranks)
        if self.guidance is not None and self.guidance.weight > 0:
            samples = samples._replace(expert_actions=self.guidance.label(trials))
        self.guard.start_iteration()
        metrics = self.outer.update(samples, states, chunk, generator, self.ranks)
        self.policy.head.keep_floor()
        if self.privileged is not None:
            # R^lambda_t = A_t + V_t (Sutton & Barto 2018, equation 12.9, with generalised advantages)
            metrics["train/value_loss"] = self.privileged.fit(trials, values + advantages, generator, self.ranks)
        if self.guidance is not None:
            metrics["train/expert_weight"] = self.guidance.weight
            self.guidance.finish_iteration()
        return metrics

    def make_actor(self, tasks: slice, noise: Sequence[np.random.Generator]) -> RecurrentActor:
        """Makes the actor of one trial of each task in the slice; see `metarl.acting.sampler.MakeActor`."""
        return RecurrentActor(self, tasks.stop - tasks.start, noise)

    def _make_training_actor(self, tasks: Sequence[Task], noise: Sequence[np.random.Generator]) -> RecurrentActor:
        """Makes the actor of one trial of each of the tasks."""
        return self.make_actor(slice(0, len(tasks)), noise)

    def _make_trials(self, trajectories: Trajectories) -> Trials:
        """Lays episodes out as trials, with the inputs of this policy."""
        return make_trials(trajectories)

    def _make_policy(self, observation_size: int) -> RecurrentPolicy:
        config = self.config
        return RecurrentPolicy(
            observation_size,
            self.distribution,
            config.encoder,
            config.core,
            config.head,
            config.observation_to_head,
            config.init_std,
            config.min_std,
        )

    def make_agent(self, seed: int) -> RL2Agent:
        """Makes an agent that adapts by its state and acts greedily once adapted; `seed` seeds its exploration."""
        return RL2Agent(self.policy, self.distribution, self.action_space, seed, self.config.keeps)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the state of network with normalisers and optimiser, and the numbers that training counts."""
        state = dict(self.network.state_dict())
        state |= {f"optimizer.{name}": tensor for name, tensor in self.outer.state_dict().items()}
        if self.privileged is not None:
            state |= {f"privileged.{name}": tensor for name, tensor in self.privileged.state_dict().items()}
            moments = self.privileged.optimizer.state_dict()
            state |= {f"privileged_optimizer.{name}": tensor for name, tensor in moments.items()}
        if self.guidance is not None:
            state |= {f"guidance.{name}": tensor for name, tensor in self.guidance.state_dict().items()}
        return state | self.guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state that `state_dict` returned."""
        guard = self.guard.state_dict().keys()
        parts: dict[str, dict[str, Tensor]] = {
            name: {} for name in ("", "optimizer", "privileged", "privileged_optimizer", "guidance")
        }
        for name, tensor in state.items():
            part, _, rest = name.partition(".")
            if part in parts:
                parts[part][rest] = tensor
            elif name not in guard:
                parts[""][name] = tensor
        self.network.load_state_dict(parts[""])
        self.guard.load_state_dict(state)
        self.outer.load_state_dict(parts["optimizer"])
        if self.privileged is not None:
            self.privileged.load_state_dict(parts["privileged"])
            self.privileged.optimizer.load_state_dict(parts["privileged_optimizer"])
        if self.guidance is not None:
            self.guidance.load_state_dict(parts["guidance"])

    def _values(self, trials: Trials, standard: Float[Tensor, "task time"] | None) -> Float[Tensor, "task time"]:
        """Returns the baseline V_t along trials in the environment's units; `standard` are a critic's own values."""
        if isinstance(self.config.baseline, RL2LinearBaselineConfig):
            return linear_values(trials, self.config.discount, self.config.baseline.per_task, self.ranks)
        if self.privileged is not None:
            return self.privileged.values(trials)
        assert self.network.critic is not None
        assert standard is not None
        return torch.where(trials.valid, self.network.critic.to_returns(standard), 0.0)

    def _update_normalizers(self, trajectories: Trajectories) -> None:
        if self.config.normalize_observations:
            self.policy.observation_normalizer.update(trajectories.observations, trajectories.valid, self.ranks)
        if self.config.normalize_reward_input:
            self.policy.reward_normalizer.update(trajectories.rewards.unsqueeze(-1), trajectories.valid, self.ranks)

    def _input_metrics(self, trajectories: Trajectories) -> dict[str, float]:
        """Returns the share of steps with an observation or reward so far out that a normaliser compresses it."""
        observations = self.policy.observation_normalizer.compressed(trajectories.observations)
        rewards = self.policy.reward_normalizer.compressed(trajectories.rewards.unsqueeze(-1))
        compressed = (observations | rewards)[trajectories.valid].double()
        total, steps = self.ranks.sum(compressed.sum(), torch.ones_like(compressed).sum())
        return {"train/compressed_inputs": (total / steps).item()}

    def _trial_return(self, trajectories: Trajectories) -> dict[str, float]:
        """Returns the mean over tasks of a trial's return, the sum of its episodes' returns."""
        returns = trajectories.returns.sum(1).double()
        total, trials = self.ranks.sum(returns.sum(), torch.ones_like(returns).sum())
        return {"meta/trial_return": (total / trials).item()}

    def _steps_at_once(self, trajectories: Trajectories) -> tuple[int, int]:
        """Returns the steps per pass through the network and a setting for at most half of them, 0 if there is none."""
        if not isinstance(self.config.outer, RL2PPOConfig):
            return 0, 0
        trial = trajectories.valid[0].numel()
        time = min(self.config.chunk or trial, trial)
        # rows of a minibatch = ceil(trials * ceil(trial / chunk) / minibatches)
        minibatch = -(-len(trajectories.valid) * -(-trial // time) // self.config.outer.minibatches)
        rows = min(rows_at_once(self.config.outer, time, self.device), minibatch)
        return rows * time, rows // 2 * time


def _check_minibatches(config: RL2Config) -> None:
    if isinstance(config.outer, RL2PPOConfig) and config.chunk is None and config.outer.minibatches > config.meta_batch:
        raise UserError(
            f"algorithm.outer.minibatches: {config.outer.minibatches} is more than algorithm.meta_batch ="
            f" {config.meta_batch}; a trial is not split unless algorithm.chunk says so"
        )
