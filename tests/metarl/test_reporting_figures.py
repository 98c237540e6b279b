"""Figures: what they draw, their labels, and how they take on the colours of a page."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from reported_runs import HALF

from metarl.evaluation.scratch import LearningCurve
from metarl.evaluation.stress import StressCurve
from metarl.reporting.figures import (
    AdaptationCurve,
    LearningPoints,
    Scattered,
    adaptation_figure,
    learning_figure,
    name_gains_figure,
    projection_figure,
    scratch_figure,
    stress_figure,
    task_gains_figure,
)
from metarl.reporting.learning import thin
from metarl.reporting.projection import project
from metarl.reporting.style import FAINT, INK, SERIES, colour, save_figure, shorten, spread, to_svg


def test_labels_that_are_apart_stay_and_others_move_around_their_middle() -> None:
    assert spread([0.1, 0.5, 0.9], gap=0.2) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5, 0.9], gap=0.2) == pytest.approx([0.4, 0.6, 0.9])
    # three at 0, 0.1 and 0.2 with their middle at 0.1; the fourth is pushed into a cluster of four around 0.15
    assert spread([0.0, 0.1, 0.2, 0.3], gap=0.2) == pytest.approx([-0.15, 0.05, 0.25, 0.45])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_keep_their_order_and_their_distance(places: list[float]) -> None:
    moved = spread(sorted(places), gap=0.1)
    assert len(moved) == len(places)
    assert all(later - earlier >= 0.1 - 1e-9 for earlier, later in pairwise(moved))
    assert sum(moved) == pytest.approx(sum(places))


def test_long_names_lose_their_middle() -> None:
    assert shorten("short") == "short"
    assert shorten("abcdefghij", most=7) == "abc…hij"


def test_adaptation_is_drawn_as_evaluated() -> None:
    curves = [AdaptationCurve("mine", HALF.overall), AdaptationCurve("ceiling", HALF.overall[1:], control=True)]
    figure = adaptation_figure(curves, "success", "demonstrations")
    [axes] = figure.axes
    mine, ceiling = axes.lines
    assert np.asarray(mine.get_xdata()).tolist() == [0, 10]
    assert np.asarray(mine.get_ydata()).tolist() == [0, 0.5]
    assert np.asarray(ceiling.get_xdata()).tolist() == [0, 10]  # measured once: level
    assert np.asarray(ceiling.get_ydata()).tolist() == [0.5, 0.5]
    assert (to_hex(mine.get_color()), to_hex(ceiling.get_color())) == (SERIES[0], FAINT)
    low, high = axes.collections[0].get_datalim(axes.transData).intervaly
    interval = HALF.overall[1].success
    assert (low, high) == pytest.approx((0, max(interval.high, HALF.overall[0].success.high)))
    assert [text.get_text() for text in axes.texts] == ["mine", "ceiling"]


def test_gains_are_drawn_in_their_order() -> None:
    figure = task_gains_figure({"mine": np.array([3.0, -1.0, 2.0])}, "return")
    points = figure.axes[0].lines[-1]
    assert np.asarray(points.get_ydata()).tolist() == [-1, 2, 3]


def test_names_are_drawn_from_the_least_gain_up() -> None:
    gains = {name: rows[-1].return_gain for name, rows in HALF.per_name.items()}
    [gain] = gains.values()
    assert gain is not None
    low, high = gain._replace(mean=1.0), gain._replace(mean=2.0)
    axes = name_gains_figure({"mine": {"b": high, "a": low}}, "return").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert np.asarray(axes.lines[-1].get_xdata()).tolist() == [1, 2]


def test_learning_curves_are_labelled_at_their_ends() -> None:
    steps = np.array([100, 200])
    series = [
        LearningPoints("after", steps, np.array([0.1, 0.9]), "after"),
        LearningPoints("before", steps, np.array([0.1, 0.2]), "before"),
    ]
    axes = learning_figure(series, "success", "steps of demonstrations").axes[0]
    assert axes.get_xlabel() == "steps of demonstrations in training"
    assert [text.get_text() for text in axes.texts] == ["before", "after"]  # from the bottom up
    assert axes.get_xlim() == pytest.approx((0, 204))


def test_learning_from_scratch_is_drawn_beside_what_adaptation_reaches() -> None:
    curve = LearningCurve(
        learner="sac",
        settings={},
        distribution="navigation",
        task_names=("a", "b", "c"),
        task_ids=("1", "2", "3"),
        episodes=np.array([0, 100]),
        success=np.array([[0.0, 0.2], [0.0, 0.4], [0.0, 1.0]]),
        returns=np.zeros((3, 2)),
        horizon=8,
        seed=1,
    )
    axes = scratch_figure([curve], [AdaptationCurve("mine", HALF.overall)], "success").axes[0]
    scratch, level, point = axes.lines
    assert np.asarray(scratch.get_ydata()).tolist() == [0, 0.4]  # the median task
    assert np.asarray(level.get_xdata()).tolist() == [10, 100]
    assert np.asarray(point.get_ydata()).tolist() == [0.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "10", "30", "100"]


def test_stress_is_drawn_before_and_after_adaptation() -> None:
    curve = StressCurve("sensor-noise", "m", (0.0, 0.1), (HALF, HALF))
    axes = stress_figure({"mine": curve}, "success").axes[0]
    after, before = axes.lines
    assert np.asarray(after.get_ydata()).tolist() == [0.5, 0.5]
    assert np.asarray(before.get_ydata()).tolist() == [0, 0]
    assert axes.get_xlabel() == "sensor noise (m)"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "0.1"]


def test_many_names_differ_in_colour_or_marker() -> None:
    names = [f"task {number}" for number in range(13)]
    axes = projection_figure(Scattered(np.zeros((13, 2)), (1, 0), names, None)).axes[0]
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 13
    assert colour(0) == colour(len(SERIES))


def test_on_a_page_figures_have_the_colours_of_the_page_and_no_address() -> None:
    figure = adaptation_figure([AdaptationCurve("<b>mine</b>", HALF.overall)], "return", "episodes")
    svg = to_svg(figure)
    assert svg.startswith("<svg")
    assert svg.endswith("</svg>")
    assert "&lt;b&gt;mine&lt;/b&gt;" in svg
    assert "currentColor" in svg
    assert "var(--series-1)" in svg
    assert not re.search(f'{INK}|{SERIES[0]}|https?:|<script|<b>| id="(?:figure|axes)', svg)


@pytest.mark.parametrize(("form", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml")])
def test_the_same_figure_gives_the_same_file(form: str, start: bytes, tmp_path) -> None:
    for name in ("a", "b"):
        save_figure(
            adaptation_figure([AdaptationCurve("mine", HALF.overall)], "return", "episodes"), tmp_path / name, form
        )
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes().startswith(start)


def test_long_curves_are_averaged_in_bins() -> None:
    steps, values = thin((np.arange(1, 6), np.array([1.0, 3.0, 5.0, 7.0, 11.0])), most=3)
    assert steps.tolist() == [2, 4, 5]
    assert values.tolist() == [2, 6, 11]
    assert thin((steps, values), most=3)[1] is values


def test_points_of_a_plane_keep_their_distances() -> None:
    rng = np.random.default_rng(1)
    plane = rng.normal(size=(2, 7))
    planar = rng.normal(size=(9, 2)) @ plane + 3
    places, explained = project(planar)
    assert sum(explained) == pytest.approx(1)
    assert explained[0] >= explained[1]

    def distances(points: np.ndarray) -> np.ndarray:
        between: np.ndarray = np.linalg.norm(points[:, None] - points[None], axis=-1)
        return between

    np.testing.assert_allclose(distances(places), distances(planar), atol=1e-9)
    np.testing.assert_allclose(project(-planar).places[:, 0].max(), np.abs(places[:, 0]).max())


@pytest.mark.parametrize("vectors", [np.ones((4, 3)), np.zeros((1, 5)), np.ones((3, 1))])
def test_vectors_that_do_not_differ_are_all_in_one_place(vectors) -> None:
    places, explained = project(vectors)
    assert not places.any()
    assert explained == (0, 0)
