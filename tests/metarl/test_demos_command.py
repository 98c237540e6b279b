"""`metarl demos`: collects, lists, inspects and films."""

import json
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import imageio.v3 as iio
import numpy as np
import pytest

from metarl.cli import main
from metarl.demonstrations import Demonstration, Demonstrations, collect, load, save
from metarl.gl import HEADLESS_BACKENDS, can_draw
from metarl_envs.core import Task

pytestmark = pytest.mark.usefixtures("no_plug_ins", "_nothing_of_minari")
needs_gl = pytest.mark.skipif(not any(map(can_draw, HEADLESS_BACKENDS)), reason="MuJoCo cannot draw here")
COLLECT = "demos collect --tasks navigation --goals 2 --episodes 3 --horizon 12 --noise 0.3"


@pytest.fixture
def _nothing_of_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))


def run(capsys: pytest.CaptureFixture[str], line: str, code: int = 0) -> str:
    assert main(line.split()) == code
    captured = capsys.readouterr()
    return captured.err if code else captured.out


def test_a_dataset_is_collected_listed_and_inspected(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no demonstrations in demonstrations" in run(capsys, "demos list")
    said = run(capsys, COLLECT)
    demonstrations = load("navigation-v0")
    kept = len(demonstrations)
    assert f"navigation 12 {kept} ({kept / 12:.0%})" in " ".join(said.split())
    assert f"{kept} demonstrations, {12 * kept} steps: demonstrations/navigation-v0" in said
    facts = json.loads(Path("demonstrations/navigation-v0/data/metadata.json").read_text())
    assert facts["played"] == {"navigation": 12}
    assert facts["collected"] == {
        "tasks": ["navigation"], "goals": 2, "episodes": 3, "again": 0, "noise": 0.3, "split": "both",
        "horizon": 12, "seed": 1, "goal_seed": 1,
    }  # fmt: skip
    listed = run(capsys, "demos list")
    assert f"demonstrations/navigation-v0: {kept} episodes. Scripted experts of navigation" in listed
    assert run(capsys, "demos list demonstrations") == listed
    inspected = run(capsys, "demos inspect navigation-v0").splitlines()
    (row,) = (line.split() for line in inspected if line.strip().startswith("navigation "))
    returns = [shown.total_reward for shown in demonstrations if shown.total_reward is not None]
    assert row == ["navigation", str(len(demonstrations.tasks)), str(kept), "12", f"{np.mean(returns):.1f}", "100%"]
    assert "is there already" in run(capsys, COLLECT, code=2)


def test_a_dataset_that_cannot_be_read_is_listed_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, COLLECT)
    Path("demonstrations/navigation-v0/data/metadata.json").write_text("{")
    assert "demonstrations/navigation-v0: cannot be read:" in run(capsys, "demos list")
    assert "is damaged" in run(capsys, "demos inspect navigation-v0", code=2)


def test_a_film_tells_whether_the_episode_is_what_the_simulator_makes_of_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(capsys, COLLECT)
    said = run(capsys, "demos inspect navigation-v0 --film 1")
    film = Path("demonstrations/navigation-v0/films/demonstration-1.mp4")
    assert f"video: {film} (played again in the simulator: as recorded)" in said
    assert iio.improps(film, plugin="FFMPEG").shape[1:] == (608, 480, 3)
    demonstrations = load("navigation-v0")
    moved = demonstrations[0].observations.copy()
    moved[5:] += 0.25
    save("demonstrations/moved-v0", demonstrations.where(lambda each: each is demonstrations[0]))
    other = Demonstrations(
        [replace(demonstrations[0], observations=moved)],
        demonstrations.observation_space,
        demonstrations.action_space,
        name="slipped",
        family="navigation",
    )
    save("demonstrations/slipped-v0", other)
    assert "as recorded" in run(capsys, "demos inspect moved-v0 --film 0 --output film.mp4")
    said = run(capsys, "demos inspect slipped-v0 --film 0 --output film.mp4")
    assert "DIFFERS from what was recorded from step 5 on, by up to 0.25" in said
    assert "no demonstration 1: slipped-v0 has 0 to 0" in run(capsys, "demos inspect slipped-v0 --film 1", code=2)


