"""Meta-World's own evaluation beside ours: how much it counts too much on the same policy and tasks."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import ActionChoice, Agent, adapts_on
from metarl.devices import one_torch_thread
from metarl.evaluation.fields import StoredFields, check_fields
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stored import read_result, result_files, write_result
from metarl.runs import RunDirectory
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError

KIND = "meta_world_protocol"
"""Kind of a file with a `MetaWorldProtocol`."""


@dataclass(frozen=True)
class MetaWorldProtocol:
    """What Meta-World's `metalearning_evaluation` reports, beside what our protocol does."""

    distribution: str
    """Name of the task distribution."""
    k: int
    """Number of adaptation episodes of our protocol."""
    adaptation_episodes: int
    """Number of adaptation episodes of Meta-World's, which plays equally many in each adaptation step, k or more."""
    episodes: int
    """Evaluation episodes of each name in a round: the first that end among all environments of the name."""
    rounds: int
    """Number of rounds, each with other tasks."""
    success: float
    """Share of episodes that Meta-World's evaluator counts as solved, averaged over names and rounds."""
    returns: float
    """Mean return of an episode there, which ends when the task is solved."""
    success_per_name: dict[str, float]
    """`success` of each name."""
    our_success: float
    """Share of episodes solved by our protocol after as many adaptation episodes, averaged over names."""

    @property
    def over_count(self) -> float:
        """Share that Meta-World's evaluator reports beyond ours."""
        return self.success - self.our_success

    def sentence(self) -> str:
        """Returns by how much Meta-World's evaluator over-counts, in one sentence."""
        points = 100 * self.over_count
        verdict = f"over-counts by {points:.1f} points" if points > 0 else f"differs by {points:+.1f} points"
        return (
            f"Meta-World's evaluator, after {self.adaptation_episodes} adaptation episodes, reports a success of"
            f" {self.success:.1%}; the same number of episodes on every task, after {self.k}, gives"
            f" {self.our_success:.1%}: here it {verdict}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON types."""
        return asdict(self) | {"over_count": self.over_count}

    @staticmethod
    def from_dict(data: dict[str, Any]) -> MetaWorldProtocol:
        """Makes a result of what `to_dict` gave.

        Raises:
            UserError: If a field is missing or not what it should be.
        """
        return MetaWorldProtocol(**check_fields(_Fields, data, "a result of Meta-World's evaluator").model_dump())


class _Fields(StoredFields):
    distribution: str
    k: int
    adaptation_episodes: int
    episodes: int
    rounds: int
    success: float
    returns: float
    success_per_name: dict[str, float]
    our_success: float


def check_metaworld(agent: Agent, distribution: TaskDistribution, actions: ActionChoice) -> None:
    """Checks that Meta-World's evaluator can play these tasks with an agent, and choose actions likewise.

    Raises:
        UserError: If the tasks are not Meta-World's, or not on the native engine, or the agent is shown demonstrations,
            or actions are to be sampled.
    """
    if actions == "sampled":
        raise UserError("--protocol meta-world asks for an agent's likeliest actions: leave out --actions sampled")
    from metarl_envs.metaworld import MetaWorld
    from metarl_envs.metaworld.engine import MetaWorldEngine

    if not isinstance(distribution, MetaWorld):
        raise UserError(f"protocol meta-world is for Meta-World's tasks, not for {distribution.name}: use metarl")
    if adapts_on(agent) is AdaptsOn.DEMONSTRATIONS:
        raise UserError(
            "protocol meta-world has an agent adapt by playing, and this one is shown demonstrations: use metarl"
        )
    with closing(distribution.make_env(1)) as env:
        if not isinstance(env, MetaWorldEngine):
            raise UserError("protocol meta-world needs tasks.engine 'native'")


@one_torch_thread()
def run_metaworld_protocol(
    agent: Agent, distribution: TaskDistribution, tasks: tuple[Task, ...], evaluation: Evaluation
) -> MetaWorldProtocol:
    """Evaluates an agent by Meta-World's own evaluator, after the largest number of adaptation episodes of ours.

    Args:
        agent: Agent that was evaluated.
        distribution: Family of the tasks, which `check_metaworld` accepts.
        tasks: Tasks that were played.
        evaluation: Evaluation of the agent by our protocol.
    """
    from metarl_envs.metaworld.engine import MetaWorldEngine
    from metarl_envs.metaworld.evaluator import evaluate_as_metaworld, evaluator_envs

    k = evaluation.adaptation_episodes[-1]
    # As ours, k episodes are spread over the adaptation steps; Meta-World's loop takes as many for each.
    each = -(-k // agent.adaptation_steps)
    with closing(distribution.make_env(evaluator_envs(tasks))) as env:
        assert isinstance(env, MetaWorldEngine)
        found = evaluate_as_metaworld(agent, env, tasks, agent.adaptation_steps, each, evaluation.episodes)
    return MetaWorldProtocol(
        distribution=distribution.name,
        k=k,
        adaptation_episodes=each * agent.adaptation_steps,
        episodes=evaluation.episodes,
        rounds=found.rounds,
        success=found.success,
        returns=found.returns,
        success_per_name=found.success_per_name,
        our_success=evaluation.overall[-1].success.mean,
    )


def write_protocol(path: Path, result: MetaWorldProtocol) -> None:
    """Writes or replaces the file of a result.

    Raises:
        RunFailure: If the file cannot be written.
    """
    write_result(path, KIND, result.to_dict())


def read_protocols(run: RunDirectory) -> list[MetaWorldProtocol]:
    """Reads all results of Meta-World's evaluator among a run's evaluations, by names of their files.

    Raises:
        UserError: If a file is of another format, or damaged.
    """
    found = []
    for path in result_files(run, KIND):
        try:
            found.append(MetaWorldProtocol.from_dict(read_result(path, KIND)))
        except UserError as error:
            raise UserError(f"{path} is damaged: {error}") from None
    return found
