"""Agent of RL², for use outside of training: adapts by its recurrent state as it plays."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any, Literal, Protocol, SupportsFloat, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarl.acting.actions import to_environment, to_vectors
from metarl.acting.actors import InputTransfer, PreviousStep
from metarl.acting.adversary import ascent_direction
from metarl.acting.agents import AdaptationTrace, TrainedAgent, as_numbers, check_outputs
from metarl.acting.exploration import Exploration
from metarl.acting.export import EnvironmentActions, Exportable, example_observations, replace_lost
from metarl.algorithms.rl2.memory import BestMemory, Memory
from metarl.data.steps import BoolArray, Timestep, TimestepLike
from metarl.policies.distributions import ActionDistribution
from metarl.policies.inputs import PolicyInput
from metarl.policies.recurrent import RecurrentPolicy
from metarl_envs.errors import UserError


@runtime_checkable
class StatefulPolicy(Protocol):
    """Recurrent policy that acts step by step, such as `metarl.policies.recurrent.RecurrentPolicy`."""

    def initial_state(self, batch: int) -> Float[Tensor, "batch state"]:
        """Returns the state at the start of a trial."""

    def step(
        self, inputs: PolicyInput, state: Float[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch p"], Float[Tensor, "batch state"]]:
        """Returns distribution parameters and the next state for inputs with the leading axis `batch`."""


class RL2Agent(TrainedAgent):
    """Explores, remembers across episodes, and acts by the likeliest action once adapted.

    Adaptation samples actions, and every evaluation episode starts from the memory at its end. Where the best memory is
    kept instead, adaptation takes the likeliest actions, as evaluation does. See `metarl.acting.agents.Agent`.

    Args:
        policy: Recurrent policy.
        distribution: Action distribution of the policy.
        action_space: Action space of a single environment.
        seed: Seed of the exploration.
        keeps: Memory that `adapt` keeps: the "last" or the "best" one, see `RL2Config`.
    """

    adaptation_steps = 1
    exploration: Exploration
    attackable = True
    samples = True

    def __init__(
        self,
        policy: RecurrentPolicy,
        distribution: ActionDistribution,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        seed: int,
        keeps: Literal["last", "best"] = "last",
    ) -> None:
        self.policy: StatefulPolicy = policy
        self._keeps_best = keeps == "best"
        self._distribution = distribution
        self.action_space = action_space
        self.observation_size = policy.observation_normalizer.mean.shape[0]
        self._device = next(policy.parameters()).device
        self.exploration = Exploration(distribution, seed)
        self._transfer = InputTransfer(self.observation_size, self._device)
        self.init()

    def init(self) -> None:
        """See `Agent`."""
        self._memory: Memory | None = None
        self._before_action: Memory | None = None  # set between an action and its outcome
        self._adapted: Memory | None = None
        self._judging = False  # the memory, by the episodes that are played
        self._best_memory: BestMemory | None = None
        self.exploration.restart()

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """See `Agent`."""
        if self._keeps_best and not self._judging:
            self._begin_judging(self._memory or self._initial_memory(len(observations)))
        return self._act(observations, explore=not self._keeps_best), {}

    def _begin_judging(self, memory: Memory) -> None:
        self._judging = True
        if self._best_memory is None:
            self._best_memory = BestMemory(memory)
        else:
            self._best_memory.begin(memory)

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `Agent`."""
        return self._act(observations, explore=False)

    def sample_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """See `TrainedAgent`."""
        return self._act(observations, explore=True)

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """See `Agent`; where a step is not valid, restores the memory before the action."""
        if self._memory is None or self._before_action is None:
            raise UserError("step is told the outcome of an action, once: ask for the action first")
        self._check_step(timestep, len(self._memory.state), valid)
        previous = PreviousStep.of(self._memory.previous.actions, timestep)
        played = self._memory._replace(previous=previous)
        self._memory = played if valid is None else played.where(valid, self._before_action)
        self._before_action = None
        if self._judging and self._best_memory is not None:
            self._best_memory.step(self._memory, timestep, valid)

    def adapt(self) -> None:
        """See `Agent`; keeps the last memory, or the best one."""
        self._adapted = self._memory if self._best_memory is None else self._best_memory.memory

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """See `Agent`."""
        self._check_mask(env_mask)
        self._judging = False
        adapted = self._adapted or self._initial_memory(len(env_mask))
        starting = adapted.previous._replace(episode_start=np.ones_like(env_mask))
        self._memory = adapted._replace(previous=starting).where(env_mask, self._memory or adapted)
        if env_mask.all():
            self._before_action = None

    def act(
        self,
        observation: npt.NDArray[Any],
        reward: SupportsFloat = 0.0,
        episode_start: bool | np.bool_ = False,
        *,
        explore: bool = False,
    ) -> npt.NDArray[Any]:
        """Chooses the action of a single environment; the memory lasts across episodes, so the agent keeps adapting.

        `init` empties the memory; `reset` restores the one kept by the last `adapt`, or an empty one.

        Args:
            observation: `(obs,)`, in the environment's units.
            reward: Reward of the previous action, which may have ended the episode before; ignored after `init` or
                `reset`.
            episode_start: True if an episode starts with this observation; always true after `init` or `reset`.
            explore: True to sample the action, as in training; false to take the likeliest.

        Returns:
            Action `(action,)` in the environment's units, or an integer `()` where actions are discrete.

        Raises:
            UserError: If the agent acts in several environments, or a number is not finite or of wrong shape.
        """
        self._check_single("act")
        seen, earned = as_numbers("observation", observation), as_numbers("reward", np.asarray(reward))
        if seen.shape != (self.observation_size,):
            raise UserError(f"observation must have shape {(self.observation_size,)}: got {seen.shape}")
        if earned.size != 1:
            raise UserError(f"reward must be a single number: got shape {earned.shape}")
        if not (np.isfinite(seen).all() and np.isfinite(earned).all()):
            raise UserError("observation and reward must be finite numbers")
        if episode_start or self._memory is None:
            self._begin_episode()
        if self._memory is not None and self._before_action is not None:
            previous = self._memory.previous._replace(
                rewards=earned.reshape(1), episode_start=np.array([bool(episode_start)])
            )
            self._memory = self._memory._replace(previous=previous)
        return np.asarray(self._act(seen[None], explore=explore)[0])

    def _begin_episode(self) -> None:
        """Prepares `act` for an episode: nothing to do, as the memory lasts across episodes."""

    @property
    def num_envs(self) -> int | None:
        """See `TrainedAgent`."""
        return None if self._memory is None else len(self._memory.state)

    def attack_gradient(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """See `TrainedAgent`."""
        observations = self._check_observations(observations)
        memory = self._memory or self._initial_memory(len(observations))
        inputs = self._transfer(observations, memory.previous)
        gradient = ascent_direction(
            self._distribution,
            lambda seen: self.policy.step(inputs._replace(observations=seen), memory.state)[0],
            inputs.observations,
        )
        return gradient.cpu().numpy()

    def trace(self) -> AdaptationTrace | None:
        """See `TrainedAgent`; the recurrent state of the kept memory."""
        if self._adapted is None:
            return None
        return AdaptationTrace("recurrent state", self._adapted.state.double().cpu().numpy())

    def replay(self, timestep: Timestep) -> None:
        """See `TrainedAgent`; recorded episodes judge no memory, and `adapt` keeps the last one."""
        self._judging, self._best_memory = False, None
        self._act(timestep.observation, explore=False)
        assert self._memory is not None
        actions = torch.as_tensor(to_vectors(timestep.action, self.action_space), device=self._device)
        self._memory = self._memory._replace(previous=self._memory.previous._replace(actions=actions))
        self.step(timestep)

    def exportable(self, env: int) -> Exportable:
        """See `TrainedAgent`."""
        if not isinstance(self.policy, RecurrentPolicy):
            raise UserError("an agent whose state is held is a control for evaluations, not for export")
        memory = self._adapted or self._initial_memory(self.num_envs or 1)
        initial = {
            "previous_action": memory.previous.actions[env : env + 1].cpu(),
            "previous_reward": torch.as_tensor(memory.previous.rewards[env : env + 1], dtype=torch.float32),
            "episode_start": torch.ones(1, dtype=torch.bool),
            "state": memory.state[env : env + 1].cpu(),
        }
        policy = deepcopy(self.policy).cpu()
        return Exportable(
            _GreedyStep(policy, self._distribution, EnvironmentActions(self.action_space)),
            {"observation": example_observations(policy.observation_normalizer)}
            | {name: torch.cat([tensor, tensor]) for name, tensor in initial.items()},
            ["action", "next_previous_action", "next_state"],
            {
                "algorithm": "rl2",
                "adapted": "true" if self._adapted else "false",
                "initial_inputs": json.dumps({name: tensor.tolist() for name, tensor in initial.items()}),
            },
        )

    @torch.no_grad()
    def _act(self, observations: npt.NDArray[np.float64], *, explore: bool) -> npt.NDArray[Any]:
        observations = self._with_context(self._check_observations(observations))
        memory = self._memory or self._initial_memory(len(observations))
        inputs = self._transfer(observations, memory.previous)
        outputs, state = self.policy.step(inputs, memory.state)
        check_outputs(outputs, state)
        actions = self.exploration.sample(outputs) if explore else self._distribution.mode(outputs)
        self._before_action = memory
        none = PreviousStep.none(len(observations), 0, self._device)  # until `step` brings the outcome
        self._memory = Memory(state, none._replace(actions=actions, episode_start=~none.episode_start))
        return to_environment(actions.cpu().numpy(), self.action_space)

    def _with_context(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Returns what the policy sees: the observations, and what a subclass adds to them."""
        return observations

    def _initial_memory(self, num_envs: int) -> Memory:
        previous = PreviousStep.none(num_envs, self._distribution.action_size, self._device)
        return Memory(self.policy.initial_state(num_envs), previous)


class _GreedyStep(nn.Module):
    """Module that computes `eval_action`, with the memory as input and output."""

    def __init__(self, policy: RecurrentPolicy, distribution: ActionDistribution, to_environment: nn.Module) -> None:
        super().__init__()
        self.policy = policy
        self.to_environment = to_environment
        self._distribution = distribution

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        observations, previous_actions, previous_rewards, episode_start, state = inputs
        observations, whole = replace_lost(observations, self.policy.observation_normalizer)
        whole = whole & torch.isfinite(previous_rewards)
        rewards = torch.where(torch.isfinite(previous_rewards), previous_rewards, 0.0)
        seen = PolicyInput(observations, previous_actions, rewards, episode_start)
        parameters, following = self.policy.step(seen, state)
        actions = self._distribution.mode(parameters)
        # A step with a number that was lost commands an action, but leaves nothing in the memory.
        kept = whole.unsqueeze(-1)
        remembered = torch.where(kept, actions, previous_actions)
        return self.to_environment(actions), remembered, torch.where(kept, following, state)