def test_what_cannot_be_simulated_is_filmed_from_its_frames(capsys: pytest.CaptureFixture[str]) -> None:
    space = gym.spaces.Box(-1, 1, (1,), np.float32)
    zeros = np.zeros((4, 1), dtype=np.float32)
    shown = Demonstration(Task("pour", []), zeros, zeros[1:])
    save("demonstrations/blind-v0", Demonstrations([shown], space, space, name="blind-v0"))
    assert "cannot be filmed: it has no frames" in run(capsys, "demos inspect blind-v0 --film 0", code=2)
    assert " unknown " in run(capsys, "demos inspect blind-v0")
    shown = replace(shown, frames=np.full((4, 2, 64, 64, 3), 200, dtype=np.uint8))
    seen = Demonstrations([shown], space, space, name="seen-v0", cameras=("front", "wrist"))
    save("demonstrations/seen-v0", seen)
    assert "(frames as they were recorded)" in run(capsys, "demos inspect seen-v0 --film 0 --output film.mp4")
    picture = iio.imread("film.mp4", index=0, plugin="FFMPEG")
    assert picture[-200:-40, 40:900].mean() == pytest.approx(200, abs=3)


@needs_gl
def test_frames_show_the_robot_and_not_the_goal(capsys: pytest.CaptureFixture[str]) -> None:
    options = "--goals 1 --episodes 1 --noise 0 --horizon 60 --split test"
    run(capsys, f"demos collect --tasks reach-v3 {options} --frames --cameras view corner --output demonstrations/a-v0")
    assert run(capsys, "demos inspect a-v0").count("frames: corner, view") == 1
    (shown,) = load("a-v0", frames=True)
    assert shown.frames is not None
    assert shown.frames.shape == (61, 2, 64, 64, 3)
    assert not np.array_equal(shown.frames[0, 0], shown.frames[0, 1])
    first, *_, late, last = shown.frames.astype(float)  # the last is of the last state, not of the next episode
    assert np.abs(last - late).mean() < np.abs(last - first).mean()
    # the green of the goal's mark is nowhere
    red, green, blue = np.moveaxis(shown.frames.astype(int), -1, 0)
    assert not ((green > red + 60) & (green > blue + 60)).any()
    line = f"demos collect --tasks reach-v3 {options} --frames --cameras cornr --output demonstrations/b-v0"
    assert "has no camera 'cornr': it has topview, corner" in run(capsys, line, code=2)
    assert [path.name for path in Path("demonstrations").iterdir()] == ["a-v0"]


@needs_gl
def test_a_slow_camera_holds_its_last_picture(capsys: pytest.CaptureFixture[str]) -> None:
    line = "demos collect --tasks reach-v3 --goals 1 --episodes 1 --noise 0 --horizon 60 --split test --frames"
    run(capsys, f"{line} --output demonstrations/a-v0")
    run(capsys, f"{line} --frame-every 25 --output demonstrations/b-v0")
    (fast,), (slow,) = load("a-v0", frames=True), load("b-v0", frames=True)
    assert fast.frames is not None
    assert slow.frames is not None
    assert not np.array_equal(fast.frames[24], fast.frames[25])
    assert np.array_equal(slow.frames, fast.frames[[0] * 25 + [25] * 25 + [50] * 11])


def test_frames_are_those_of_the_recorded_states_or_the_collection_fails() -> None:
    from metarl.demonstrations.frames import Frames
    from metarl.errors import RunFailure
    from metarl_envs import registry

    if not any(map(can_draw, HEADLESS_BACKENDS)):
        pytest.skip("MuJoCo cannot draw here")
    collect(["reach-v3"], "a-v0", goals=1, episodes=1, noise=0.0, horizon=60, split="test")
    (shown,) = load("a-v0")
    with Frames(registry.make("ML1", task="reach-v3", horizon=60), ["view"]) as frames:
        assert frames.add_to(shown).frames is not None
        with pytest.raises(RunFailure, match="comes out differently"):
            frames.add_to(replace(shown, actions=-shown.actions))
