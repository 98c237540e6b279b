"""Playback of a held-out task in MuJoCo's own viewer, in real time; needs a display."""

import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import cycle
from typing import Any, Protocol, runtime_checkable

import glfw

from metarl.acting.agents import Agent
from metarl.viewing.playing import Moment, adapt_and_play, phase
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError

_SECONDS_TO_CLOSE = 10.0


@runtime_checkable
class MujocoBacked(Protocol):
    """Environment that can be opened in MuJoCo's viewer."""

    def mujoco_handles(self) -> tuple[Any, Any]:
        """Returns `mujoco.MjModel` and `mujoco.MjData` of the only sub-environment, once a task is set and reset to."""

    def arrange_viewer(self, viewer: Any) -> None:
        """Points the viewer's camera at the scene and adds marks, such as one at a hidden goal."""


def play_live(agent: Agent, distribution: TaskDistribution, task: Task, adaptation_episodes: int, seed: int) -> None:
    """Shows the task before and after adaptation, over and over, until the window is closed or Ctrl-C is pressed.

    Args:
        agent: Agent to show; adapts to the task anew in every round.
        distribution: Family of the task, which makes the environment.
        task: Task to play.
        adaptation_episodes: Number of adaptation episodes.
        seed: Seed that the environment's seeds are derived from.

    Raises:
        UserError: If MuJoCo does not simulate the family, or there is no display.
    """
    # The viewer needs the simulation in this process, and render_mode="rgb_array" puts it here.
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:
        if not isinstance(env, MujocoBacked):
            raise UserError(f"{distribution.name} cannot be opened in MuJoCo's viewer; without --live it is filmed")
        if not has_display():
            raise UserError("--live needs a display, but neither DISPLAY nor WAYLAND_DISPLAY leads to one")
        env.set_tasks([task])
        env.reset(seed=[seed])
        model, data = env.mujoco_handles()
        with suppress(KeyboardInterrupt), _window(model, data) as viewer:
            env.arrange_viewer(viewer)
            for episodes in cycle((0, adaptation_episodes)):
                print(f"{task.name} {phase(episodes)}: ", end="", flush=True)
                print(follow(viewer, data, adapt_and_play(agent, env, task, episodes, seed)))
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


def follow(viewer: Any, data: Any, moments: Iterable[Moment]) -> Moment:
    """Shows an episode's moments in real time and returns the last one played.

    Args:
        viewer: Handle from `mujoco.viewer.launch_passive`.
        data: `mujoco.MjData` that each moment changes; its `time`, in seconds, sets the pace.
        moments: Moments of one episode; playing stops when the window is closed.
    """
    for moment in moments:
        if moment.over or not viewer.is_running():
            break
        if moment.step == 0:  # the clock starts here, since adaptation episodes run at full speed
            start = time.monotonic() - data.time
        time.sleep(max(0.0, start + data.time - time.monotonic()))
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
