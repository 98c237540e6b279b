"""Collection: experts play tasks in the fast engine, and what succeeds is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metarl.demonstrations.data import Demonstration
from metarl.demonstrations.experts import SPLITS, Show, choose_show
from metarl.demonstrations.folders import FOLDER, check_name
from metarl.demonstrations.frames import Frames
from metarl.demonstrations.writing import STATE, DatasetWriter
from metarl.errors import RunFailure
from metarl.seeding import Stream, generator
from metarl_envs.core import FloatArray, Task
from metarl_envs.counts import check_counts, check_seed
from metarl_envs.errors import UserError, unknown

_NUM_ENVS = 80
"""Number of episodes played at a time."""
_MOST_NAMES = 3
"""Number of names that the default name of a dataset is made of."""

Take = tuple[Task, int]
"""A task to play, and the index of the episode among those of the task."""


@dataclass(frozen=True)
class Collected:
    """What a collection has brought."""

    path: Path
    """Folder of the dataset."""
    played: dict[str, int]
    """Number of episodes played, by class."""
    kept: dict[str, int]
    """Number of those that succeeded and are in the dataset, by class."""
    steps: int
    """Number of steps kept."""


def collect(
    tasks: Sequence[str],
    output: str | Path | None = None,
    *,
    goals: int = 20,
    episodes: int = 2,
    again: int = 0,
    noise: float = 0.1,
    split: str = "both",
    horizon: int | None = None,
    seed: int = 1,
    goal_seed: int = 1,
    cameras: Sequence[str] = (),
    frame_every: int = 1,
    tell: Callable[[int, int], object] = lambda done, total: None,
) -> Collected:
    """Records scripted experts, and keeps the episodes that succeed: that solve the task at any step.

    The expert is told the goal; the observations recorded hide it. Actions recorded are those played, noise included.

    Args:
        tasks: Classes of Meta-World, such as "reach-v3", benchmarks of several ("ML10", "ML25", "ML45"), or
            "navigation".
        output: Folder of the dataset, whose last part is its name in Minari; None is `demonstrations/` and a name
            made of the tasks.
        goals: Number of goals of each class, of each split.
        episodes: Number of episodes played of each goal.
        again: How often those of a goal that failed are played anew, with other noise.
        noise: Standard deviation of normal noise on the expert's actions, as a share of half their range.
        split: "train", "test" or "both": splits whose goals are shown; of a class of Meta-World they are those of ML1.
        horizon: Length of an episode in steps; None is the family's usual one.
        seed: Seed of the noise.
        goal_seed: Seed that the goals are drawn from, as in the tasks of a configuration.
        cameras: Cameras to record a frame of each observation from: "view", which shows robot and table, or names of
            cameras of MuJoCo's model.
        frame_every: Steps from one picture to the next; between them stands the last one.
        tell: Called with the number of episodes played so far and in all.

    Raises:
        UserError: If an argument is out of its range, a name is unknown or has no expert, there is something at
            `output`, or `minari` is not installed.
        RunFailure: If no episode succeeds, or the dataset cannot be written, on a full disk for example.
    """
    check_counts(goals=goals, episodes=episodes, frame_every=frame_every)
    if again < 0:
        raise UserError(f"again must be at least 0: got {again}")
    check_seed(seed)
    _check_noise(noise, episodes, again)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    path = default_path(tasks) if output is None else Path(output)
    check_name(path)
    cameras = _checked_cameras(cameras)
    show = choose_show(tasks, goals, split, horizon, goal_seed)
    played, kept, steps = Counter[str](), Counter[str](), 0
    with ExitStack() as stack:
        frames = stack.enter_context(Frames(show.hidden, cameras, frame_every)) if cameras else None
        spaces = show.observation_space, show.action_space
        writer = stack.enter_context(DatasetWriter(path, *spaces, family=show.family, cameras=cameras))
        for takes, shown, left in _successes(show, episodes, again, noise, seed):
            writer.add(shown if frames is None else map(frames.add_to, shown))
            played.update(task.name for task, _ in takes)
            kept.update(each.task.name for each in shown)
            steps += sum(map(len, shown))
            tell(played.total(), played.total() + left)
        if not kept:
            raise RunFailure(f"none of {played.total()} episodes succeeded: less noise or a longer horizon may help")
        settings = {"tasks": list(tasks), "goals": goals, "episodes": episodes, "again": again, "noise": noise}
        settings |= {"split": split, "horizon": show.hidden.horizon, "seed": seed, "goal_seed": goal_seed}
        settings |= {"cameras": cameras, "frame_every": frame_every} if cameras else {}
        about = f"Scripted experts of {', '.join(tasks)}; episodes that failed are left out."
        facts = {"algorithm_name": "scripted experts", "description": about}
        writer.finish(facts | {"collected": settings, "played": played})
    return Collected(path, dict(played), {name: kept[name] for name in played}, steps)


def default_path(tasks: Sequence[str]) -> Path:
    """Returns the folder of the dataset of some tasks if none is named, such as `demonstrations/ml10-v0`."""
    names = list(dict.fromkeys(tasks))
    more = [f"and-{len(names) - _MOST_NAMES}-more"] if len(names) > _MOST_NAMES else []
    return FOLDER / "-".join([*names[:_MOST_NAMES], *more, "v0"]).lower()


def _check_noise(noise: float, episodes: int, again: int) -> None:
    if not 0 <= noise <= 1:
        raise UserError(f"noise must be 0 to 1, a share of half the range of actions: got {noise:g}")
    if noise == 0 and episodes + again > 1:
        count = episodes + again
        raise UserError(f"without noise the {count} episodes of a goal would be equal: ask for one, or for noise")


def _checked_cameras(cameras: Sequence[str]) -> list[str]:
    """Returns the names of cameras in the order that a Gymnasium space has."""
    for name, count in Counter(cameras).items():
        if count > 1 or name == STATE:
            raise UserError(f"camera '{name}' is given twice" if count > 1 else f"no camera can be called '{STATE}'")
    return sorted(cameras)


def _successes(
    show: Show, episodes: int, again: int, noise: float, seed: int
) -> Iterator[tuple[Sequence[Take], list[Demonstration], int]]:
    """Plays all goals, and those that lack successes again; yields each batch, its successes, and how many are left."""
    tried, wanted = Counter[Task](), dict.fromkeys(show.tasks, episodes)
    for _ in range(again + 1):
        takes = [(task, tried[task] + index) for task, count in wanted.items() for index in range(count)]
        tried.update(task for task, _ in takes)
        for first in range(0, len(takes), _NUM_ENVS):
            batch = takes[first : first + _NUM_ENVS]
            shown = [each for each in _play(show, batch, noise, seed) if each.success]
            for each in shown:
                wanted[each.task] -= 1
            yield batch, shown, len(takes) - first - len(batch)


def _play(show: Show, takes: Sequence[Take], noise: float, seed: int) -> list[Demonstration]:
    """Plays an episode of each take, side by side."""
    space, horizon = show.action_space, show.watched.horizon
    observations = np.empty((len(takes), horizon + 1, *show.observation_space.shape), dtype=np.float32)
    actions = np.empty((len(takes), horizon, *space.shape), dtype=np.float32)
    rewards = np.empty((len(takes), horizon), dtype=np.float32)
    success, diverged = np.zeros((2, len(takes)), dtype=np.bool_)
    shaken = _noise(show, takes, noise, seed)
    with closing(show.watched.make_env(len(takes))) as env:
        env.set_tasks([task for task, _ in takes])
        seen, _ = env.reset(seed=[0] * len(takes))
        observations[:, 0] = _hide(show, seen)
        for step in range(horizon):
            # a = clip(expert(s) + sigma (high - low) / 2 * e, low, high), in the float32 of the file
            played = np.clip(show.act(env.tasks, seen) + shaken[:, step], space.low, space.high).astype(np.float32)
            seen, rewards[:, step], _, _, infos = env.step(played)
            actions[:, step] = played
            observations[:, step + 1] = _hide(show, infos["final_obs"] if step == horizon - 1 else seen)
            diverged |= infos.get("diverged", False)
            success |= infos["success"] & ~diverged
    success &= ~diverged
    return [
        Demonstration(task, observations[i], actions[i], rewards[i], bool(success[i]))
        for i, (task, _) in enumerate(takes)
    ]


def _hide(show: Show, observations: FloatArray) -> FloatArray:
    """Takes the goals out of observations: where they are hidden, their space has nothing but 0."""
    space = show.observation_space
    return np.clip(observations, space.low, space.high)


def _noise(show: Show, takes: Sequence[Take], noise: float, seed: int) -> npt.NDArray[np.float64]:
    """Draws the noise on actions, `(take, step, action)`; that of a take depends on the seed, task and index only."""
    space = show.action_space
    half: Any = (space.high.astype(np.float64) - space.low) / 2
    shape = show.watched.horizon, *space.shape
    keys = [(int(task.id[:8], 16), index) for task, index in takes]
    return np.stack(
        [noise * half * generator(seed, Stream.DEMONSTRATIONS, *key).standard_normal(shape) for key in keys]
    )
