"""MAML family (Finn et al. 2017): an inner rule, an outer rule, all tasks of a meta-batch in one computation."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.acting.actors import PolicyActor, RandomActor
from metarl.acting.sampler import Sampler
from metarl.algorithms.base import EpisodeMeans, IterationResult
from metarl.algorithms.maml.agent import MAMLAgent
from metarl.algorithms.maml.baselines import make_baseline
from metarl.algorithms.maml.config import MAMLConfig, check_combination
from metarl.algorithms.maml.inner import InnerRule
from metarl.algorithms.maml.losses import Batch, exploration_credit, make_batch, shrink, trim
from metarl.algorithms.maml.meta_objective import MetaObjective
from metarl.algorithms.maml.outer import NonFiniteError, make_outer_rule
from metarl.data.trajectories import Trajectories
from metarl.devices import keep_freed_memory
from metarl.optim.guard import UpdateGuard
from metarl.optim.vectors import Parameters
from metarl.policies.derivatives import policy_derivatives
from metarl.policies.distributions import action_distribution
from metarl.policies.feedforward import FeedForwardPolicy
from metarl.policies.inputs import PolicyInput
from metarl.policies.mlp import MLPPolicy
from metarl.ranks import ALONE, Ranks

_LARGEST_KEPT = 2**23
"""Argument of `keep_freed_memory`, in bytes; a larger one leaves holes: training on ML1 took 1.5 GB instead of 1.1."""
_log = logging.getLogger(__name__)


class MAML:
    """Learns initial parameters that a few gradient steps on a new task's episodes improve most.

    Args:
        config: Settings.
        observation_space: Observation space of a single environment.
        action_space: Action space of a single environment.
        device: Device to learn and act on.
        policy: Policy to meta-train; None makes an `MLPPolicy` by the settings.

    Raises:
        UserError: If settings contradict each other; see `check_combination`.
    """

    training_state = ("outer.", "baseline.adam.")

    def __init__(
        self,
        config: MAMLConfig,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        device: torch.device,
        policy: FeedForwardPolicy | None = None,
    ) -> None:
        check_combination(config)
        self.config = config
        self.device = device
        self.meta_batch = config.meta_batch
        self.num_envs = config.meta_batch * config.parallel_episodes
        self.action_space = action_space
        self.distribution = action_distribution(action_space)
        policy = policy or MLPPolicy(
            observation_space.shape[0],
            self.distribution,
            config.hidden_sizes,
            config.activation,
            config.init_std,
            config.min_std,
            config.output_gain,
        )
        self.policy: FeedForwardPolicy = policy.to(device)
        self.inner = InnerRule(config.inner, policy_derivatives(self.policy), self.distribution)
        self.step_sizes = self.inner.initial_step_sizes(self.parameters)
        self.outer = make_outer_rule(config.outer, self.meta_parameters)
        self.baseline = make_baseline(config.baseline, observation_space.shape[0], config.discount, device)
        self.guard = UpdateGuard("algorithm.inner.lr")
        self.ranks = ALONE

    def join(self, ranks: Ranks) -> None:
        """See `DataParallel`; the number of ranks divides the meta-batch."""
        self.ranks = ranks

    @property
    def parameters(self) -> Parameters:
        """Initial parameters of the policy by name, detached."""
        return {name: parameter.detach() for name, parameter in self.policy.named_parameters()}

    @property
    def meta_parameters(self) -> Parameters:
        """Meta-parameters theta that the outer rule learns: initial parameters and any step sizes; see `InnerRule`."""
        return self.parameters | self.step_sizes

    def warm_up(self, sampler: Sampler) -> None:
        """Takes the statistics of the observation normaliser from random actions; called once, before training."""
        if self.config.normalize_observations:
            trajectories = sampler.collect(
                lambda _, noise: RandomActor(self.action_space, noise), self.config.parallel_episodes
            )
            self.policy.normalizer.update(trajectories.observations, trajectories.valid, self.ranks)

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Collects, adapts, collects again and takes the outer step (Finn et al. 2017, algorithm 3).

        Args:
            sampler: Sampler of a meta-batch, or of this rank's share of one.
            generator: Not drawn from.

        Raises:
            RunFailure: If five outer steps in a row are not finite.
        """
        keep_freed_memory(_LARGEST_KEPT)
        # phi_i = theta for each task i of the meta-batch, or of this rank's share of it
        adapted = self.replicate(self.parameters, len(sampler.tasks))
        records: list[Trajectories] = []
        supports: list[Batch] = []
        for _ in range(self.config.inner.steps):
            # Support trajectories D_i ~ pi(phi_i), then phi_i <- phi_i - alpha * grad L(phi_i; D_i)
            records.append(self._collect(sampler, adapted))
            supports.append(self.make_batch(records[-1]))
            adapted = self.adapt(adapted, supports[-1])
        # Query trajectories D'_i ~ pi(phi_i), then the outer step on 1/N sum_i L(phi_i(theta); D'_i)
        records.append(self._collect(sampler, adapted))
        metrics = self._signal_metrics(supports) | self._input_metrics(records)
        metrics |= self._update(self._meta_objective(adapted, supports, records[-1]))
        metrics |= self.baseline.fit(records, self.ranks)
        std = self.policy.head.std
        if std is not None:
            metrics["train/action_std"] = std.mean().item()
        before, after = (EpisodeMeans.of(record, ranks=self.ranks) for record in (records[0], records[-1]))
        return IterationResult(before, after, self.guard.skipped, metrics)

    def make_batch(self, trajectories: Trajectories) -> Batch:
        """Makes support samples of trajectories, with advantages over the baseline; see `shrink`."""
        values = self.baseline.values(trajectories)
        batch = make_batch(trajectories, values, self.config.discount, self.config.gae_lambda)
        return shrink(batch, trajectories.valid, self.config.inner.prior_episodes)

    def adapt(self, adapted: Parameters, batch: Batch) -> Parameters:
        """Takes one inner step of all tasks at once, on samples of the policies to adapt.

        Args:
            adapted: Parameters phi of the policies, with a leading axis `task`.
            batch: Samples of these policies.

        Returns:
            Parameters phi' after the step, unchanged for a task whose step is not finite.
        """
        stepped = self.inner.adapt(adapted, self.meta_parameters, batch)
        # finite_i: all entries of task i's phi' are finite
        finite = torch.stack([torch.isfinite(value.flatten(1)).all(1) for value in stepped.values()]).all(0)
        if finite.all():
            return stepped
        return {
            name: torch.where(finite.reshape(-1, *(1,) * (value.ndim - 1)), value, adapted[name])
            for name, value in stepped.items()
        }

    def replicate(self, parameters: Parameters, tasks: int) -> Parameters:
        """Expands parameters by a leading axis `task`, without copies."""
        return {name: value.expand(tasks, *value.shape) for name, value in parameters.items()}

    def outputs(
        self, adapted: Parameters, observations: Float[Tensor, "task sample obs"]
    ) -> Float[Tensor, "task sample p"]:
        """Computes the distribution parameters of each task's own policy.

        Args:
            adapted: Parameters of the policies, with a leading axis `task`.
            observations: `(task, sample, obs)`, in the environment's units.
        """
        return self.inner.derivatives.forward(adapted, observations).outputs

    def make_agent(self, seed: int) -> MAMLAgent:
        """Makes an agent that adapts by inner steps and then acts by the mean action; `seed` seeds its exploration."""
        return MAMLAgent(self, seed)

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the state of policy, observation normaliser, learned step sizes, outer rule, baseline and guard."""
        state = self.policy.state_dict() | self.step_sizes
        state |= {f"outer.{name}": value for name, value in self.outer.state_dict().items()}
        state |= {f"baseline.{name}": value for name, value in self.baseline.state_dict().items()}
        return state | self.guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restores a state that `state_dict` returned."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self.policy.load_state_dict({name: state[name] for name in self.policy.state_dict()})
        self.step_sizes = {name: state[name].to(value) for name, value in self.step_sizes.items()}
        self.outer.load_state_dict(part("outer."))
        self.baseline.load_state_dict(part("baseline."))
        self.guard.load_state_dict(state)

    def _collect(self, sampler: Sampler, adapted: Parameters) -> Trajectories:
        def make_actor(tasks: slice, noise: Sequence[np.random.Generator]) -> AdaptedActor:
            return AdaptedActor(self, {name: value[tasks] for name, value in adapted.items()}, noise)

        return trim(sampler.collect(make_actor, self.config.episodes), self.ranks)

    def _meta_objective(self, adapted: Parameters, supports: list[Batch], query: Trajectories) -> MetaObjective:
        config = self.config
        values = self.baseline.values(query)
        credit = None
        if config.exploration_credit:
            unbiased = exploration_credit(query, values, config.discount, config.gae_lambda, self.ranks)
            credit = config.exploration_credit * unbiased
        return MetaObjective(
            distribution=self.distribution,
            inner=self.inner,
            theta=self.meta_parameters,
            adapted=adapted,
            supports=supports,
            query=make_batch(query, values, config.discount, config.gae_lambda),
            credit=credit,
            ranks=self.ranks,
        )

    def _signal_metrics(self, supports: list[Batch]) -> dict[str, float]:
        """Counts tasks without a learning signal: all support advantages are zero, as with a constant reward."""
        flat = torch.stack([(batch.advantages == 0).all(1) for batch in supports]).all(0)
        without, tasks = self.ranks.sum(flat.sum(), torch.tensor(len(flat), device=flat.device))
        if without == tasks and self.ranks.leads:
            _log.warning("no task's support episodes differ in reward: nothing to adapt to in this iteration")
        return {"meta/tasks_without_signal": float(without)}

    def _input_metrics(self, records: list[Trajectories]) -> dict[str, float]:
        """Returns the share of steps whose observation is so far out that the normaliser compresses it."""
        compressed = torch.cat([self.policy.normalizer.compressed(x.observations)[x.valid] for x in records])
        number, steps = self.ranks.sum(compressed.sum(), torch.tensor(len(compressed), device=compressed.device))
        return {"train/compressed_inputs": (number / steps).item()}

    def _update(self, objective: MetaObjective) -> dict[str, float]:
        """Takes the outer step, or skips it if it is not finite; returns its metrics, none if skipped."""
        self.guard.start_iteration()
        try:
            theta, metrics = self.outer.step(objective)
        except NonFiniteError:
            self.guard.skip()
            return {}
        self.guard.accept()
        self.policy.load_state_dict(self.inner.policy_parameters(theta), strict=False)
        self.policy.head.keep_floor()
        self.step_sizes = {name: theta[name] for name in self.step_sizes}
        return metrics


class AdaptedActor(PolicyActor):
    """Actor with one policy for each task.

    Args:
        maml: Algorithm of the policies.
        adapted: Parameters of the policies, with a leading axis `task`.
        noise: Generator of each environment, for the noise of its actions.
    """

    def __init__(self, maml: MAML, adapted: Parameters, noise: Sequence[np.random.Generator]) -> None:
        super().__init__(maml.action_space, maml.device, noise)
        self._maml = maml
        self._adapted = adapted
        self._tasks = len(next(iter(adapted.values())))

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        # Environments i n to (i + 1) n - 1 play task i: [env, obs] -> [task, n, obs]
        observations = inputs.observations.reshape(self._tasks, -1, inputs.observations.shape[-1])
        outputs = self._maml.outputs(self._adapted, observations).flatten(0, 1)
        return self.sample(outputs), outputs
