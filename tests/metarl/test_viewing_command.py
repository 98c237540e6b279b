"""`metarl watch`: what the videos show, how they are called and what is refused."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gains import stored_gains
from imageio_ffmpeg import get_ffmpeg_exe

from metarl import checkpoints
from metarl.acting.adapts_on import AdaptsOn
from metarl.algorithms.maml.config import MAMLConfig
from metarl.checkpoints import Manifest
from metarl.config import BanditTasks, NavigationTasks, RunConfig
from metarl.config.tasks import TasksConfig
from metarl.data.steps import Array, BoolArray, TimestepLike
from metarl.demonstrations import Demonstration
from metarl.evaluation.stored import write_evaluation
from metarl.gl import HEADLESS_BACKENDS, can_draw
from metarl.runs import RunDirectory
from metarl.viewing import command, lens
from metarl.viewing import film as film_module
from metarl.viewing.command import watch_run
from metarl.viewing.film import Shot, film, film_pair
from metarl.viewing.video import MUTED
from metarl_envs.core import Task, TaskDistribution
from metarl_envs.errors import UserError
from metarl_envs.metaworld import MetaWorld

HORIZON = 8
BAND = 125
"""Height of the text above a picture of 480 pixels."""


class Seeker:
    """Stays at the origin until it has adapted to an episode, then heads for the goal it was told."""

    adaptation_steps = 1

    def __init__(self, goals: Iterable[Task], actions: int = 2) -> None:
        self.goals = iter(goals)
        self.shape = 1, actions

    def init(self) -> None:
        self.steps = 0

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        return np.full(self.shape, 0.01), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        self.steps += 1

    def adapt(self) -> None:
        self.goal = next(self.goals).parameters if self.steps else None

    def reset(self, env_mask: BoolArray) -> None:
        pass

    def eval_action(self, observations: Array) -> Array:
        if self.goal is None:
            return np.zeros(self.shape)
        return np.clip(self.goal - observations[:, : self.shape[1]], -0.1, 0.1)


class Imitator(Seeker):
    """Is told the goal by demonstrations, three steps that lead past it."""

    def show(self, tasks: Sequence[Task], count: int) -> None:
        self.init()
        self.goal = tasks[0].parameters if count else None

    def find(self, task: Task, count: int) -> Sequence[Demonstration]:
        actions = np.tile(np.array([0.1, -0.1], np.float32), (3, 1))
        return [Demonstration(task, np.zeros((4, 2), np.float32), actions)] * count


TASKS = NavigationTasks(num_train_tasks=2, num_test_tasks=3, horizon=HORIZON)


@pytest.fixture
def navigation() -> TaskDistribution:
    return TASKS.build()


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunDirectory]:
    """A run on the given tasks."""

    def make(tasks: TasksConfig = TASKS) -> RunDirectory:
        return RunDirectory.create(tmp_path / "run", RunConfig(iterations=1, tasks=tasks, algorithm=MAMLConfig()))

    return make


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Watches a run, with the seeker for the agent in its checkpoint."""
    monkeypatch.setattr(lens, "choose_backend", lambda: None)

    def load(
        checkpoint: Path, config: RunConfig, distribution: TaskDistribution, seed: int = 0
    ) -> tuple[Seeker, Manifest]:
        return Seeker(distribution.test_tasks), manifest(distribution, env_steps=4000)

    monkeypatch.setattr(command, "load_agent", load)

    def watch(run: RunDirectory, **options: Any) -> list[Path]:
        return watch_run(run, run.checkpoints, **{"num_tasks": 1, "adaptation_episodes": 1} | options)

    return watch


def manifest(distribution: TaskDistribution, env_steps: int) -> Manifest:
    return Manifest(iteration=1, env_steps=env_steps, config={}, task_fingerprint=distribution.fingerprint, versions={})


def decode(path: Path) -> Array:
    decoder = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(decoder, capture_output=True, check=True)
    size = re.search(r" (\d{2,})x(\d+)", decoded.stderr.decode())
    assert size is not None
    width, height = map(int, size.groups())
    return np.frombuffer(decoded.stdout, np.uint8).reshape(-1, height, width, 3).astype(float)


