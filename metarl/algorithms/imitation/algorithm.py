"""Imitation: learning to imitate few demonstrations, as an algorithm like the others."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import gymnasium as gym
import torch
from torch import Tensor

from metarl.acting.sampler import Sampler
from metarl.algorithms.base import IterationResult
from metarl.algorithms.imitation.agent import ImitationAgent
from metarl.algorithms.imitation.config import ImitationConfig
from metarl.algorithms.imitation.library import Lesson, Library, Steps
from metarl.algorithms.imitation.ways import make_way
from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl.demonstrations.reading import load
from metarl.optim.guard import UpdateGuard
from metarl.optim.module_adam import ModuleAdam
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError

_WAY, _OPTIMIZER, _DATASET = "way.", "optimizer.", "dataset"


class Imitation:
    """Learns to imitate few demonstrations; see `metarl.algorithms.base.Algorithm`.

    It plays nothing in training: it clones demonstrations of training tasks after others of the same tasks.

    Args:
        config: Settings.
        distribution: Tasks that are shown, and that the policy is evaluated on.
        device: Device to learn and act on.

    Raises:
        UserError: See `ImitationConfig.build`.
    """

    training_state = (_OPTIMIZER, "skipped_in_a_row")

    def __init__(self, config: ImitationConfig, distribution: TaskDistribution, device: torch.device) -> None:
        if not distribution.simulated:
            raise UserError("tasks.kind: imitation is evaluated by playing, so it needs tasks that can be played")
        if not isinstance(distribution.action_space, gym.spaces.Box):
            raise UserError(f"algorithm.kind: imitation clones continuous actions, and {distribution.name} has others")
        self.config, self.device = config, device
        self.meta_batch = self.num_envs = config.meta_batch
        self.action_space = distribution.action_space
        self._distribution = distribution
        sizes = distribution.observation_space.shape[0], distribution.action_space.shape[0]
        self.way = make_way(*sizes, config.way).to(device)
        """Way from demonstrations to a policy."""
        self._digest = torch.tensor(0)
        """Hash of the demonstrations that were learned from; 0 before."""
        self._guard = UpdateGuard("algorithm.lr")
        self._adam = ModuleAdam(self.way, config.lr, self._guard)

    @cached_property
    def demonstrations(self) -> Demonstrations:
        """The dataset, read when it is first needed: a trained policy acts without it.

        Raises:
            UserError: If there is no such dataset, it is damaged, of other spaces, or lacks a class.
        """
        demonstrations = load(self.config.dataset)
        demonstrations.check_spaces(self._distribution)
        tasks = (*self._distribution.train_tasks, *self._distribution.test_tasks)
        return demonstrations.of_classes(list(dict.fromkeys(task.name for task in tasks)))

    @cached_property
    def library(self) -> Library:
        """Demonstrations of training tasks.

        Raises:
            UserError: If there are too few of them, or others than training began with.
        """
        wanted = frozenset(self._distribution.train_tasks)
        if not any(each.task in wanted for each in self.demonstrations):
            raise UserError(
                f"algorithm.dataset: {self.config.dataset} shows no training task of {self._distribution.name}: collect"
                " its goals, with the same seed of goals"
            )
        library = Library(self.demonstrations.of_tasks(wanted), self.config, self.action_space, self.device)
        if self._digest not in (0, library.digest):
            raise UserError(f"algorithm.dataset: {self.config.dataset} is no longer what training began with")
        self._digest = torch.tensor(library.digest)
        return library

    def warm_up(self, sampler: Sampler) -> None:
        """See `Algorithm`; takes the observations' statistics from the demonstrations."""
        library = self.library
        observations = library.steps.observations
        valid = torch.arange(observations.shape[1]) < library.lengths.unsqueeze(1)
        self.way.normalizer.update(observations, valid.to(self.device))

    def meta_iteration(self, sampler: Sampler, generator: torch.Generator) -> IterationResult:
        """Draws demonstrations of training tasks and takes one step; see `Algorithm`.

        Args:
            sampler: Counts the steps of the demonstrations drawn; nothing is played.
            generator: The source of randomness.
        """
        self._guard.start_iteration()
        shots = self.config.shots[int(torch.randint(len(self.config.shots), (), generator=generator))]
        lesson, sampled = self.library.draw(shots, self.way.window, generator)
        lesson = Lesson(*map(self.standardised, lesson))
        loss, metrics = self.way.loss(lesson._replace(cloned=self._with_noise(lesson.cloned, generator)))
        gradient = self._adam.step(loss)
        sampler.steps += sampled
        metrics |= {"train/loss": loss.item(), "train/shots": float(shots), "train/grad_norm": gradient.norm().item()}
        return IterationResult(None, None, self._guard.skipped, metrics, score=-loss.item())

    def standardised(self, steps: Steps) -> Steps:
        """Returns steps with standardised observations."""
        return steps._replace(observations=self.way.normalizer(steps.observations))

    def _with_noise(self, steps: Steps, generator: torch.Generator) -> Steps:
        """Returns the steps as they are seen from nearby: so that a policy finds back that has left the path."""
        if not self.config.noise:
            return steps
        noise = torch.randn(steps.observations.shape, generator=generator).to(self.device)
        return steps._replace(observations=steps.observations + self.config.noise * noise)

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        """Returns the first demonstrations of a task in the dataset.

        Raises:
            UserError: If there are fewer.
        """
        found = [each for each in self.demonstrations if each.task == task]
        if len(found) < count:
            raise UserError(
                f"{self.demonstrations.name} has {len(found)} demonstrations of a goal of {task.name}"
                f" ({task.parameters.round(3).tolist()}): {count} are needed; collect more goals, or more"
                " episodes of each"
            )
        return found[:count]

    def make_agent(self, seed: int) -> ImitationAgent:
        """See `Algorithm`; nothing is drawn from the seed, as the agent does not explore."""
        return ImitationAgent(self)

    def state_dict(self) -> dict[str, Tensor]:
        """See `Algorithm`."""
        state = {_WAY + name: value.detach().clone() for name, value in self.way.state_dict().items()}
        state |= {_OPTIMIZER + name: value for name, value in self._adam.state_dict().items()}
        return state | {_DATASET: self._digest} | self._guard.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Algorithm`."""
        on_device = {name: value.to(self.device) for name, value in state.items()}
        self.way.load_state_dict(
            {name.removeprefix(_WAY): value for name, value in on_device.items() if name.startswith(_WAY)}
        )
        self._adam.load_state_dict({name: on_device[_OPTIMIZER + name] for name in self._adam.state_dict()})
        self._digest = state[_DATASET]
        self._guard.load_state_dict(state)
