"""Demonstrations to look at: played again in the simulator, or their frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from metarl.demonstrations.data import Demonstration, Demonstrations
from metarl.demonstrations.frames import SAME
from metarl.viewing.lens import Frame, Lens
from metarl.viewing.playing import Moment
from metarl.viewing.video import caption, frame_stride, padded, write_video
from metarl_envs import registry
from metarl_envs.core import FloatArray, TaskDistribution
from metarl_envs.errors import UserError

_SIZE = 480
"""Height of a picture in pixels."""


def film_demonstration(path: Path, demonstrations: Demonstrations, number: int) -> str:
    """Films a demonstration: its actions played again where its family can be simulated, else its frames.

    Args:
        path: File to write or replace, an mp4, or a GIF if it ends in ".gif".
        demonstrations: Dataset, with its frames if it has any.
        number: Index of the demonstration.

    Returns:
        A line that says what is to be seen, and whether the simulation came out as recorded.

    Raises:
        UserError: If there is no such demonstration, it can neither be simulated nor has frames, or MuJoCo finds no
            OpenGL backend.
        RunFailure: If the film cannot be written.
    """
    if not 0 <= number < len(demonstrations):
        raise UserError(f"no demonstration {number}: {demonstrations.name} has 0 to {len(demonstrations) - 1}")
    shown = demonstrations[number]
    title = f"{shown.task.name}, demonstration {number}"
    distribution = _distribution(demonstrations, shown)
    if distribution is None:
        if shown.frames is None:
            raise UserError(
                f"{demonstrations.name} cannot be filmed: it has no frames, and its family is neither metaworld nor"
                " navigation"
            )
        write_video(path, padded(_frames(shown, title, demonstrations.cameras)))
        return "frames as they were recorded"
    demonstrations.check_spaces(distribution)
    replay = _Replay(shown, distribution, title)
    write_video(path, padded(replay.pictures()))
    return replay.verdict()


def _distribution(demonstrations: Demonstrations, shown: Demonstration) -> TaskDistribution | None:
    """Makes the family of a demonstration, with episodes of its length; None if it cannot be simulated."""
    if demonstrations.family == "metaworld":
        return registry.make("ML1", task=shown.task.name, horizon=len(shown))
    return registry.make("navigation", horizon=len(shown)) if demonstrations.family == "navigation" else None


def _frames(shown: Demonstration, title: str, cameras: tuple[str, ...]) -> Iterator[Frame]:
    """Yields the recorded frames, those of several cameras side by side."""
    assert shown.frames is not None
    scale = -(-_SIZE // shown.frames.shape[-2])
    moment = Moment("demonstration", 0)
    for step, pictures in enumerate(shown.frames):
        if step:
            reward = float("nan") if shown.rewards is None else float(shown.rewards[step - 1])
            moment = _next(moment, reward, success=False)
        if step % frame_stride(len(shown)) == 0 or step == len(shown):
            picture = np.concatenate(list(pictures), axis=1).repeat(scale, axis=0).repeat(scale, axis=1)
            yield caption(picture, title, f"seen from {', '.join(cameras)}", moment, len(shown))


class _Replay:
    """A demonstration's actions, played again in an environment that draws."""

    def __init__(self, shown: Demonstration, distribution: TaskDistribution, title: str) -> None:
        self._shown, self._distribution, self._title = shown, distribution, title
        self._largest = 0.0
        self._differs_at: int | None = None

    def pictures(self) -> Iterator[Frame]:
        """Yields pictures of the episode; the last is of the state before the last step, as in other films."""
        shown, horizon = self._shown, len(self._shown)
        stride = frame_stride(horizon)
        with (
            closing(self._distribution.make_env(1, render_mode="rgb_array")) as env,
            closing(Lens(env, self._distribution.name, _SIZE)) as lens,
        ):
            env.set_tasks([shown.task])
            self._compare(env.reset(seed=[0])[0], 0)
            moment = Moment("demonstration", 0)
            for step, action in enumerate(shown.actions, start=1):
                picture, about = lens.draw(), env.describe()
                if moment.step % stride == 0:
                    yield caption(picture, self._title, about, moment, horizon)
                seen, rewards, _, _, infos = env.step(action[None])
                self._compare(infos.get("final_obs", seen), step)
                moment = _next(moment, float(rewards[0]), bool(infos["success"][0]))
            yield caption(picture, self._title, about, moment, horizon)

    def _compare(self, seen: FloatArray, step: int) -> None:
        difference = float(np.abs(seen[0] - self._shown.observations[step]).max())
        self._largest = max(self._largest, difference)
        if difference > SAME and self._differs_at is None:
            self._differs_at = step

    def verdict(self) -> str:
        """Says whether the observations came out as recorded."""
        if self._differs_at is None:
            return "played again in the simulator: as recorded"
        return (
            f"played again in the simulator: DIFFERS from what was recorded from step {self._differs_at} on, by up to"
            f" {self._largest:.3g}"
        )


def _next(moment: Moment, reward: float, success: bool) -> Moment:
    step = moment.step + 1
    solved_at = step if success and moment.solved_at is None else moment.solved_at
    return replace(moment, step=step, reward=reward, episode_return=moment.episode_return + reward, solved_at=solved_at)
