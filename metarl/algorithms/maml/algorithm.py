"""The MAML family (Finn et al. 2017): an inner rule, an outer rule, all tasks of a meta-batch in one computation."""

from __future__ import annotations

import logging

import gymnasium as gym
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
from metarl.algorithms.maml.losses import Batch, exploration_credit, make_batch, trim
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

_LARGEST_KEPT = 2**23
"""Bytes, see `keep_freed_memory`; with more, holes: training on ML1 took 1.5 GB instead of 1.1."""
_log = logging.getLogger(__name__)


class MAML:
    """Learns initial parameters from which a few gradient steps on a new task's episodes lead far.

    Args:
        config: The settings.
        observation_space: Of a single environment.
        action_space: Of a single environment.
        device: Where to learn and act.
        policy: The policy to meta-train; None makes an `MLPPolicy` by the settings.

    Raises:
        UserError: If settings do not go together; see `check_combination`.
    """

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

    @property
    def parameters(self) -> Parameters:
        """The policy's initial parameters, by name, outside of any graph."""
        return {name: parameter.detach() for name, parameter in self.policy.named_parameters()}

    @property
    def meta_parameters(self) -> Parameters:
        """All that the outer rule learns, theta: the initial parameters and any step sizes; see `InnerRule`."""
        return self.parameters | self.step_sizes

    def warm_up(self, sampler: Sampler) -> None:
        """Takes the statistics that observations are standardised with; called once, before the first iteration."""
        if self.config.normalize_observations:
            trajectories = sampler.collect(
                lambda _, noise: RandomActor(self.action_space, noise), self.config.parallel_episodes
            )
            self.policy.normalizer.update(trajectories.observations, trajectories.valid)

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Collects, adapts, collects again and takes the outer step (algorithm 3); draws nothing from `generator`.

        Raises:
            RunFailure: If several outer steps in a row came out not finite.
        """
        keep_freed_memory(_LARGEST_KEPT)
        adapted = self.replicate(self.parameters, self.config.meta_batch)
        records: list[Trajectories] = []
        supports: list[Batch] = []
        for _ in range(self.config.inner.steps):
            records.append(self._play(sampler, adapted))
            supports.append(self.make_batch(records[-1]))
            adapted = self.adapt(adapted, supports[-1])
        records.append(self._play(sampler, adapted))
        metrics = _signal_metrics(supports)
        metrics |= self._update(self._meta_objective(adapted, supports, records[-1]))
        metrics |= self.baseline.fit(records)
        std = self.policy.head.std
        if std is not None:
            metrics["train/action_std"] = std.mean().item()
        before, after = EpisodeMeans.of(records[0]), EpisodeMeans.of(records[-1])
        return IterationResult(before, after, self.guard.skipped, metrics)

    def make_batch(self, trajectories: Trajectories) -> Batch:
        """Samples with advantages over the baseline."""
        values = self.baseline.values(trajectories)
        return make_batch(trajectories, values, self.config.discount, self.config.gae_lambda)

    def adapt(self, adapted: Parameters, batch: Batch) -> Parameters:
        """One inner step of all tasks at once, on samples of the policies to be adapted.

        Args:
            adapted: The policies' parameters, with a leading axis `task`.
            batch: Their samples.

        Returns:
            The parameters after the step; those before it for a task whose step is not finite.
        """
        stepped = self.inner.adapt(adapted, self.meta_parameters, batch)
        finite = torch.stack([torch.isfinite(value.flatten(1)).all(1) for value in stepped.values()]).all(0)
        if finite.all():
            return stepped
        return {
            name: torch.where(finite.reshape(-1, *(1,) * (value.ndim - 1)), value, adapted[name])
            for name, value in stepped.items()
        }

    def replicate(self, parameters: Parameters, tasks: int) -> Parameters:
        """The same parameters for each task, with a leading axis `task`."""
        return {name: value.expand(tasks, *value.shape) for name, value in parameters.items()}

    def outputs(
        self, adapted: Parameters, observations: Float[Tensor, "task sample obs"]
    ) -> Float[Tensor, "task sample p"]:
        """Distribution parameters of each task's own policy; parameters have a leading axis `task`."""
        return self.inner.derivatives.forward(adapted, observations).outputs

    def make_agent(self, seed: int) -> MAMLAgent:
        """An agent that adapts by this algorithm's inner steps and acts by the mean action once adapted."""
        return MAMLAgent(self, seed)

    def state_dict(self) -> dict[str, Tensor]:
        """State of the policy with its normaliser, learned step sizes, outer rule, baseline and guard."""
        state = self.policy.state_dict() | self.step_sizes
        state |= {f"outer.{name}": value for name, value in self.outer.state_dict().items()}
        state |= {f"baseline.{name}": value for name, value in self.baseline.state_dict().items()}
        return state | self.guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self.policy.load_state_dict({name: state[name] for name in self.policy.state_dict()})
        self.step_sizes = {name: state[name].to(value) for name, value in self.step_sizes.items()}
        self.outer.load_state_dict(part("outer."))
        self.baseline.load_state_dict(part("baseline."))
        self.guard.load_state_dict(state)

    def _play(self, sampler: Sampler, adapted: Parameters) -> Trajectories:
        def make_actor(tasks: slice, noise: torch.Generator) -> AdaptedActor:
            return AdaptedActor(self, {name: value[tasks] for name, value in adapted.items()}, noise)

        return trim(sampler.collect(make_actor, self.config.episodes))

    def _meta_objective(self, adapted: Parameters, supports: list[Batch], query: Trajectories) -> MetaObjective:
        config = self.config
        values = self.baseline.values(query)
        credit = None
        if config.exploration_credit:
            unbiased = exploration_credit(query, values, config.discount, config.gae_lambda)
            credit = config.exploration_credit * unbiased
        return MetaObjective(
            distribution=self.distribution,
            inner=self.inner,
            theta=self.meta_parameters,
            adapted=adapted,
            supports=supports,
            query=make_batch(query, values, config.discount, config.gae_lambda),
            credit=credit,
        )

    def _update(self, objective: MetaObjective) -> dict[str, float]:
        """Takes the outer step, or none if it is not finite."""
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
    """Acts with a policy of its own for each task.

    Args:
        maml: The algorithm whose policy it is.
        adapted: The policies' parameters, with a leading axis `task`.
        noise: Source of the noise of actions.
    """

    def __init__(self, maml: MAML, adapted: Parameters, noise: torch.Generator) -> None:
        super().__init__(maml.action_space, maml.device, noise)
        self._maml = maml
        self._adapted = adapted
        self._tasks = len(next(iter(adapted.values())))

    def choose(self, inputs: PolicyInput) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `PolicyActor`."""
        observations = inputs.observations.reshape(self._tasks, -1, inputs.observations.shape[-1])
        outputs = self._maml.outputs(self._adapted, observations).flatten(0, 1)
        return self._maml.distribution.sample(outputs, self.generator), outputs


def _signal_metrics(supports: list[Batch]) -> dict[str, float]:
    """How many tasks had nothing to adapt to: support advantages that are all zero, as with a constant reward."""
    flat = torch.stack([(batch.advantages == 0).all(1) for batch in supports]).all(0)
    if flat.all():
        _log.warning("no task's support episodes differ in reward: nothing to adapt to in this iteration")
    return {"meta/tasks_without_signal": float(flat.sum())}
