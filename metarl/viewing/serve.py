"""Viewer in the browser: one picks a task and what to adapt on, and sees the episodes play."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from metarl.acting.agents import Agent, adapts_on
from metarl.devices import one_torch_thread
from metarl.viewing.film import Shot
from metarl.viewing.playing import Moment, adapt_and_play
from metarl_envs.core import TaskDistribution, TaskVectorEnv
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    import viser

_HOST = "127.0.0.1"
_SPEEDS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Playing speeds over real time."""
_MOST_PICTURES = 30
"""Largest number of pictures per second that a browser gets."""


def serve_run(
    agent: Agent, distribution: TaskDistribution, tasks: Sequence[tuple[str, int]], shot: Shot, port: int
) -> None:
    """Serves the viewer to browsers on this machine, until Ctrl-C is pressed.

    Args:
        agent: Agent to show.
        distribution: Its tasks.
        tasks: Label and index of the held-out tasks that tell most; the first of them is shown first.
        shot: What is shown at first.
        port: Port to serve at.

    Raises:
        UserError: If viser is not installed, MuJoCo does not simulate the family, or the port is in use.
    """
    try:
        import viser
    except ModuleNotFoundError as error:
        raise UserError(
            f"--serve needs {error.name}, which is not installed: pip install 'metarl-suite[viewer]'"
        ) from None
    # The viewer needs the simulation in this process, and render_mode="rgb_array" puts it here.
    with closing(distribution.make_env(1, render_mode="rgb_array")) as env:
        env.set_tasks([distribution.test_tasks[tasks[0][1]]])
        env.reset(seed=[shot.seed])
        if env.scene() is None:
            raise UserError(f"{distribution.name} is not simulated by MuJoCo; without --serve it is filmed")
        _check_port(port)
        server = viser.ViserServer(host=_HOST, port=port, verbose=False)
        try:
            page = Page(server, agent, distribution, env, tasks, shot)
            print(f"viewer: http://{_HOST}:{port} (Ctrl-C ends it)", flush=True)
            with suppress(KeyboardInterrupt):
                page.run()
        finally:
            server.stop()


