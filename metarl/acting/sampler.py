"""Sampling of the training episodes of one meta-iteration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np
import torch

from metarl.acting.play import Actor, VectorPlay, play
from metarl.data.rollout_buffer import RolloutBuffer
from metarl.data.trajectories import Trajectories
from metarl.devices import one_torch_thread, seconds_now
from metarl.policies.distributions import action_distribution
from metarl.seeding import derive_seeds, generator
from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError

MakeActor = Callable[[slice, Sequence[np.random.Generator]], Actor]
"""Makes the actor of one vector of environments, from the slice of its tasks and a generator of each environment.

What an actor draws for an environment, it draws from that one's generator: an episode then depends on neither the other
tasks that are played beside it nor the number of processes."""


class Sampler:
    """Collects episodes of the tasks of one meta-iteration; all random draws derive from the key and a task's index.

    The environments are split evenly among the tasks: with n for each, environments i n to (i + 1) n - 1 play task i.

    Args:
        envs: One vector of environments, or several, which are then played double-buffered: the policy acts in one
            while the others step. Indices of environments and tasks run through all vectors.
        tasks: Tasks to play: a meta-batch, or a process's share of one.
        key: Seed of the run, followed by the key of a random stream; see `metarl.seeding.derive_seeds`.
        device: Device of the policy, which trajectories are moved to.
        indices: Index of each task in the meta-batch; None where `tasks` are all of it.

    Raises:
        UserError: If the environments cannot be split evenly among the tasks.
    """

    def __init__(
        self,
        envs: Sequence[TaskVectorEnv],
        tasks: Sequence[Task],
        key: tuple[int, ...],
        device: torch.device,
        indices: Sequence[int] | None = None,
    ) -> None:
        began = seconds_now(device)
        self.tasks = tuple(tasks)
        """Tasks to play."""
        self.indices = tuple(range(len(tasks)) if indices is None else indices)
        """Index of each task in the meta-batch."""
        self._num_envs = sum(env.num_envs for env in envs)
        if self._num_envs % len(tasks) != 0:
            raise UserError(f"{self._num_envs} environments cannot be split evenly among {len(tasks)} tasks")
        self._envs_per_task = self._num_envs // len(tasks)
        self._envs = envs
        ends = list(accumulate(env.num_envs // self._envs_per_task for env in envs))
        self._slices = [slice(*bounds) for bounds in pairwise([0, *ends])]
        """Slice of `tasks` that each vector plays."""
        self._key = key
        self._collections = 0
        self._device = device
        self.steps = 0
        """Number of environment steps collected so far."""
        self.divergences: list[Divergence] = []
        """Simulations that diverged so far; the steps in which they did are not in the trajectories."""
        for env, which in zip(envs, self._slices, strict=True):
            env.set_tasks([task for task in self.tasks[which] for _ in range(self._envs_per_task)])
        self.seconds = seconds_now(device) - began
        """Time spent on setting the tasks and on collecting so far, in seconds."""

    @one_torch_thread()
    def collect(self, make_actor: MakeActor, episodes: int) -> Trajectories:
        """Plays `episodes` episodes of each task, in all environments of the task at once.

        Args:
            make_actor: Makes the actor of each vector of environments.
            episodes: Number of episodes per task, a multiple of the number of environments per task.

        Returns:
            Trajectories with the axes `task episode step`; if a task has one environment, in the order played.

        Raises:
            UserError: If `episodes` is not such a multiple, or below 1.
        """
        if episodes < 1 or episodes % self._envs_per_task != 0:
            raise UserError(
                f"episodes must be a multiple of {self._envs_per_task}, the environments per task: got {episodes}"
            )
        began = seconds_now(self._device)
        # Each of a task's n environments plays episodes / n of them.
        episodes_per_env = episodes // self._envs_per_task
        vectors = self._reset(make_actor, episodes_per_env)
        buffers = [self._make_buffer(env, episodes_per_env) for env in self._envs]
        for step in play(vectors):
            buffers[step.vector].add(step)
            self.divergences += step.divergences
        records = [
            buffer.trajectories(which.stop - which.start, self.tasks[which])
            for buffer, which in zip(buffers, self._slices, strict=True)
        ]
        trajectories = Trajectories.cat(records).to(self._device)
        self.steps += trajectories.num_steps
        self.seconds += seconds_now(self._device) - began
        return trajectories

    def _reset(self, make_actor: MakeActor, episodes: int) -> list[VectorPlay]:
        """Resets all environments, each with its own seed, and makes the actors."""
        # Environment e = i n + j of the meta-batch is the j-th of the n that play its task i:
        # seed = derive(key, number of the collection)_e,  noise = generator(key, number of the collection, e)
        count = self._envs_per_task
        envs = [index * count + each for index in self.indices for each in range(count)]
        key = (*self._key, self._collections)
        seeds = derive_seeds(*key, count=max(envs) + 1)
        self._collections += 1
        vectors = []
        for env, which in zip(self._envs, self._slices, strict=True):
            own = envs[which.start * count : which.stop * count]
            actor = make_actor(which, [generator(*key, each) for each in own])
            vectors.append(VectorPlay(env, actor, episodes, [seeds[each] for each in own]))
        return vectors

    def _make_buffer(self, env: TaskVectorEnv, episodes: int) -> RolloutBuffer:
        distribution = action_distribution(env.single_action_space)
        observation_size = env.single_observation_space.shape[0]
        return RolloutBuffer(env.num_envs, episodes, env.horizon, observation_size, distribution)
