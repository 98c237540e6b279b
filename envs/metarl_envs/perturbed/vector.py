"""Vector of environments under perturbations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metarl_envs.core import FloatArray, StepResult, TaskVectorEnv
from metarl_envs.dynamics import UNCHANGED
from metarl_envs.errors import UserError
from metarl_envs.perturbed.effects import Effect, IntArray
from metarl_envs.perturbed.settings import PERTURBATIONS, Perturbation
from metarl_envs.wrapping import TaskVectorWrapper

TRUE_REWARD = "true_reward"
"""Key in `infos` of the rewards `(env,)` of the task, where the agent is told others."""


class PerturbedVectorEnv(TaskVectorWrapper):
    """Environments between which and the agent something goes wrong; at first nothing does.

    Noise derives from an environment's seed, the kind of perturbation and the number of the episode since the reset. It
    depends neither on the other environments nor on other perturbations. Where rewards are perturbed, `infos` has the
    true ones as `true_reward`.

    Args:
        env: Environments to perturb; closed with this one.
        scale: Standard deviation of each element of an observation, `(obs,)`, the unit of `SensorNoise`; None is 1.
    """

    def __init__(self, env: TaskVectorEnv, scale: FloatArray | None = None) -> None:
        super().__init__(env)
        self._scale = np.ones(env.single_observation_space.shape) if scale is None else scale
        self._all = np.arange(env.num_envs)
        self._seeds = [np.random.SeedSequence().generate_state(1).item() for _ in range(env.num_envs)]
        self._episodes = np.zeros(env.num_envs, dtype=np.int64)
        self._effects: dict[int, Effect] = {}
        """Effects by the number of their kind, in the order in which they are applied."""

    def perturb(self, perturbations: Sequence[Sequence[Perturbation]]) -> None:
        """Replaces all perturbations, from the next `reset` on.

        Args:
            perturbations: Those of each environment, at most one of a kind.

        Raises:
            UserError: If there is not one sequence for each environment, an environment has two of a kind, or the
                environments cannot be perturbed so.
        """
        if len(perturbations) != self.num_envs:
            raise UserError(f"perturb needs one sequence per environment: got {len(perturbations)} for {self.num_envs}")
        strengths = np.zeros((len(PERTURBATIONS), self.num_envs))
        dynamics = [UNCHANGED] * self.num_envs
        names = list(PERTURBATIONS)
        for env, several in enumerate(perturbations):
            if len({each.name for each in several}) < len(several):
                raise UserError(f"an environment can have one perturbation of a kind: got {several}")
            for each in several:
                if reason := each.obstacle(self.env):
                    raise UserError(reason)
                strengths[names.index(each.name), env] = each.strength
                dynamics[env] = each.dynamics(dynamics[env])
        self._effects = {
            number: kind.effect(strengths[number], self.env, self._scale)
            for number, kind in enumerate(PERTURBATIONS.values())
            if strengths[number].any()
        }
        if self.env.has_dynamics:
            self.env.set_dynamics(dynamics)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[FloatArray, dict[str, Any]]:
        """See `TaskVectorEnv`; seeds determine the noise too."""
        for env, number in enumerate(self._seed_each(seed)):
            if number is not None:
                self._seeds[env], self._episodes[env] = number, -1
        observations, infos = super().reset(seed=seed, options=options)
        self._begin(self._all)
        return self._observe(observations, self._all), infos

    def send(self, actions: npt.NDArray[Any]) -> None:
        """See `TaskVectorEnv`."""
        for effect in self._effects.values():
            actions = effect.act(actions)
        super().send(actions)

    def receive(self) -> StepResult:
        """See `TaskVectorEnv`."""
        observations, rewards, terminated, truncated, infos = super().receive()
        ended = terminated | truncated
        told = rewards
        for effect in self._effects.values():
            told = effect.tell(told, ended)
        if told is not rewards:
            infos = {**infos, TRUE_REWARD: rewards}
        if not ended.any():
            return self._observe(observations, self._all), told, terminated, truncated, infos
        # Each environment sees one observation of the episode in progress, and one of the next where that begins.
        seen = self._observe(np.where(ended[:, None], infos["final_obs"], observations), self._all)
        infos = {**infos, "final_obs": seen.copy()}
        beginning = np.flatnonzero(ended)
        self._begin(beginning)
        seen[beginning] = self._observe(observations[beginning], beginning)
        return seen, told, terminated, truncated, infos

    def _begin(self, envs: IntArray) -> None:
        """Begins the next episode of environments."""
        self._episodes[envs] += 1
        for env in envs.tolist():
            for kind, effect in self._effects.items():
                # the stream of an episode's noise: (seed of the environment; kind, episode)
                key = (kind, int(self._episodes[env]))
                effect.begin(env, np.random.default_rng(np.random.SeedSequence(self._seeds[env], spawn_key=key)))

    def _observe(self, observations: FloatArray, envs: IntArray) -> FloatArray:
        for effect in self._effects.values():
            observations = effect.observe(observations, envs)
        return observations
