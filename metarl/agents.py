"""What adapts: the contract between a meta-learned policy and whoever evaluates or deploys it."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from metarl.types import Timestep


@runtime_checkable
class Agent(Protocol):
    """Adapts to a batch of unknown tasks, one per environment; a superset of `metaworld.evaluation.MetaLearningAgent`.

    The order of calls, for every batch of tasks:

    1. `init` forgets everything about earlier tasks.
    2. `adaptation_steps` times: play episodes with `adapt_action`, telling each step to `step`, then call `adapt`.
       Without any episode (zero-shot), `adapt` is called all the same.
    3. Before each evaluation episode `reset`, for those environments that begin one; then `eval_action` for each step,
       each told to `step` (an evaluator that does not tell, such as Meta-World's, costs recurrent agents the reward).
    """

    adaptation_steps: int
    """How many rounds of episodes and `adapt` one adaptation consists of: MAML's inner steps, 1 for RL²."""

    def init(self) -> None:
        """Forgets everything about earlier tasks."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """Exploration actions for observations `(env, obs)`, and arrays `(env, ...)` to hand back to `step`."""

    def step(self, timestep: Timestep) -> None:
        """Is told what the last actions led to."""

    def adapt(self) -> None:
        """Adapts to the episodes told since the last `init` or `adapt`."""

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """Prepares the environments in `env_mask`, shape `(env,)`, for a new evaluation episode."""

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """The adapted policy's actions for observations `(env, obs)`."""