def centre(picture: Array, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Where something of this colour is, in navigation's coordinates: a picture shows -0.75 to 0.75, up is up."""
    rows, columns = np.nonzero(np.abs(picture - colour).sum(axis=-1) < 90)
    return columns.mean() / 320 - 0.75, 0.75 - rows.mean() / 320


def test_video_shows_before_on_the_left_and_after_on_the_right(monkeypatch, navigation, tmp_path) -> None:
    monkeypatch.setattr(lens, "choose_backend", lambda: None)
    task = Task("navigation", [0.4, -0.2])
    path = tmp_path / "navigation.mp4"
    path.write_bytes(film_pair(Seeker([task]), navigation, task, 2, seed=1))
    frames = decode(path)
    assert frames.shape == (HORIZON + 1 + 25, 608, 976, 3)  # the start, each step, a second's stay
    before, after = frames[:, BAND:605, :480], frames[:, BAND:605, 496:]
    point, goal = (65, 105, 225), (50, 205, 50)  # royal blue and lime green
    way = [(0, 0), (0.1, -0.1), (0.2, -0.2), (0.3, -0.2)]
    for step, place in enumerate(way):
        for pane in (before, after):
            assert centre(pane[step], goal) == pytest.approx(task.parameters, abs=0.02)
        assert centre(before[step], point) == pytest.approx((0, 0), abs=0.01)
        assert centre(after[step], point) == pytest.approx(place, abs=0.01)
    # Of the last step there is no picture, as the next episode has begun by then; that of the step before stays.
    for frame in (HORIZON, HORIZON + 25):
        assert centre(after[frame], point) == pytest.approx(task.parameters, abs=0.01)
    assert np.abs(frames[HORIZON, :BAND] - frames[HORIZON - 1, :BAND]).max() > 100  # but the caption counts it


def test_what_an_imitator_was_shown_is_left_of_before_and_after(monkeypatch, navigation, tmp_path) -> None:
    monkeypatch.setattr(lens, "choose_backend", lambda: None)
    task, played, path = Task("navigation", [0.4, -0.2]), [], tmp_path / "film.mp4"
    shot = Shot(adaptation_episodes=2)
    film(path, Imitator([]), navigation, task, shot, advance=lambda: played.append(1))
    frames = decode(path)
    assert frames.shape == (HORIZON + 1 + 25, 608, 2 * 496 + 480, 3)
    assert len(played) == shot.moments(HORIZON, AdaptsOn.DEMONSTRATIONS) - (HORIZON - 3)  # the demonstration is short
    shown, before, after = (frames[:, BAND:605, column : column + 480] for column in (0, 496, 992))
    point = 65, 105, 225  # royal blue
    for step, place in enumerate([(0, 0), (0.1, -0.1), (0.2, -0.2), (0.3, -0.3), (0.3, -0.3)]):
        assert centre(shown[step], point) == pytest.approx(place, abs=0.01)
        assert centre(before[step], point) == pytest.approx((0, 0), abs=0.01)
    assert centre(after[3], point) == pytest.approx((0.3, -0.2), abs=0.01)


def test_a_trial_shows_all_episodes_in_turn(monkeypatch, navigation, tmp_path) -> None:
    monkeypatch.setattr(lens, "choose_backend", lambda: None)
    task, played = Task("navigation", [0.4, -0.2]), []
    path = tmp_path / "trial.mp4"
    shot = Shot(adaptation_episodes=2, trial=True, size=240, fps=5)
    film(path, Seeker([task]), navigation, task, shot, "why", lambda: played.append(1))
    frames = decode(path)
    # A picture of every step and one of the start, of 3 episodes; text, picture and strip, padded to blocks of 16.
    assert frames.shape == (3 * (HORIZON + 1) + 5, 62 + 240 + 34, 240, 3)
    assert len(played) == shot.moments(HORIZON, AdaptsOn.EPISODES) == 3 * (HORIZON + 1)
    bars = [(np.abs(frame[302:] - MUTED).sum(-1) < 60).any(0)[12:].sum() for frame in frames[[0, 14, 26]]]
    assert bars[0] < bars[1] < bars[2]


def test_metaworld_is_filmed_right_side_up_with_its_goal(monkeypatch, tmp_path) -> None:
    backend = next(filter(can_draw, HEADLESS_BACKENDS), None)
    if backend is None:
        pytest.skip("neither EGL nor OSMesa draws on this machine")
    for name in ("MUJOCO_GL", "PYOPENGL_PLATFORM"):
        monkeypatch.setenv(name, backend)
    distribution = MetaWorld("ML1", task="reach-v3", horizon=2)
    task = distribution.test_tasks[0]
    path = tmp_path / "reach.mp4"
    film(path, Seeker([Task("reach-v3", np.zeros(4))], actions=4), distribution, task, Shot(adaptation_episodes=1))
    frames = decode(path)
    assert len(frames) == 2 + 1 + 25
    for pane in (frames[0, BAND:605, :480], frames[0, BAND:605, 496:]):
        red, green, blue = pane.transpose(2, 0, 1)
        assert 20 < ((green > red + 60) & (green > blue + 60)).sum() < 5000  # the goal is a green ball
        assert np.abs(red - blue)[:20].mean() < 10  # above there is a grey wall
        assert (red - blue)[-60:, 200:400].mean() > 20  # below there is a wooden table


def test_one_video_per_task_named_after_steps_and_task(watch, make_run, navigation, capsys) -> None:
    run = make_run()
    paths = watch(run, num_tasks=2)
    assert paths == [run.videos / f"000000004000-navigation-{task.id[:6]}.mp4" for task in navigation.test_tasks[:2]]
    assert sorted(run.videos.iterdir()) == sorted(paths)
    assert watch(run) == paths[:1]  # filmed again, it is replaced
    assert capsys.readouterr().out == ""  # who calls tells where the videos are


def test_a_long_episode_is_shown_in_strides_and_with_its_end(monkeypatch, watch, make_run) -> None:
    monkeypatch.setattr(film_module, "frame_stride", lambda horizon, fps, seconds: 3)
    (path,) = watch(make_run())
    assert len(decode(path)) == len([0, 3, 6, HORIZON]) + 25


def test_several_evaluation_episodes_follow_each_other(watch, make_run) -> None:
    (path,) = watch(make_run(), episodes=2, fps=5)
    assert len(decode(path)) == 2 * (HORIZON + 1) + 5


def test_a_grid_is_one_film_and_a_gif_ends_in_gif(watch, make_run) -> None:
    run = make_run()
    paths = watch(run, num_tasks=None, grid=True, gif=True)
    assert paths == [run.videos / "000000004000-grid.gif"] == list(run.videos.iterdir())
    assert decode(paths[0]).shape == (HORIZON + 1 + 10, 2 * 304, 2 * 496, 3)  # three tasks in two columns


def test_fewer_tasks_than_asked_for_are_all_filmed(watch, make_run) -> None:
    assert len(watch(make_run(), num_tasks=50)) == 3


def test_the_checkpoint_itself_is_filmed(make_run, navigation) -> None:
    """From a real checkpoint of an untrained policy; one of other tasks is refused."""
    run = make_run()
    algorithm = run.config.algorithm.build(navigation, torch.device("cpu"))
    checkpoint = checkpoints.save(run.checkpoints, algorithm.state_dict(), manifest(navigation, env_steps=12))
    (path,) = watch_run(run, checkpoint, num_tasks=1, adaptation_episodes=2)
    assert path.name.startswith("000000000012-navigation-")
    assert len(decode(path)) == HORIZON + 1 + 25
    other = run.config.model_copy(update={"tasks": NavigationTasks(num_test_tasks=5)})
    with pytest.raises(UserError, match="was trained on other tasks"):
        watch_run(RunDirectory(run.path, other), checkpoint)


def test_file_names_have_no_folders_in_them() -> None:
    task = Task("cheetah/../forward 2", [1.0])
    assert command._slug(task, "10th percentile of gain") == (
        f"10th-percentile-of-gain-cheetah-..-forward-2-{task.id[:6]}"
    )


def test_films_show_the_last_evaluation(watch, make_run, navigation, monkeypatch, capsys) -> None:
    run, shots = make_run(), []
    stored = stored_gains(navigation.test_tasks, [30.0, 10.0, 20.0], (0, 4), navigation.fingerprint)
    write_evaluation(run.evaluations / "a.json", stored)

    def film(path: Path, agent: Seeker, distribution: TaskDistribution, task: Task, shot: Shot, *rest: Any) -> None:
        shots.append(shot)

    monkeypatch.setattr(command, "film", film)
    paths = watch(run, num_tasks=None, adaptation_episodes=None)
    names = [f"{label}-percentile-of-gain-navigation" for label in ("10th", "50th", "90th")]
    expected = [navigation.test_tasks[index].id[:6] for index in (1, 2, 0)]
    assert [path.stem.removeprefix("000000004000-") for path in paths] == [
        f"{name}-{task}" for name, task in zip(names, expected, strict=True)
    ]
    assert {(shot.adaptation_episodes, shot.seed) for shot in shots} == {(4, 7)}
    assert capsys.readouterr().err == "tasks chosen by their gain at k = 4 in the evaluation\n"


@pytest.mark.slow
def test_processes_make_the_films_that_one_makes(make_run, navigation, tmp_path) -> None:
    run = make_run()
    algorithm = run.config.algorithm.build(navigation, torch.device("cpu"))
    checkpoint = checkpoints.save(run.checkpoints, algorithm.state_dict(), manifest(navigation, env_steps=12))
    one, two = (
        watch_run(run, checkpoint, adaptation_episodes=1, output=tmp_path / str(processes), processes=processes)
        for processes in (1, 2)
    )
    assert len(one) == len(two) == 3
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    with pytest.raises(UserError, match="navigation is not simulated by MuJoCo and has no cameras"):
        watch_run(run, checkpoint, camera="top", processes=2)


def test_what_cannot_be_drawn_is_refused(watch, make_run) -> None:
    with pytest.raises(UserError, match=r"bandit.* has nothing to render"):
        watch(make_run(BanditTasks(num_train_tasks=2, num_test_tasks=2)))


@pytest.mark.parametrize(
    ("field", "name", "value"),
    [("num_tasks", "number of tasks", 0), ("adaptation_episodes", "adaptation_episodes", 0)],
)
def test_numbers_out_of_range_are_named(watch, make_run, field, name, value) -> None:
    with pytest.raises(UserError, match=f"{name} must be at least 1.*: got {value}"):
        watch(make_run(), **{field: value})


def test_navigation_has_no_simulator_window(watch, make_run) -> None:
    run = make_run()
    with pytest.raises(UserError, match="navigation cannot be opened in MuJoCo's viewer"):
        watch(run, live=True)
    assert list(run.videos.iterdir()) == []


def test_navigation_has_no_cameras_and_is_not_served(watch, make_run) -> None:
    run = make_run()
    with pytest.raises(UserError, match="navigation is not simulated by MuJoCo and has no cameras"):
        watch(run, camera="top")
    with pytest.raises(UserError, match="navigation is not simulated by MuJoCo; without --serve it is filmed"):
        watch(run, serve=8080)
    assert list(run.videos.iterdir()) == []


def test_backend_is_chosen_only_where_mujoco_draws(monkeypatch, watch, make_run) -> None:
    run, chosen = make_run(), []
    monkeypatch.setattr(lens, "choose_backend", lambda: chosen.append("backend"))
    monkeypatch.delitem(sys.modules, "mujoco", raising=False)
    watch(run)
    assert chosen == []
    monkeypatch.setitem(sys.modules, "mujoco", None)
    watch(run)
    assert chosen == ["backend"]
