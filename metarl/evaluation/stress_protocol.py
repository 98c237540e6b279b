"""Evaluation under perturbations: which, how strong, and the evaluations themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import closing

from rich.progress import Progress

from metarl.acting.adversary import ADVERSARIAL, AttackedAgent, attack_obstacle
from metarl.acting.agents import ActionChoice, Agent, TrainedAgent
from metarl.acting.observation_scale import observation_scale
from metarl.evaluation.protocol import evaluate
from metarl.evaluation.result import Evaluation
from metarl.evaluation.stress import StressCurve
from metarl_envs.core import FloatArray, Task, TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError, unknown
from metarl_envs.perturbed import PERTURBATIONS, PerturbedVectorEnv, SensorNoise, check_strength

Strengths = Mapping[str, tuple[float, ...]]
"""Strengths by name of the perturbation, each ascending and with 0."""

USUAL: Strengths = {name: kind.strengths for name, kind in PERTURBATIONS.items()} | {ADVERSARIAL: (0.0, 0.05, 0.2)}
"""Strengths unless others are asked for, of all perturbations."""

_UNITS = {name: kind.unit for name, kind in PERTURBATIONS.items()} | {ADVERSARIAL: SensorNoise.unit}


def parse_strengths(texts: Sequence[str]) -> Strengths:
    """Reads perturbations from a command line.

    Args:
        texts: Names, or names with strengths as in "sensor-noise=0.1,0.5"; 0 is added.

    Raises:
        UserError: If a perturbation is unknown or named twice, or a strength is no number or out of its range.
    """
    asked: dict[str, tuple[float, ...]] = {}
    for text in texts:
        name, given, numbers = text.partition("=")
        if name not in USUAL:
            raise unknown("perturbation", name, USUAL)
        if name in asked:
            raise UserError(f"perturbation {name} is named twice: name it once, with all strengths")
        asked[name] = _parse(name, numbers) if given else USUAL[name]
    return asked


def _parse(name: str, numbers: str) -> tuple[float, ...]:
    try:
        strengths = [float(number) for number in numbers.split(",")]
    except ValueError:
        raise UserError(f"strengths of {name} must be numbers, as in {name}=1,2: got '{numbers[:60]}'") from None
    for strength in strengths:
        if name == ADVERSARIAL:
            check_strength(name, strength, 0.0, math.inf)
        else:
            PERTURBATIONS[name](strength)
    return tuple(sorted({0.0, *strengths}))


def obstacles(names: Sequence[str], agent: Agent, env: TaskVectorEnv) -> dict[str, str]:
    """Says why perturbations do not apply to an agent in environments, by name; those that apply are left out."""
    reasons = {
        name: attack_obstacle(agent) if name == ADVERSARIAL else PERTURBATIONS[name].obstacle(env) for name in names
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def evaluate_under_stress(
    agent: Agent,
    distribution: TaskDistribution,
    tasks: Sequence[Task],
    strengths: Strengths,
    *,
    adaptation_episodes: Sequence[int],
    episodes: int,
    seed: int,
    actions: ActionChoice = "likeliest",
    num_envs: int = 50,
    skip: bool = False,
    progress: Progress | None = None,
) -> tuple[list[StressCurve], list[str]]:
    """Evaluates an agent by the protocol of `evaluate`, with the same tasks and seeds, under each perturbation.

    Success and return are those of the task; where rewards are perturbed, only what the agent is told changes. At
    strength 0 all curves share the unperturbed evaluation.

    Args:
        agent: Agent to evaluate.
        distribution: Family that the tasks belong to.
        tasks: Tasks to play.
        strengths: Perturbations and their strengths.
        adaptation_episodes: Numbers k of adaptation episodes.
        episodes: Number of evaluation episodes per task and k.
        seed: Seed that the seeds of environments and noise are derived from.
        actions: Choice of the actions in evaluation episodes.
        num_envs: Largest number of tasks played at a time.
        skip: True to leave out perturbations that do not apply.
        progress: Display that gets a bar with the number of evaluations; None shows none.

    Returns:
        The curves, and the reasons why perturbations were left out.

    Raises:
        UserError: If a perturbation does not apply and `skip` is false, or the protocol's settings are out of range.
        RunFailure: If a return is not a finite number.
    """
    # as many environments as `evaluate` makes, so that strength 0 equals it bit for bit
    count = math.ceil(len(tasks) / math.ceil(len(tasks) / num_envs))
    with closing(distribution.make_env(count)) as bare:
        left_out = obstacles(list(strengths), agent, bare)
        if left_out and not skip:
            raise UserError(next(iter(left_out.values())))
        applied = {name: values for name, values in strengths.items() if name not in left_out}
        scale = observation_scale(distribution) if {SensorNoise.name, ADVERSARIAL} & applied.keys() else None
        env = PerturbedVectorEnv(bare, scale)
        total = 1 + sum(len(values) - 1 for values in applied.values())
        bar = progress.add_task("evaluating", total=total) if progress else None

        def play(name: str | None = None, strength: float = 0.0) -> Evaluation:
            if progress and bar is not None:
                progress.update(bar, description=f"{name} {strength:g}" if name else "unperturbed")
            player = _perturb(agent, env, scale, name, strength)
            evaluation = evaluate(
                player,
                distribution,
                tasks,
                adaptation_episodes=adaptation_episodes,
                episodes=episodes,
                seed=seed,
                actions=actions,
                env=env,
            )
            if progress and bar is not None:
                progress.advance(bar)
            return evaluation

        plain = play()
        curves = [
            StressCurve(name, _UNITS[name], values, tuple(play(name, each) if each else plain for each in values))
            for name, values in applied.items()
        ]
    return curves, list(left_out.values())


def _perturb(
    agent: Agent, env: PerturbedVectorEnv, scale: FloatArray | None, name: str | None, strength: float
) -> Agent:
    """Perturbs the environments, or else the agent that is returned."""
    perturbations = [] if name in (None, ADVERSARIAL) else [PERTURBATIONS[str(name)](strength)]
    env.perturb([perturbations] * env.num_envs)
    if name != ADVERSARIAL:
        return agent
    assert isinstance(agent, TrainedAgent)  # as there is no obstacle
    assert scale is not None
    return AttackedAgent(agent, strength, scale)
