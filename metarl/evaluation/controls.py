"""Controls: an evaluation played again without one capability, or with one that the policy lacks, for comparison."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from rich.progress import Progress

from metarl.algorithms.imitation.cloning import clone_alone
from metarl.baselines.learners import check_learner, learner_settings
from metarl.cache import Cached
from metarl.evaluation.bars import add_bar
from metarl.evaluation.behaviour import random_actions
from metarl.evaluation.control_agents import FixedAgent, hold_state
from metarl.evaluation.gail import check_gail, gail_key, play_gail
from metarl.evaluation.match import Match
from metarl.evaluation.result import Evaluation
from metarl.seeding import Stream, generator
from metarl_envs.core import Task
from metarl_envs.counts import check_counts
from metarl_envs.errors import UserError, unknown

ALL = "all"
"""Stands for all controls that apply."""
_ORACLE_ENVS = 10
"""Largest number of environments that the oracle learns in."""


class Control(NamedTuple):
    """One control."""

    check: Callable[[Match], object]
    """Raises a `UserError` if the control does not apply."""
    play: Callable[[Match, Progress | None], Evaluation]
    """Plays it."""
    key: Callable[[Match], dict[str, Any]] | None
    """What its result depends on beside `Match.key`, as JSON types; None if it depends on the policy."""
    only_named: str = ""
    """Why `ALL` leaves it out; empty if it does not."""


def partners(tasks: Sequence[Task]) -> list[Task]:
    """Returns another task of the same name for each task, each once: the one half of the name's tasks further on.

    Raises:
        UserError: If a name has a single task.
    """
    for name, count in Counter(task.name for task in tasks).items():
        if count < 2:
            raise UserError(f"shuffled needs at least two tasks of each name: {name} has one")
    # i -> (i + floor(n / 2)) mod n, for the n tasks of a name
    groups = {task.name: [other for other in tasks if other.name == task.name] for task in tasks}
    seen: Counter[str] = Counter()
    paired = []
    for task in tasks:
        group = groups[task.name]
        paired.append(group[(seen[task.name] + len(group) // 2) % len(group)])
        seen[task.name] += 1
    return paired


def _play_random(match: Match, progress: Progress | None) -> Evaluation:
    rng = generator(match.seed, Stream.BASELINES)
    space = match.distribution.action_space
    return match.play(FixedAgent(lambda observations: random_actions(space, len(observations), rng)), progress=progress)


def _play_shuffled(match: Match, progress: Progress | None) -> Evaluation:
    partnered = partners(match.tasks)
    options = {"adapt_on": partnered, "actions": match.actions, "progress": progress}
    return match.play(match.agent, match.adaptation_episodes, **options)


def _play_state_held(match: Match, progress: Progress | None) -> Evaluation:
    held = hold_state(match.agent)
    return match.play(held, match.adaptation_episodes, actions=match.actions, progress=progress)


def _play_cloning(match: Match, progress: Progress | None) -> Evaluation:
    return match.play(clone_alone(match.agent, match.seed), match.adaptation_episodes, progress=progress)


def _check_expert(match: Match) -> None:
    from metarl_envs.metaworld import MetaWorld

    if not isinstance(match.distribution, MetaWorld):
        raise UserError(f"there is no scripted expert for {match.distribution.name}: Meta-World's tasks have one")


def _play_expert(match: Match, progress: Progress | None) -> Evaluation:
    from metarl_envs.metaworld.expert import Experts

    experts = Experts()
    with closing(match.make_visible_env()) as env:
        agent = FixedAgent(lambda observations: experts.act(env.tasks, observations))
        return match.play(agent, env=env, progress=progress)


def _check_oracle(match: Match) -> None:
    check_counts(oracle_steps=match.oracle_steps)
    check_learner("ppo", match.distribution.action_space)
    _ = match.visible


def _oracle_key(match: Match) -> dict[str, Any]:
    return {
        "steps": match.oracle_steps,
        "environments": _oracle_envs(match),
        "settings": learner_settings("ppo"),
        "fingerprint": match.visible.fingerprint,
    }


def _oracle_envs(match: Match) -> int:
    return min(_ORACLE_ENVS, len(match.visible.train_tasks))


def _play_oracle(match: Match, progress: Progress | None) -> Evaluation:
    from metarl.baselines.oracle import train_oracle

    tell = add_bar(progress, "training the oracle", match.oracle_steps)
    act = train_oracle(match.visible, match.oracle_steps, _oracle_envs(match), match.seed, tell)
    with closing(match.make_visible_env()) as env:
        return match.play(FixedAgent(act), env=env, progress=progress)


CONTROLS: dict[str, Control] = {
    "random": Control(lambda match: None, _play_random, lambda match: {"environments": match.num_envs}),
    "shuffled": Control(lambda match: partners(match.tasks), _play_shuffled, None),
    "state-held": Control(lambda match: hold_state(match.agent), _play_state_held, None),
    "cloning": Control(lambda match: clone_alone(match.agent, match.seed), _play_cloning, None),
    "gail": Control(check_gail, play_gail, gail_key, "it learns each task anew, for minutes each: name it"),
    "expert": Control(_check_expert, _play_expert, lambda match: {}),
    "oracle": Control(_check_oracle, _play_oracle, _oracle_key),
}
"""Controls by name; docs/controls.md says what each tells."""


def choose_controls(names: Sequence[str], match: Match) -> tuple[list[str], list[str]]:
    """Checks the names of controls, and that all apply.

    Args:
        names: Names in `CONTROLS`, or `ALL`, which takes those that apply.
        match: Evaluation that they are held against.

    Returns:
        Names of the controls to play, each once, and why others of `ALL` do not apply.

    Raises:
        UserError: If a name is unknown, or a control that is named does not apply.
    """
    for name in names:
        if name != ALL and name not in CONTROLS:
            raise unknown("control", name, [*CONTROLS, ALL])
    chosen, reasons = [], []
    for name in CONTROLS if ALL in names else dict.fromkeys(names):
        try:
            CONTROLS[name].check(match)
            if CONTROLS[name].only_named and name not in names:
                raise UserError(CONTROLS[name].only_named)
            chosen.append(name)
        except UserError as error:
            if name in names:
                raise
            reasons.append(f"{name}: {error}")
    return chosen, reasons


def play_control(name: str, match: Match, progress: Progress | None = None) -> tuple[Evaluation, bool]:
    """Plays a control; what does not depend on the policy is taken from the cache if it was played before.

    Args:
        name: Name in `CONTROLS` of a control that applies.
        match: Evaluation that it is held against.
        progress: Display that gets a bar; None shows none.

    Returns:
        The control's evaluation, and whether it was taken from the cache. What does not adapt is played with k = 0.
    """
    control = CONTROLS[name]
    if control.key is None:
        return control.play(match, progress), False
    entry = Cached({"what": f"control {name}"} | match.key() | control.key(match))
    kept = entry.read()
    if kept is not None:
        try:
            return Evaluation.from_dict(kept), True
        except UserError:  # of an earlier version of metarl
            pass
    played = control.play(match, progress)
    entry.write(played.to_dict())
    return played, False
