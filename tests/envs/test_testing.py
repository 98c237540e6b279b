"""The checker for task distributions finds what it says it finds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from metarl_envs.core import StepResult, Task
from metarl_envs.navigation import Navigation, NavigationVectorEnv
from metarl_envs.testing import check_distribution


class Broken(NavigationVectorEnv):
    """Navigation that falls short of the contract in the way its first argument says."""

    played = 0

    def __init__(self, flaw: str, num_envs: int, horizon: int) -> None:
        super().__init__(num_envs, horizon)
        self._flaw = flaw
        self._buffer = np.zeros((num_envs, 2))

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        if self._flaw == "accepts any number of tasks":
            self.tasks = tuple(tasks)
        else:
            super().set_tasks(tasks)

    def step(self, actions: npt.NDArray[Any]) -> StepResult:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        Broken.played += 1
        match self._flaw:
            case "reuses a buffer":
                self._buffer[:] = observations
                observations = self._buffer
            case "float32":
                observations = observations.astype(np.float32)
            case "never ends":
                truncated[:] = False
            case "forgets success":
                del infos["success"]
            case "final_obs without an end":
                infos |= {"final_obs": observations, "_final_obs": truncated}
            case "no final_obs":
                infos.pop("final_obs", None)
            case "wrong mask" if "_final_obs" in infos:
                infos["_final_obs"] = ~infos["_final_obs"]
            case "depends on history":
                rewards = rewards + Broken.played
            case "depends on others":
                rewards = rewards + self.num_envs
            case "not finite":
                observations[0, 0] = np.nan
        return observations, rewards, terminated, truncated, infos


class Family(Navigation):
    def __init__(self, flaw: str) -> None:
        super().__init__(num_train_tasks=4, num_test_tasks=4, horizon=3)
        self._flaw = flaw
        if flaw == "repeated task":
            self.train_tasks += self.train_tasks[:1]

    def sample(self, count: int, rng: np.random.Generator) -> list[Task]:
        if self._flaw == "samples by global state":
            rng = np.random.default_rng(len(self.__dict__.setdefault("calls", [])))
            self.__dict__["calls"].append(None)
        if self._flaw == "samples test tasks":
            return list(self.test_tasks[:count])
        return super().sample(count, rng)

    def make_env(self, num_envs: int, render_mode: str | None = None) -> Any:
        horizon = 2 if self._flaw == "another horizon" else self.horizon
        return Broken(self._flaw, num_envs, horizon)


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        ("repeated task", "a task is twice in train_tasks"),
        ("samples by global state", "sample depends on more than its generator"),
        ("samples test tasks", "sample draws a task that is not in train_tasks"),
        ("another horizon", "another horizon than the distribution"),
        ("accepts any number of tasks", "too few tasks must raise UserError"),
        ("reuses a buffer", "observations differ when looked at again after later steps"),
        ("float32", "step 1: observations are not float64"),
        ("never ends", "step 3: an episode went on beyond the horizon"),
        ("forgets success", r"step 1: infos\['success'\] is not an array"),
        ("final_obs without an end", "although no episode ended"),
        ("no final_obs", "step 3: final_obs or _final_obs is missing"),
        ("wrong mask", r"step 3: _final_obs is not terminated \| truncated"),
        ("not finite", "step 1: an observation is not finite"),
        ("depends on history", "rewards differ when played again"),
        ("depends on others", "rewards differ when played without the other environments"),
    ],
)
def test_a_broken_family_is_told_what_is_wrong(flaw: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_distribution(Family(flaw))


def test_a_sound_family_passes() -> None:
    check_distribution(Family("none"))
