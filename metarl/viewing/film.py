"""Films of one task: before and after adaptation side by side, or the whole trial episode by episode."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np

from metarl.acting.adapts_on import AdaptsOn
from metarl.acting.agents import Agent, Shown
from metarl.devices import one_torch_thread
from metarl.viewing.lens import Frame, Lens
from metarl.viewing.playing import Moment, adapt_and_play, repeat
from metarl.viewing.video import (
    EPISODE_SECONDS,
    FRAMES_PER_SECOND,
    caption,
    frame_stride,
    padded,
    side_by_side,
    spooled,
    strip,
    write_video,
)
from metarl_envs.core import Task, TaskDistribution, TaskVectorEnv

_TRIAL_EPISODE_SECONDS = EPISODE_SECONDS / 2


@dataclass(frozen=True)
class Shot:
    """How tasks are filmed."""

    adaptation_episodes: int = 10
    """Number of adaptation episodes, or of demonstrations."""
    episodes: int = 1
    """Number of evaluation episodes, shown one after the other."""
    trial: bool = False
    """True to show the adaptation episodes or demonstrations too, one after the other, in place of before and after
    side by side."""
    camera: str | None = None
    """Name of a camera of MuJoCo's model; None is the view that shows the task."""
    size: int = 480
    """Width and height of a picture, in pixels."""
    fps: int = FRAMES_PER_SECOND
    """Pictures per second."""
    seed: int = 1
    """Seed of the evaluation whose episodes are shown."""

    def moments(self, horizon: int, adapts_on: AdaptsOn) -> int:
        """Returns the number of moments that a film of full episodes has, of a policy that adapts on this."""
        shown = adapts_on is AdaptsOn.DEMONSTRATIONS
        episodes = self.adaptation_episodes + self.episodes if self.trial else 2 * self.episodes + shown
        return episodes * (horizon + 1)


def film_pair(
    agent: Agent, distribution: TaskDistribution, task: Task, episodes: int, seed: int, size: int = 480
) -> bytes:
    """Films a task before adaptation on the left and after it on the right, in step; see `film`.

    Args:
        agent: Agent to film; forgets everything before each side.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        episodes: Number of adaptation episodes, or of demonstrations.
        seed: Seed of the evaluation whose first episodes are shown.
        size: Width and height of each side's picture, in pixels.

    Returns:
        The mp4 file.

    Raises:
        UserError: If MuJoCo finds no OpenGL backend, or the family cannot be drawn.
        RunFailure: If the film cannot be encoded.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        film(path, agent, distribution, task, Shot(adaptation_episodes=episodes, seed=seed, size=size))
        return path.read_bytes()


def film(
    path: Path,
    agent: Agent,
    distribution: TaskDistribution,
    task: Task,
    shot: Shot,
    label: str = "",
    advance: Callable[[], object] = lambda: None,
) -> None:
    """Writes a film of one task.

    An agent that is `Shown` demonstrations is seen beside the first of them, which is played again on the left.

    Args:
        path: File to write or replace, an mp4, or a GIF if it ends in ".gif"; its folder is made if missing.
        agent: Agent to film; forgets everything first.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        shot: How it is filmed.
        label: Why the task is shown, such as "10th percentile of gain".
        advance: Called after each moment.

    Raises:
        UserError: If MuJoCo finds no OpenGL backend, the family cannot be drawn, or there is no such camera.
        RunFailure: If the film cannot be written.
    """
    title = f"{task.name}: {label}" if label else task.name
    with (
        one_torch_thread(),
        closing(distribution.make_env(1, render_mode="rgb_array")) as env,
        closing(Lens(env, distribution.name, shot.size, shot.camera)) as lens,
    ):
        scene = _Set(agent, env, lens, task, shot, title, advance)
        write_video(path, padded(scene.trial()) if shot.trial else side_by_side(*scene.columns()), shot.fps)


@dataclass(frozen=True)
class _Set:
    """Everything that the pictures of a film are taken with."""

    agent: Agent
    env: TaskVectorEnv
    lens: Lens
    task: Task
    shot: Shot
    title: str
    advance: Callable[[], object]

    def columns(self) -> Iterator[Iterable[Frame]]:
        """Yields pictures of the first demonstration, if the agent is shown any, then of episodes before and after."""
        if isinstance(self.agent, Shown):
            shown = repeat(self.agent, self.env, self.task, self.shot.adaptation_episodes)
            yield spooled(self._pictures(takewhile(lambda moment: moment.episode == 0, shown)))
        yield spooled(self._pictures(self._play(0)))
        yield self._pictures(self._play(self.shot.adaptation_episodes))

    def trial(self) -> Iterator[Frame]:
        """Yields pictures of all episodes one after the other, above a bar for each episode's return."""
        episodes = self.shot.adaptation_episodes + self.shot.episodes
        last: dict[int, Moment] = {}
        for frame, moment in self._frames(self._play(self.shot.adaptation_episodes), _TRIAL_EPISODE_SECONDS):
            last[moment.episode] = moment
            yield np.concatenate([frame, strip(list(last.values()), episodes, frame.shape[1])])

    def _play(self, adaptation_episodes: int) -> Iterator[Moment]:
        shot = self.shot
        return adapt_and_play(
            self.agent,
            self.env,
            self.task,
            adaptation_episodes,
            shot.seed,
            episodes=shot.episodes,
            trial=shot.trial,
        )

    def _pictures(self, moments: Iterable[Moment]) -> Iterator[Frame]:
        return (frame for frame, _ in self._frames(moments, EPISODE_SECONDS))

    def _frames(self, moments: Iterable[Moment], seconds: float) -> Iterator[tuple[Frame, Moment]]:
        env = self.env
        stride = frame_stride(env.horizon, self.shot.fps, seconds)
        for moment in moments:
            self.advance()
            if not moment.over:
                if moment.step % stride:
                    continue
                picture, about = self.lens.draw(), env.describe()
            yield caption(picture, self.title, about, moment, env.horizon), moment
