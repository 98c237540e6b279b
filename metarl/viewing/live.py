"""Playback of a held-out task in MuJoCo's own viewer, in real time; needs a display."""

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import cycle, groupby
from operator import attrgetter
from typing import Any

import glfw

from metarl.acting.agents import Agent
from metarl.viewing.film import Shot
from metarl.viewing.playing import Moment, adapt_and_play
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.scenes import Scene, check_camera

_SECONDS_TO_CLOSE = 10.0


def play_live(agent: Agent, distribution: TaskDistribution, task: Task, shot: Shot) -> None:
    """Shows the task before and after adaptation, over and over, until the window is closed or Ctrl-C is pressed.

    Args:
        agent: Agent to show; adapts to the task anew in every round.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        shot: What is shown; `size` and `fps` are of no use in a window.

    Raises:
        UserError: If MuJoCo does not simulate the family, there is no such camera, or there is no display.
    """
    # The viewer needs the simulation in this process, and render_mode="rgb_array" puts it here.
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:
        env.set_tasks([task])
        env.reset(seed=[shot.seed])
        scene = env.scene()
        if scene is None:
            raise UserError(f"{distribution.name} cannot be opened in MuJoCo's viewer; without --live it is filmed")
        if shot.camera is not None:
            check_camera(scene, shot.camera, distribution.name)
        if not has_display():
            raise UserError("--live needs a display, but neither DISPLAY nor WAYLAND_DISPLAY leads to one")
        from metarl_envs.painting import arrange_viewer  # here, as it loads MuJoCo's renderer

        with suppress(KeyboardInterrupt), _window(scene.model, scene.data) as viewer:
            arrange_viewer(viewer, scene, shot.camera)
            for episodes in cycle((0, shot.adaptation_episodes)):
                moments = adapt_and_play(
                    agent, env, task, episodes, shot.seed, episodes=shot.episodes, trial=shot.trial
                )
                for _, episode in groupby(moments, key=attrgetter("episode")):
                    moment = follow(viewer, env.scene, episode)
                    print(f"{task.name} {moment.title}: {moment}")
                    if not viewer.is_running():
                        return


@contextmanager
def _window(model: Any, data: Any) -> Iterator[Any]:
    """Opens MuJoCo's viewer; at the end waits for its thread, which would crash once the model is freed."""
    from mujoco.viewer import launch_passive  # here, as it loads GLFW

    others = set(threading.enumerate())
    try:
        with launch_passive(model, data, show_left_ui=False, show_right_ui=False) as viewer:
            yield viewer
    finally:
        for thread in set(threading.enumerate()) - others:
            thread.join(_SECONDS_TO_CLOSE)


def follow(viewer: Any, scene_now: Callable[[], Scene | None], moments: Iterable[Moment]) -> Moment:
    """Shows an episode's moments in real time and returns the last one played.

    Args:
        viewer: Handle from `mujoco.viewer.launch_passive`.
        scene_now: Returns the scene, which each moment changes; the simulator's time, in seconds, sets the pace.
        moments: Moments of one episode; playing stops when the window is closed.
    """
    from metarl_envs.painting import mark_in_viewer  # here, as it loads MuJoCo's renderer

    for moment in moments:
        if moment.over or not viewer.is_running():
            break
        scene = scene_now()
        assert scene is not None  # `play_live` has checked
        if moment.step == 0:  # the clock starts here, since adaptation episodes run at full speed
            start = time.monotonic() - scene.data.time
        time.sleep(max(0.0, start + scene.data.time - time.monotonic()))
        mark_in_viewer(viewer, scene)
        viewer.sync()
    return moment


def has_display() -> bool:
    """Returns true if a window can be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GLFW warns if it fails
        found = bool(glfw.init())
    if found:
        glfw.terminate()  # the viewer's thread initialises GLFW itself
    return found