def _check_port(port: int) -> None:
    """Checks that a port is free; viser would take another one without a word."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise UserError(f"cannot serve at port {port}: {error.strerror}; name another by --port") from None


class Page:
    """The viewer's page: controls whose callbacks say what is wanted, and a loop that plays it.

    Args:
        server: Server of the page.
        agent: Agent to show.
        distribution: Its tasks.
        env: Vector of a single environment that MuJoCo simulates.
        tasks: Label and index of the held-out tasks that tell most.
        shot: What is shown at first.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        agent: Agent,
        distribution: TaskDistribution,
        env: TaskVectorEnv,
        tasks: Sequence[tuple[str, int]],
        shot: Shot,
    ) -> None:
        from metarl.viewing.web_scene import WebScene  # here, as it loads the web server

        self._agent, self._distribution, self._env, self._shot = agent, distribution, env, shot
        self._labels = {index: label for label, index in tasks}
        self._task = tasks[0][1]
        self._scene = WebScene(server)
        self._changed, self._closed = threading.Event(), threading.Event()
        self._add_controls(server.gui)

    def _add_controls(self, gui: viser.GuiApi) -> None:
        gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        gui.set_panel_label(self._distribution.name)
        names = list(dict.fromkeys(task.name for task in self._distribution.test_tasks))
        name = self._distribution.test_tasks[self._task].name
        self._name = gui.add_dropdown("Task", names, initial_value=name)
        goals = self._goals(name)
        self._goal = gui.add_dropdown("Goal", list(goals), initial_value=self._goal_of(self._task))
        self._episodes = gui.add_slider(
            adapts_on(self._agent).in_full.capitalize(),
            0,
            max(20, self._shot.adaptation_episodes),
            1,
            self._shot.adaptation_episodes,
        )
        self._trial = gui.add_checkbox("Show them too", self._shot.trial)
        self._speed = gui.add_dropdown("Speed", [f"{speed:g} x" for speed in _SPEEDS], initial_value="1 x")
        self._pause = gui.add_checkbox("Pause", False)
        again = gui.add_button("Play again")
        self._status = gui.add_markdown("")
        self._name.on_update(lambda _: self._choose_name())
        for control in (self._goal, self._episodes, self._trial):
            control.on_update(lambda _: self._changed.set())
        again.on_click(lambda _: self._changed.set())

    def _goals(self, name: str) -> dict[str, int]:
        """Returns the tasks of a name by what the page calls them."""
        tasks = self._distribution.test_tasks
        return {self._goal_of(index): index for index, task in enumerate(tasks) if task.name == name}

    def _goal_of(self, index: int) -> str:
        label = self._labels.get(index)
        return f"{index} ({self._distribution.test_tasks[index].id[:6]}){f', {label}' if label else ''}"

    def _choose_name(self) -> None:
        self._goal.options = list(self._goals(self._name.value))
        self._changed.set()

    def close(self) -> None:
        """Makes `run` return."""
        self._closed.set()
        self._changed.set()

    def run(self) -> None:
        """Plays what the controls say, and anew whenever they change, until `close`."""
        while not self._closed.is_set():
            self._changed.clear()
            try:
                self._play()
            except UserError as error:  # such as fewer demonstrations of the task than asked for
                self._status.content = f"### {self._name.value}\n{error}"
            while not self._changed.wait(0.5):  # in parts, so that Ctrl-C comes through
                pass

    @one_torch_thread()
    def _play(self) -> None:
        index = self._goals(self._name.value)[self._goal.value]
        task = self._distribution.test_tasks[index]
        shot = replace(self._shot, adaptation_episodes=self._episodes.value, trial=self._trial.value)
        if shot.adaptation_episodes and not shot.trial:
            self._status.content = (
                f"### {task.name}\nadapting on {adapts_on(self._agent).number(shot.adaptation_episodes)} ..."
            )
        clock, about = _Clock(), ""
        moments = adapt_and_play(
            self._agent,
            self._env,
            task,
            shot.adaptation_episodes,
            shot.seed,
            episodes=shot.episodes,
            trial=shot.trial,
        )
        for moment in moments:
            if self._changed.is_set():
                return
            if not moment.over:
                about = self._env.describe()
            if moment.over or self._wait(clock, moment):
                self._show(task.name, about, moment)

    def _wait(self, clock: _Clock, moment: Moment) -> bool:
        """Waits for a moment's time to come; returns false if it needs no picture."""
        scene = self._env.scene()
        assert scene is not None  # `serve_run` has checked
        while self._pause.value and not self._changed.is_set():
            time.sleep(0.05)
            clock.restart()
        return clock.wait(scene.data.time, float(self._speed.value.split()[0]), anew=moment.step == 0)

    def _show(self, name: str, about: str, moment: Moment) -> None:
        scene = self._env.scene()
        if not moment.over and scene is not None:
            self._scene.show(scene)
        solved = "not solved yet" if moment.solved_at is None else f"**solved** at step {moment.solved_at}"
        if moment.over and moment.solved_at is None:
            solved = "not solved"
        lines = [f"### {name}", f"**{moment.title}**", moment.intent, about]
        lines += [f"step {moment.step} of {self._env.horizon}", f"reward {moment.reward:.2f}"]
        lines += [f"return {moment.episode_return:.1f}", solved]
        self._status.content = "\n\n".join(line for line in lines if line)


class _Clock:
    """Keeps the simulation's time in step with real time, at some speed."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None
        """Simulated and real time, in seconds, of the last picture."""

    def restart(self) -> None:
        """Makes the next moment due at once."""
        self._last = None

    def wait(self, simulated: float, speed: float, anew: bool) -> bool:
        """Waits until a simulated time is due; returns false for one so soon after the last picture that none is due.

        Args:
            simulated: Simulated time, in seconds.
            speed: Speed over real time.
            anew: True if simulated time has begun anew.
        """
        now = time.monotonic()
        if self._last is None or anew:
            self._last = simulated, now
            return True
        then, real = self._last
        due = real + (simulated - then) / speed
        if due - real < 1 / _MOST_PICTURES:
            return False
        time.sleep(max(0.0, due - now))
        self._last = simulated, max(due, time.monotonic() - 1 / _MOST_PICTURES)
        return True
