"""Plays a held-out task in MuJoCo's own viewer, in real time, where there is a display."""

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
    """What an environment must offer to be opened in MuJoCo's viewer."""

    def mujoco_handles(self) -> tuple[Any, Any]:
        """The `mujoco.MjModel` and `mujoco.MjData` of the only sub-environment, after a task is set and reset to."""

    def arrange_viewer(self, viewer: Any) -> None:
        """Points the viewer to the scene and marks what else is to be seen, such as a hidden goal."""


def play_live(agent: Agent, distribution: TaskDistribution, task: Task, adaptation_episodes: int, seed: int) -> None:
    """Shows the task before and after adaptation, over and over, until the window is closed or Ctrl-C is pressed.

    Args:
        agent: Adapts to the task anew in every round.
        distribution: Makes the environment.
        task: What is played.
        adaptation_episodes: How many episodes the agent may adapt on.
        seed: What the environment's seeds are derived from.

    Raises:
        UserError: If the family is not simulated by MuJoCo, or there is no display.
    """
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:  # this mode simulates in our own process
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
    """Opens MuJoCo's viewer, and waits for its thread when it is closed: without its model, that would crash."""
    from mujoco.viewer import launch_passive  # loads GLFW, which nothing else needs

    others = set(threading.enumerate())
    try:
        with launch_passive(model, data, show_left_ui=False, show_right_ui=False) as viewer:
            yield viewer
    finally:
        for thread in set(threading.enumerate()) - others:
            thread.join(_SECONDS_TO_CLOSE)


def follow(viewer: Any, data: Any, moments: Iterable[Moment]) -> Moment:
    """Shows each moment when its time has come, and returns the last one played.

    Args:
        viewer: The handle that `mujoco.viewer.launch_passive` gave.
        data: The `mujoco.MjData` that the moments change.
        moments: An episode; given up when the window is closed.
    """
    for moment in moments:
        if moment.over or not viewer.is_running():
            break
        if moment.step == 0:  # what came before was adaptation, at full speed
            start = time.monotonic() - data.time
        time.sleep(max(0.0, start + data.time - time.monotonic()))
        viewer.sync()
    return moment


def has_display() -> bool:
    """Whether a window can be opened."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # GLFW warns where it fails
        found = bool(glfw.init())
    if found:
        glfw.terminate()  # the viewer's thread begins afresh
    return found
