"""What adapts: the contract between a meta-learned policy and whoever evaluates or deploys it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.exploration import Exploration
from metarl.acting.export import Exportable, describe_space, write_onnx
from metarl.data.episodes import Episode, check_episodes
from metarl.data.steps import BoolArray, Timestep, TimestepLike
from metarl.errors import RunFailure
from metarl_envs.core import Task
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.demonstrations.data import Demonstration

ActionChoice = Literal["likeliest", "sampled"]
"""Choice of an adapted agent's actions: the likeliest, by `Agent.eval_action`, or `TrainedAgent.sample_action`."""


def as_numbers(what: str, values: object) -> npt.NDArray[np.float64]:
    """Converts real numbers to a float64 array.

    Raises:
        UserError: If they are anything else, such as text, objects, complex numbers or rows of different lengths.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UserError(f"{what} must be an array of numbers")
    return array.astype(np.float64, copy=False)


def check_finite(what: str, array: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns an array with the leading axis `env`.

    Raises:
        UserError: If a number in it is not finite.
    """
    finite = np.isfinite(array)
    if not finite.all():
        at = tuple(int(index) for index in np.argwhere(~finite)[0])
        where = f"environment {at[0]}" + (f", number {at[1]}" if len(at) > 1 else "")
        raise UserError(f"{what} must be finite: {where} is {array[at]}")
    return array


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
    """Rounds of episodes and `adapt` in one adaptation: MAML's inner steps, 1 for RL²."""

    def init(self) -> None:
        """Forgets everything about earlier tasks."""

    def adapt_action(
        self, observations: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[Any], dict[str, npt.NDArray[np.float64]]]:
        """Exploration actions for observations `(env, obs)`, and arrays `(env, ...)` to hand back to `step`."""

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        """Receives the outcome of the last actions; `valid` is false where an environment only waits for others."""

    def adapt(self) -> None:
        """Adapts to the episodes told since the last `init` or `adapt`."""

    def reset(self, env_mask: npt.NDArray[np.bool_]) -> None:
        """Prepares the environments in `env_mask`, shape `(env,)`, for a new evaluation episode."""

    def eval_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """The adapted policy's actions for observations `(env, obs)`."""


def check_outputs(*outputs: Tensor) -> None:
    """Checks what a policy puts out before anything is commanded or remembered.

    Raises:
        RunFailure: If a number is not finite.
    """
    if not all(bool(torch.isfinite(output).all()) for output in outputs):
        raise RunFailure("the policy puts out numbers that are not finite: its parameters or inputs are too large")


@runtime_checkable
class Named(Protocol):
    """Agent that adapts by choosing, and can name what it chose."""

    @property
    def acting_as(self) -> list[str]:
        """Name of what each environment is played as now, such as the class that the policy learned it for."""


@runtime_checkable
class Shown(Protocol):
    """Agent that adapts to demonstrations instead of episodes that it plays."""

    def show(self, tasks: Sequence[Task], count: int) -> None:
        """Forgets everything, then adapts to demonstrations of the task of each environment.

        Args:
            tasks: Task of each environment.
            count: Number of demonstrations of each.

        Raises:
            UserError: If it has fewer.
        """

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        """Returns the demonstrations that it is shown of a task.

        Raises:
            UserError: If it has fewer.
        """


def adapts_on(agent: Agent) -> AdaptsOn:
    """Returns what an agent adapts on."""
    return AdaptsOn.DEMONSTRATIONS if isinstance(agent, Shown) else AdaptsOn.EPISODES


class Origin(NamedTuple):
    """Origin of an agent's parameters, written into its exports."""

    tasks: str
    """Name of the task distribution trained on."""
    task_fingerprint: str
    """`TaskDistribution.fingerprint`"""
    env_steps: int
    """Environment steps of training."""
    observation_space: gym.spaces.Box
    """Space of a single environment."""
    shown: str = ""
    """`TaskDistribution.shown`"""
    told_in_training: str = ""
    """`AlgorithmConfig.told_in_training`"""


class AdaptationTrace(NamedTuple):
    """What adaptation has left in an agent."""

    what: str
    """What the vectors are, such as "recurrent state"."""
    vectors: npt.NDArray[np.float64]
    """Vector of each environment, `(env, number)`."""
    names: tuple[str, ...] = ()
    """Name of each number; empty where they have none."""


