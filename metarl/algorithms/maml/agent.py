"""Agent of the MAML family, for use outside of training: adapts by gradient steps on its own episodes."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from metarl.acting.actions import to_environment, to_vectors
from metarl.acting.adversary import ascent_direction
from metarl.acting.agents import AdaptationTrace, TrainedAgent, check_outputs
from metarl.acting.exploration import Exploration
from metarl.acting.export import EnvironmentActions, Exportable, example_observations, replace_lost
from metarl.data.rollout_buffer import RolloutBuffer
from metarl.data.steps import PARAMETERS, UNCLIPPED, BoolArray, Step, Timestep, TimestepLike
from metarl.data.trajectories import Trajectories
from metarl.optim.vectors import Parameters
from metarl.policies.distributions import ActionDistribution
from metarl.policies.feedforward import FeedForwardPolicy

if TYPE_CHECKING:
    from metarl.algorithms.maml.algorithm import MAML


class MAMLAgent(TrainedAgent):
    """Explores by sampling actions, adapts by gradient steps, and acts by the mean action of the adapted policies.

    Every environment is a task with its own policy. See `metarl.acting.agents.Agent`.

    Args:
        maml: Trained algorithm.
        seed: Seed of the exploration.
    """

    exploration: Exploration
    attackable = True
    samples = True

    def __init__(self, maml: MAML, seed: int) -> None:
        self.adaptation_steps = maml.config.inner.steps + maml.config.inner.refinements
        self.action_space = maml.action_space
        self.observation_size = maml.policy.normalizer.mean.shape[0]
        self._maml = maml
        self._device = maml.policy.head.linear.weight.device
        self.exploration = Exploration(maml.distribution, seed)
        self.init()

    def init(self) -> None:
        """See `Agent`."""
        self._adapted: Parameters | None = None
        self._steps: list[TimestepLike] = []
        self._exploring = True
        self.exploration.restart()
        self._taken = 0

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        self._exploring = True
        actions = self._act(observations, sample=True)
        return to_environment(actions, self.action_space), {UNCLIPPED: actions.astype(np.float64)}

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        self._exploring = False
        return to_environment(self._act(observations, sample=False), self.action_space)

    def sample_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `TrainedAgent`."""
        self._exploring = False
        return to_environment(self._act(observations, sample=True), self.action_space)

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`; steps of evaluation episodes are ignored."""
        self._check_step(timestep, len(self._check_observations(timestep.observation)), valid)
        if self._exploring:
            self._steps.append(timestep)

    def adapt(self) -> None:
        """Takes one inner step on the episodes since the last one, as many as every environment has completed.

        Without a completed episode, the step uses the episode in progress; without any step, nothing changes.
        """
        if not self._steps:
            return
        batch = self._maml.make_batch(self._record(self._steps).to(self._device))
        # step i is decay^j times as long as one of training, j = i - steps + 1 for the refinements, else 0
        inner = self._maml.config.inner
        refinement = min(max(0, self._taken - inner.steps + 1), inner.refinements)
        batch = batch._replace(advantages=batch.advantages * inner.refinement_decay**refinement)
        self._adapted = self._maml.adapt(self._current(len(batch.weights)), batch)
        self._taken += 1
        self._steps = []

    def _record(self, steps: Sequence[TimestepLike]) -> Trajectories:
        # min over environments of completed episodes, at least 1
        ended = np.stack([step.terminated | step.truncated for step in steps])
        episodes = max(1, int(ended.sum(0).min()))
        num_envs, observation_size = steps[0].observation.shape
        horizon = _longest_episode(ended)
        distribution = self._maml.distribution
        buffer = RolloutBuffer(num_envs, episodes, horizon, observation_size, distribution)
        parameters = np.zeros((num_envs, distribution.parameter_size))  # unknown, and not needed to adapt
        nothing = np.zeros(num_envs, np.bool_)
        played = np.zeros(num_envs, np.int64)
        for seen in steps:
            unclipped = seen.aux_policy_outputs.get(UNCLIPPED)
            vectors = to_vectors(seen.action, self.action_space) if unclipped is None else unclipped
            auxiliary = {UNCLIPPED: vectors, PARAMETERS: parameters}
            timestep = Timestep(seen.observation, seen.action, seen.reward, seen.terminated, seen.truncated, auxiliary)
            buffer.add(Step(0, timestep, played < episodes, played.copy(), nothing, seen.observation, nothing, ()))
            played += seen.terminated | seen.truncated
        return buffer.trajectories(num_envs)

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`; checks the mask only, as feed-forward policies have no memory."""
        self._check_mask(env_mask)

    @property
    def num_envs(self) -> int | None:
        """See `TrainedAgent`."""
        if self._steps:
            return len(self._steps[0].reward)
        return len(next(iter(self._adapted.values()))) if self._adapted else None

    def trace(self) -> AdaptationTrace | None:
        """See `TrainedAgent`; the difference of the adapted parameters from the initial ones."""
        if not self._adapted:
            return None
        # theta'_i - theta for task i, all parameters end to end
        changes = [(value - self._maml.parameters[name]).flatten(1) for name, value in self._adapted.items()]
        return AdaptationTrace("change of the parameters", torch.cat(changes, 1).detach().double().cpu().numpy())

    def exportable(self, env: int) -> Exportable:
        """See `TrainedAgent`."""
        policy = deepcopy(self._maml.policy).cpu()
        if self._adapted:
            policy.load_state_dict({name: value[env] for name, value in self._adapted.items()}, strict=False)
        module = _MeanAction(policy, self._maml.distribution, EnvironmentActions(self.action_space))
        example = {"observation": example_observations(policy.normalizer)}
        adapted = "true" if self._adapted else "false"
        return Exportable(module, example, ["action"], {"algorithm": "maml", "adapted": adapted})

    def attack_gradient(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """See `TrainedAgent`."""
        tensor = torch.as_tensor(self._check_observations(observations), device=self._device)
        policies = self._current(len(tensor))
        gradient = ascent_direction(
            self._maml.distribution, lambda seen: self._maml.outputs(policies, seen.unsqueeze(1)).squeeze(1), tensor
        )
        return gradient.cpu().numpy()

    def replay(self, timestep: Timestep) -> None:
        """See `TrainedAgent`."""
        self._exploring = True
        self.step(timestep)

    @torch.no_grad()
    def _act(self, observations: npt.NDArray[np.float64], *, sample: bool) -> npt.NDArray[Any]:
        observations = self._check_observations(observations)
        tensor = torch.as_tensor(observations, dtype=torch.float64, device=self._device)
        outputs = self._maml.outputs(self._current(len(observations)), tensor.unsqueeze(1)).squeeze(1)
        check_outputs(outputs)
        actions = self.exploration.sample(outputs) if sample else self._maml.distribution.mode(outputs)
        return actions.cpu().numpy()

    def _current(self, num_envs: int) -> Parameters:
        return self._adapted or self._maml.replicate(self._maml.parameters, num_envs)


class _MeanAction(nn.Module):
    """Module that computes `eval_action` with the policy of one task."""

    def __init__(self, policy: FeedForwardPolicy, distribution: ActionDistribution, to_environment: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.to_environment = to_environment
        self._distribution = distribution

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        (observations,) = inputs
        observations, _ = replace_lost(observations, self.policy.normalizer)
        return (self.to_environment(self._distribution.mode(self.policy(observations))),)


def _longest_episode(ended: npt.NDArray[np.bool_]) -> int:
    """Returns the number of steps of the longest episode, one in progress included, from flags `(step, env)`."""
    # n_t = 1 + n_{t-1}, or 1 after a step that ended an episode;  longest = max over t and env of n_t
    longest = running = np.zeros(ended.shape[1], np.int64)
    for flags in ended:
        running = running + 1
        longest = np.maximum(longest, running)
        running = np.where(flags, 0, running)
    return int(longest.max())
