"""Runs policies in a `TaskVectorEnv` and returns `Trajectories`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from metarl.devices import one_torch_thread, seconds_now
from metarl.policies.distributions import action_distribution
from metarl.policies.recurrent import RecurrentInput
from metarl.recording import Array, Recorder
from metarl.seeding import derive_seeds
from metarl.types import Trajectories
from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError


@runtime_checkable
class Actor(Protocol):
    """Chooses actions for all environments at once; whatever it remembers lasts from one `collect` to its end."""

    def act(
        self, inputs: RecurrentInput, generator: torch.Generator
    ) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """Actions and the parameters of the distributions they were drawn from; inputs have the leading axis `env`."""

    def part(self, tasks: slice) -> Actor:
        """An actor for the environments of some of the tasks, which does what this one would do in them."""


class RandomActor:
    """Draws actions uniformly from a bounded action space; the parameters of the distribution are reported as zero.

    Args:
        space: The action space of a single environment.
    """

    def __init__(self, space: gym.spaces.Box | gym.spaces.Discrete) -> None:
        self._space = space
        self._parameter_size = action_distribution(space).parameter_size

    def act(
        self, inputs: RecurrentInput, generator: torch.Generator
    ) -> tuple[Float[Tensor, "env action"], Float[Tensor, "env p"]]:
        """See `Actor`."""
        count = len(inputs.observations)
        nothing = torch.zeros(count, self._parameter_size)
        if isinstance(self._space, gym.spaces.Discrete):
            choices = torch.randint(int(self._space.n), (count,), generator=generator)
            return torch.nn.functional.one_hot(choices, int(self._space.n)).float(), nothing
        return 2 * torch.rand((count, self._space.shape[0]), generator=generator) - 1, nothing

    def part(self, tasks: slice) -> RandomActor:
        """See `Actor`."""
        return self


def to_environment(actions: npt.NDArray[Any], space: gym.spaces.Box | gym.spaces.Discrete) -> npt.NDArray[Any]:
    """Action vectors `(env, action)` of a policy as the environment takes them.

    A policy's actions are in units of the action space: -1 is its lower bound and 1 its upper bound, and what is beyond
    is clipped (as rllab's normalised environments, which the published hyperparameters are for). Of one-hot rows the
    index is taken.
    """
    return make_to_environment(space)(actions)


def make_to_environment(
    space: gym.spaces.Box | gym.spaces.Discrete,
) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """`to_environment` for one space, for those who call it in every step."""
    if isinstance(space, gym.spaces.Discrete):
        start = int(space.start)
        return lambda actions: np.asarray(actions.argmax(-1) + start)
    low, high, dtype = space.low, space.high, space.dtype
    middle, half = middle_and_half(space)
    return lambda actions: np.asarray(np.minimum(np.maximum(middle + half * actions, low), high), dtype=dtype)


def to_vectors(actions: npt.NDArray[Any], space: gym.spaces.Box | gym.spaces.Discrete) -> npt.NDArray[np.float32]:
    """The inverse of `to_environment`: actions as float vectors `(env, action)`, discrete ones one-hot."""
    if isinstance(space, gym.spaces.Discrete):
        return np.asarray(np.eye(int(space.n), dtype=np.float32)[actions - int(space.start)])
    middle, half = middle_and_half(space)
    return np.asarray((actions - middle) / half, dtype=np.float32)


def middle_and_half(space: gym.spaces.Box) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What a policy's 0 stands for, and how far its 1 is from it; 0 and 1 where the box has no bounds."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    bounded = np.isfinite(low) & np.isfinite(high)
    low, high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    return (low + high) / 2, (high - low) / 2


class _Link:
    """Between the simulator and the policy: what passes in a step takes one transfer each way."""

    def __init__(self, num_envs: int, observation_size: int, action_size: int, device: torch.device) -> None:
        self._device = device
        self._buffer = torch.empty(num_envs, observation_size + 2, pin_memory=device.type == "cuda")
        self._previous_actions = torch.zeros(num_envs, action_size, device=device)

    def to_policy(self, observations: Array, previous_rewards: Array, episode_start: Array) -> RecurrentInput:
        """The policy's inputs; the buffer is free again once the action that they lead to is there."""
        buffer = self._buffer.numpy()
        buffer[:, :-2], buffer[:, -2], buffer[:, -1] = observations, previous_rewards, episode_start
        here = self._buffer.to(self._device, non_blocking=True, copy=True)
        return RecurrentInput(here[:, :-2], self._previous_actions, here[:, -2], here[:, -1] != 0)

    def to_simulator(self, actions: Tensor, parameters: Tensor) -> tuple[Array, Array]:
        """Actions and the parameters of their distributions as arrays."""
        self._previous_actions = actions.to(self._device)
        both = torch.cat([actions, parameters], dim=1).cpu().numpy()
        size = actions.shape[1]
        return both[:, :size], both[:, size:]


class _Buffer:
    """One of the vectors that are sampled from, with what acts in it and the record of it.

    Args:
        env: The environments, their tasks set.
        actor: The policy, for these alone.
        episodes: Episodes to record of each.
        device: Where policies live.
        generator: What actions are drawn from.
        seeds: One per environment.
    """

    def __init__(
        self,
        env: TaskVectorEnv,
        actor: Actor,
        episodes: int,
        device: torch.device,
        generator: torch.Generator,
        seeds: Sequence[int],
    ) -> None:
        distribution = action_distribution(env.single_action_space)
        observation_size = env.single_observation_space.shape[0]
        self._env, self._actor, self._generator = env, actor, generator
        self._to_env = make_to_environment(env.single_action_space)
        self._link = _Link(env.num_envs, observation_size, distribution.action_size, device)
        self.recorder = Recorder(env.num_envs, episodes, env.horizon, observation_size, distribution)
        self._observations, _ = env.reset(seed=seeds)
        self._previous_rewards = np.zeros(env.num_envs)
        self._episode_start = np.ones(env.num_envs, np.bool_)

    def send(self) -> None:
        """Chooses actions and lets the environments begin their step."""
        inputs = self._link.to_policy(self._observations, self._previous_rewards, self._episode_start)
        with torch.inference_mode():
            chosen = self._actor.act(inputs, self._generator)
        self._actions, self._parameters = self._link.to_simulator(*chosen)
        self._env.send(self._to_env(self._actions))

    def receive(self) -> list[Divergence]:
        """Records the step when it is done; returns the simulations that blew up in it."""
        observations, rewards, terminated, truncated, infos = self._env.receive()
        self.recorder.add(
            self._observations,
            self._actions,
            self._parameters,
            rewards,
            infos["success"],
            terminated,
            truncated,
            infos.get("final_obs"),
            infos.get("diverged"),
        )
        self._observations, self._previous_rewards = observations, rewards
        self._episode_start = terminated | truncated
        divergences: list[Divergence] = infos.get("divergences", [])
        return divergences


class Sampler:
    """Collects episodes for the tasks of one meta-iteration; everything drawn follows from the key.

    The environments are split evenly among the tasks: with n for each, environments i*n to (i+1)*n - 1 play task i.

    Args:
        envs: One vector of environments, or several: then the policy acts for one while the others step (double
            buffering). Environments and tasks count through all of them.
        tasks: The meta-batch.
        key: The run's seed, and which stream of it to draw from.
        device: Where policies live and trajectories are wanted.

    Raises:
        UserError: If the environments cannot be split evenly among the tasks.
    """

    def __init__(
        self, envs: Sequence[TaskVectorEnv], tasks: Sequence[Task], key: tuple[int, ...], device: torch.device
    ) -> None:
        began = seconds_now(device)
        self._num_envs = sum(env.num_envs for env in envs)
        if self._num_envs % len(tasks) != 0:
            raise UserError(f"{self._num_envs} environments cannot be split evenly among {len(tasks)} tasks")
        self._lanes = self._num_envs // len(tasks)
        self._envs = envs
        ends = list(accumulate(env.num_envs // self._lanes for env in envs))
        self._tasks = [slice(*bounds) for bounds in pairwise([0, *ends])]
        """The tasks of each vector."""
        self._key = key
        self._phase = 0
        self._device = device
        self.steps = 0
        """Environment steps collected so far."""
        self.divergences: list[Divergence] = []
        """Simulations that blew up so far; their last steps are not in the trajectories."""
        for env, which in zip(envs, self._tasks, strict=True):
            env.set_tasks([task for task in tasks[which] for _ in range(self._lanes)])
        self.seconds = seconds_now(device) - began
        """How long setting the tasks and collecting took so far."""

    @one_torch_thread()
    def collect(self, actor: Actor, episodes: int) -> Trajectories:
        """Plays `episodes` episodes of each task, in as many environments at once as each task has.

        Args:
            actor: The policy.
            episodes: Episodes per task, a multiple of the environments per task.

        Returns:
            Trajectories with the axes `[task, episode, step]`; where a task has one environment, in the order played.
        """
        began = seconds_now(self._device)
        buffers = self._begin(actor, episodes)
        for buffer in buffers:
            buffer.send()
        while playing := [buffer for buffer in buffers if not buffer.recorder.full]:
            for buffer in playing:
                self.divergences += buffer.receive()
                if not buffer.recorder.full:
                    buffer.send()
        counts = [tasks.stop - tasks.start for tasks in self._tasks]
        parts = [buffer.recorder.trajectories(count) for buffer, count in zip(buffers, counts, strict=True)]
        trajectories = Trajectories.cat(parts).to(self._device)
        self.steps += trajectories.num_steps
        self.seconds += seconds_now(self._device) - began
        return trajectories

    def _begin(self, actor: Actor, episodes: int) -> list[_Buffer]:
        """Resets all environments."""
        *seeds, noise_seed = derive_seeds(*self._key, self._phase, count=self._num_envs + 1)
        self._phase += 1
        generator = torch.Generator().manual_seed(noise_seed)
        buffers = []
        for env, tasks in zip(self._envs, self._tasks, strict=True):
            own = seeds[tasks.start * self._lanes : tasks.stop * self._lanes]
            played = episodes // self._lanes
            buffers.append(_Buffer(env, actor.part(tasks), played, self._device, generator, own))
        return buffers
