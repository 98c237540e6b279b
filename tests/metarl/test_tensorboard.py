"""What TensorBoard shows of a run besides its curves: their layout, the configuration, a still of the newest film."""

import os
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from page import COMMON_METRICS
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

from metarl.algorithms.maml.config import MAMLConfig
from metarl.config import NavigationTasks, RunConfig
from metarl.runs import RunDirectory

CONFIG = RunConfig(iterations=5, tasks=NavigationTasks(horizon=17), algorithm=MAMLConfig())
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory.create(tmp_path / "run", CONFIG)
    yield run
    run.close()


def events_of(run: RunDirectory) -> EventAccumulator:
    run.close()
    return EventAccumulator(str(run.path)).Reload()


def text_of(events: EventAccumulator, tag: str) -> str:
    (event,) = events.Tensors(tag)
    return bytes(event.tensor_proto.string_val[0]).decode()


def put_image(run: RunDirectory, name: str, colour: tuple[int, int, int], seconds: int) -> None:
    path = run.videos / name
    Image.new("RGB", (32, 16), colour).save(path)
    os.utime(path, (seconds, seconds))


def stills(run: RunDirectory) -> list[tuple[int, list[int]]]:
    """Environment steps and colour of the images."""
    events = events_of(run)
    if "film" not in events.Tags()["images"]:
        return []
    images = [(event.step, Image.open(BytesIO(event.encoded_image_string))) for event in events.Images("film")]
    assert all(image.size == (32, 16) for _, image in images)
    return [(step, np.asarray(image)[8, 16].tolist()) for step, image in images]


def test_the_layout_overlays_all_k_and_names_what_is_logged(run: RunDirectory) -> None:
    run.log({"a": 1.0}, 0, 10)
    (event,) = events_of(run).Tensors(metadata.CONFIG_SUMMARY_TAG)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    charts = {chart.title: list(chart.multiline.tag) for category in layout.category for chart in category.chart}
    logged = {name.replace("<k>", "10").replace("<name>", "reach-v3") for name in COMMON_METRICS}
    logged |= {name.replace("<k>", "0") for name in COMMON_METRICS}
    # TensorBoard takes a tag for the beginning of a name
    shown = {title: {name for name in logged for tag in tags if re.match(tag, name)} for title, tags in charts.items()}
    both = {f"eval/success_rate/test/{k}_episodes" for k in (0, 10)}
    assert shown["success for each k"] == both
    assert shown["success by name of the task"] == {"eval/success_rate/test/reach-v3", "eval/success_rate/test/<name>"}
    assert shown["return before and after adaptation"] == {"meta/pre_adapt_return", "rollout/ep_rew_mean"}
    assert all(shown.values())


def test_the_configuration_is_text(run: RunDirectory) -> None:
    run.log({"a": 1.0}, 0, 10)
    events = events_of(run)
    text = text_of(events, "config.yaml/text_summary")
    assert "\n      horizon: 17\n" in text  # indented by four: code, in Markdown
    assert text.replace("\n    ", "\n").removeprefix("    ") == (run.path / "config.yaml").read_text().rstrip("\n")
    assert '"torch"' in text_of(events, "versions.json/text_summary")


def test_the_newest_film_is_shown_once(run: RunDirectory) -> None:
    run.log({"a": 1.0}, 0, 10)
    put_image(run, "a.png", RED, seconds=2000)
    put_image(run, "b.png", BLUE, seconds=1000)
    (run.videos / "notes.txt").write_text("no film")
    run.log({"a": 1.0}, 1, 20)
    run.log({"a": 1.0}, 2, 30)
    put_image(run, "b.png", BLUE, seconds=3000)
    run.log({"a": 1.0}, 3, 40)
    assert stills(run) == [(20, [*RED]), (40, [*BLUE])]


def test_a_run_without_films_has_no_stills(run: RunDirectory) -> None:
    run.log({"a": 1.0}, 0, 10)
    assert stills(run) == []


def test_a_film_that_cannot_be_read_stops_nothing(run: RunDirectory, caplog: pytest.LogCaptureFixture) -> None:
    (run.videos / "half.mp4").write_bytes(b"half a film")
    run.log({"a": 1.0}, 0, 10)
    run.log({"a": 2.0}, 1, 20)
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith("TensorBoard gets no still of the newest film: ")
    assert "half.mp4" in message
    assert len(events_of(run).Scalars("a")) == 2
