"""Environments of a training: those that it samples from, and those that it evaluates in."""

from __future__ import annotations

from contextlib import ExitStack, closing

from metarl.acting.observation_scale import observation_scale
from metarl.algorithms.base import Algorithm
from metarl.config import RunConfig
from metarl.ranks import ALONE, Ranks
from metarl.seeding import Stream, generator
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError
from metarl_envs.perturbed import PerturbedVectorEnv


class TrainingEnvs:
    """Environments of a training, as many as its configuration asks for and no more.

    An algorithm that plays nothing has none to sample from.

    Args:
        distribution: Makes the environments.
        algorithm: Algorithm that samples from them.
        config: Configuration of the run.
        num_held_out: Number of tasks to evaluate on.
        ranks: Processes that share the tasks; this one makes the environments of its own share.

    Raises:
        UserError: If environments cannot be made, or the meta-batch cannot be halved although it should.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        algorithm: Algorithm,
        config: RunConfig,
        num_held_out: int,
        ranks: Ranks = ALONE,
    ) -> None:
        self._distribution = distribution
        self.num_test = min(config.evaluation.num_envs or algorithm.num_envs or algorithm.meta_batch, num_held_out)
        """Number of environments to evaluate in, those of all processes together."""
        self._num_own_test = self.num_test
        if num_held_out >= ranks.size:
            self._num_own_test = len(ranks.share(range(max(self.num_test, ranks.size))))
        self._test: TaskVectorEnv | None = None
        self.indices = ranks.share(range(algorithm.meta_batch))
        """Index in the meta-batch of each task to sample."""
        self._envs_per_task = algorithm.num_envs // algorithm.meta_batch
        counts = _split(len(self.indices), self._envs_per_task, config.double_buffered) if algorithm.num_envs else []
        self._augmentation = config.augmentation
        with ExitStack() as resources:  # closes all of them if one cannot be made
            self.training = [resources.enter_context(closing(distribution.make_env(count))) for count in counts]
            """Vectors to sample from: one, or two for double buffering."""
            if self._augmentation.active:
                scale = observation_scale(distribution) if self._augmentation.sensor_noise else None
                self.training = [PerturbedVectorEnv(env, scale) for env in self.training]
                self.augment((0,))  # what cannot be perturbed is found now
            self._resources = resources.pop_all()
        if config.evaluation.every != 0 and distribution.simulated:
            try:
                _ = self.test  # what cannot be made is found now rather than at the first evaluation
            except BaseException:
                self.close()
                raise

    @property
    def test(self) -> TaskVectorEnv:
        """Vector of this process to evaluate in, made when first needed; one to sample from, if that is as large.

        With augmentation it is always one of its own, which nothing perturbs.
        """
        if self._test is None:
            if self.training and self.training[0].num_envs == self._num_own_test and not self._augmentation.active:
                self._test = self.training[0]
            else:
                self._test = self._resources.enter_context(closing(self._distribution.make_env(self._num_own_test)))
        return self._test

    def augment(self, key: tuple[int, ...]) -> None:
        """Draws the perturbations of a meta-batch, if the configuration asks for any.

        Args:
            key: Seed of the run, followed by the key of a random stream; each task's draws derive from it.

        Raises:
            UserError: If the environments cannot be perturbed so.
        """
        first = 0
        for env in self.training:
            if isinstance(env, PerturbedVectorEnv):
                last = first + env.num_envs // self._envs_per_task
                # perturbations of task i of the meta-batch = draw(key, i), the same in all of its environments
                drawn = [
                    self._augmentation.draw(generator(key[0], Stream.PERTURBATION, *key[1:], i))
                    for i in self.indices[first:last]
                ]
                try:
                    env.perturb([each for each in drawn for _ in range(self._envs_per_task)])
                except UserError as error:
                    raise UserError(f"augmentation: {error}") from None
                first = last

    def close(self) -> None:
        """Closes all environments."""
        self._resources.close()


def _split(tasks: int, envs_per_task: int, double_buffered: bool) -> list[int]:
    """Returns the number of environments of each vector: one with all, or two with half of the tasks each."""
    if not double_buffered:
        return [tasks * envs_per_task]
    if tasks < 2:
        raise UserError(
            "double_buffered: this process has one task of algorithm.meta_batch, which cannot be halved; set it to"
            " False"
        )
    # With n environments per task: ceil(tasks / 2) n and floor(tasks / 2) n
    return [(tasks - tasks // 2) * envs_per_task, tasks // 2 * envs_per_task]