class TrainedAgent(Agent):
    """Agent of a trained algorithm, which `metarl.load` returns.

    Subclasses set the attributes and implement `Agent`. Those that can learn from recorded episodes implement
    `num_envs` and `replay` as well, those that can be exported `num_envs` and `exportable`.
    """

    action_space: gym.spaces.Box | gym.spaces.Discrete
    """Space of a single environment."""
    observation_size: int
    """Length of an observation."""
    origin: Origin | None = None
    """Origin of the parameters; None if they were not read from a checkpoint."""
    exploration: Exploration | None = None
    """Draws the exploration actions from a stream for each environment; None if the agent draws them otherwise."""
    attackable: bool = False
    """True if `attack_gradient` is implemented."""
    samples: bool = False
    """True if `sample_action` is implemented."""

    @property
    def num_envs(self) -> int | None:
        """Number of environments that it has acted in or adapted to since `init`; None before the first."""
        return None

    def trace(self) -> AdaptationTrace | None:
        """Returns what the last `adapt` has left in the agent; None if such agents do not tell, or have not adapted."""
        return None

    def intent(self, env: int) -> str | None:
        """Describes in a few words what the agent tries in an environment's episode, for films; None if nothing."""
        return None

    def exportable(self, env: int) -> Exportable:
        """Returns the policy that acts in one environment.

        Raises:
            UserError: If such agents cannot be exported.
        """
        raise UserError(f"{type(self).__name__} cannot be exported: it does not implement exportable")

    def sample_action(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
        """Draws the adapted policy's actions for observations `(env, obs)`, in place of `eval_action`.

        Raises:
            UserError: If the policy is no distribution over actions.
        """
        raise UserError(f"{type(self).__name__} has no actions to sample: it does not implement sample_action")

    def attack_gradient(self, observations: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Computes the direction in which observations lead the agent away from the action it would choose.

        Args:
            observations: `(env, obs)` that an action is about to be asked for.

        Returns:
            Gradient `(env, obs)`; see `metarl.acting.adversary.ascent_direction`.

        Raises:
            UserError: If such agents have no gradient.
        """
        raise UserError(f"{type(self).__name__} has no gradient to attack it by: it does not implement attack_gradient")

    def replay(self, timestep: Timestep) -> None:
        """Takes in a step whose action was not asked of this agent.

        Raises:
            UserError: If such agents do not learn from recorded episodes.
        """
        raise UserError(f"{type(self).__name__} cannot adapt to recorded episodes: it does not implement replay")

    def adapt_on(self, episodes: Sequence[Episode | Sequence[Any]]) -> None:
        """Adapts to recorded episodes of one task, as `adapt` does to played ones, and further with each call.

        What is learned from should be what `adapt_action` would do: for MAML, episodes recorded with the policy as it
        is now; one call is one of its `adaptation_steps`. `init` forgets.

        Args:
            episodes: Of one environment, in the order played.

        Raises:
            UserError: If such agents do not learn from recorded episodes, the agent is used with several environments,
                or the episodes are not what they should be.
        """
        self._check_single("adapt_on")
        checked = check_episodes(episodes, self.observation_size, self.action_space)
        self.reset(np.ones(1, dtype=np.bool_))
        nothing = np.zeros(1, dtype=np.bool_)
        for observations, actions, rewards in checked:
            for step in range(len(rewards)):
                now = slice(step, step + 1)
                ended = np.array([step == len(rewards) - 1])
                self.replay(Timestep(observations[now], actions[now], rewards[now], nothing, ended, {}))
        self.adapt()

    def export(self, path: str | Path, env: int = 0) -> None:
        """Writes the policy that acts in one environment as an ONNX file; docs/adapt-and-deploy.md tells what is in it.

        Args:
            path: The file to write or replace.
            env: Which environment's policy, as adapted to it; the initial policy before any adaptation.

        Raises:
            UserError: If such agents cannot be exported, there is no such environment or folder, or the packages that
                this takes are not installed.
            RunFailure: If the file cannot be written.
        """
        if env not in range(self.num_envs or 1):
            raise UserError(f"env must be from 0 to {(self.num_envs or 1) - 1}: got {env}")
        exportable = self.exportable(env)
        metadata = exportable.metadata | {"action": describe_space("action", self.action_space)}
        if self.origin is not None:
            metadata |= {
                "tasks": self.origin.tasks,
                "task_fingerprint": self.origin.task_fingerprint,
                "env_steps": str(self.origin.env_steps),
                "observation": describe_space("observation", self.origin.observation_space),
            }
        write_onnx(Path(path), exportable._replace(metadata=metadata))

    def _check_observations(self, observations: object) -> npt.NDArray[np.float64]:
        """Returns observations `(env, obs)` as float64.

        Raises:
            UserError: If they are of another shape, for another number of environments, or not finite numbers.
        """
        array = as_numbers("observations", observations)
        size = self.observation_size
        if array.shape == (size,):
            raise UserError(f"observations must have shape (env, {size}): got {array.shape}; of one, observation[None]")
        if array.ndim != 2 or array.shape[1] != size or len(array) == 0:
            raise UserError(f"observations must have shape (env, {size}): got {array.shape}")
        if self.num_envs not in (None, len(array)):
            raise UserError(
                f"observations must be of the {self.num_envs} environments that the agent acts in, not of {len(array)};"
                " init begins with others"
            )
        return check_finite("observation", array)

    def _check_step(self, timestep: TimestepLike, count: int, valid: BoolArray | None) -> None:
        """Checks the outcome of actions in `count` environments.

        Raises:
            UserError: If an array is of another shape or kind, or a number is not finite.
        """
        rewards = as_numbers("rewards", timestep.reward)
        if rewards.shape != (count,):
            raise UserError(f"rewards must have shape ({count},), one for each environment: got {rewards.shape}")
        check_finite("reward", rewards)
        flags = {"terminated": timestep.terminated, "truncated": timestep.truncated}
        for name, values in (flags if valid is None else flags | {"valid": valid}).items():
            array = np.asarray(values)
            if array.shape != (count,) or array.dtype != np.bool_:
                raise UserError(
                    f"{name} must be booleans of shape ({count},), one for each environment: got {array.dtype} of shape"
                    f" {array.shape}"
                )

    def _check_mask(self, env_mask: object) -> None:
        mask = np.asarray(env_mask)
        count = self.num_envs or mask.size
        if mask.shape != (count,) or mask.dtype != np.bool_:
            raise UserError(f"env_mask must be booleans of shape ({count},): got {mask.dtype} of shape {mask.shape}")

    def _check_single(self, what: str) -> None:
        if self.num_envs not in (None, 1):
            raise UserError(f"{what} is for one environment, but this agent has {self.num_envs}: call init first")
