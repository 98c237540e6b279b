"""Environments of a training: those that it samples from, and those that it evaluates in."""

from __future__ import annotations

from contextlib import ExitStack, closing

from metarl.algorithms.base import Algorithm
from metarl.config import RunConfig
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError


class TrainingEnvs:
    """Environments of a training, as many as its configuration asks for and no more.

    Args:
        distribution: Makes the environments.
        algorithm: Algorithm that samples from them.
        config: Configuration of the run.
        num_held_out: Number of tasks to evaluate on.

    Raises:
        UserError: If environments cannot be made, or the meta-batch cannot be halved although it should.
    """

    def __init__(
        self, distribution: TaskDistribution, algorithm: Algorithm, config: RunConfig, num_held_out: int
    ) -> None:
        self._distribution = distribution
        self.num_test = min(config.evaluation.num_envs or algorithm.num_envs, num_held_out)
        """Number of environments to evaluate in."""
        self._test: TaskVectorEnv | None = None
        counts = _split(algorithm, config.double_buffered)
        with ExitStack() as resources:  # closes all of them if one cannot be made
            self.training = [resources.enter_context(closing(distribution.make_env(count))) for count in counts]
            """Vectors to sample from: one, or two for double buffering."""
            self._resources = resources.pop_all()
        if config.evaluation.every != 0:
            try:
                _ = self.test  # what cannot be made is found now rather than at the first evaluation
            except BaseException:
                self.close()
                raise

    @property
    def test(self) -> TaskVectorEnv:
        """Vector to evaluate in, made when first needed; one to sample from, if that has as many environments."""
        if self._test is None:
            if self.training[0].num_envs == self.num_test:
                self._test = self.training[0]
            else:
                self._test = self._resources.enter_context(closing(self._distribution.make_env(self.num_test)))
        return self._test

    def close(self) -> None:
        """Closes all environments."""
        self._resources.close()


def _split(algorithm: Algorithm, double_buffered: bool) -> list[int]:
    """Returns the number of environments of each vector: one with all, or two with half of the tasks each."""
    tasks = algorithm.meta_batch
    if not double_buffered:
        return [algorithm.num_envs]
    if tasks < 2:
        raise UserError("double_buffered: algorithm.meta_batch is 1, and one task cannot be halved; set it to False")
    # With n environments per task: ceil(tasks / 2) n and floor(tasks / 2) n
    envs_per_task = algorithm.num_envs // tasks
    return [(tasks - tasks // 2) * envs_per_task, tasks // 2 * envs_per_task]
