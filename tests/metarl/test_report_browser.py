"""A report in a real browser: fits a phone, plays films, sorts, follows the system's colours, needs no network."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from browsing import chromium
from playwright.sync_api import Browser, Page
from reported_runs import HALF, evaluation, make_run, store

from metarl.reporting.figures import Scattered
from metarl.reporting.films import EmbeddedFilm
from metarl.reporting.material import gather
from metarl.reporting.page import Content, Missing, render_page
from metarl.reporting.plots import inside_plot, make_plots
from metarl.viewing.video import write_video


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that may be too wide: long names, many columns, a film."""
    folder = tmp_path_factory.mktemp("report")
    run = make_run(folder / "a-run-whose-name-is-longer-than-a-telephone-is-wide-20260101-120000")
    names = [f"a-task-of-a-very-long-name-{index // 2}-v3" for index in range(6)]
    store(run, evaluation(HALF.returns[..., 0], HALF.success[..., 0], names=names))
    store(run, HALF, control="random")
    for step in range(1, 4):
        run.log({"rollout/ep_rew_mean": float(step), "rollout/success_rate": step / 4}, step, 1000 * step)
    run.close()
    [policy] = gather([run.path], lambda run: None)
    video = folder / "film.mp4"
    write_video(video, [np.full((64, 128, 3), shade, np.uint8) for shade in range(0, 250, 5)])
    film = EmbeddedFilm("Median", "A film.", base64.b64encode(video.read_bytes()).decode())
    inside = inside_plot(policy, 1, "recurrent state", Scattered(np.eye(6)[:, :2], (1, 0), names, None))
    shaded = inside_plot(policy, 2, "recurrent state", Scattered(np.eye(6)[:, :2], (1, 0), names, np.arange(6.0), "p"))
    missing = [Missing("Robustness", "metarl evaluate runs/x " + "--some-option " * 20)]
    plots = [*make_plots([policy]), inside, shaded]
    path = folder / "report.html"
    path.write_text(render_page(Content([policy], plots, [film], [("b", "x 3")], missing, ["Careful."])))
    return path


class Opened:
    """A page opened from disk, whose requests and complaints are counted."""

    def __init__(self, browser: Browser, html: Path, width: int, scheme: Literal["light", "dark"]) -> None:
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(html.as_uri())

    def column(self, number: int) -> list[str]:
        return self.page.locator(f"table.sortable tbody td:nth-child({number})").all_inner_texts()


@pytest.fixture(scope="module")
def desktop(browser: Browser, html: Path) -> Iterator[Opened]:
    opened = Opened(browser, html, 1280, "light")
    yield opened
    opened.page.close()


@pytest.mark.parametrize("width", [320, 390, 800, 1280])
def test_nothing_is_wider_than_the_screen(width: int, browser: Browser, html: Path) -> None:
    opened = Opened(browser, html, width, "light")
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    for svg in opened.page.locator("figure svg").all():
        box = svg.bounding_box()
        assert box is not None
        assert 200 < box["width"] <= width
    assert not opened.complaints
    opened.page.close()


def test_text_of_figures_stays_within_the_figure(desktop: Opened) -> None:
    overhang = desktop.page.evaluate(
        """() => Math.max(...[...document.querySelectorAll("figure svg")].map((svg) => Math.max(
            ...[...svg.querySelectorAll("text")].map(
                (text) => text.getBoundingClientRect().right - svg.getBoundingClientRect().right))))"""
    )
    assert overhang < 8


def test_films_play(desktop: Opened) -> None:
    film = desktop.page.locator("video")
    seconds = film.evaluate(
        """async (film) => { await film.play(); await new Promise((next) => film.ontimeupdate =
            () => film.currentTime > 0.2 && next()); return film.currentTime }"""
    )
    assert seconds > 0.2
    assert film.evaluate("film => [film.videoWidth, film.videoHeight, film.error]") == [128, 64, None]


def test_a_click_and_the_keyboard_sort(desktop: Opened) -> None:
    gains = [4.0, 3, 2, 1, 0, -1]
    assert [float(text) for text in desktop.column(3)] == gains
    button = desktop.page.locator("th button", has_text="gain in return")
    button.click()
    assert [float(text) for text in desktop.column(3)] == gains[::-1]
    button.focus()
    desktop.page.keyboard.press("Enter")
    assert [float(text) for text in desktop.column(3)] == gains
    heads = desktop.page.locator("table.sortable th")
    assert [head.get_attribute("aria-sort") for head in heads.all()].count("descending") == 1
    desktop.page.locator("th button", has_text="task").click()
    assert desktop.column(1) == sorted(desktop.column(1))


def test_colours_follow_the_system(desktop: Opened, browser: Browser, html: Path) -> None:
    def colours(page: Page) -> list[list[int]]:
        return [
            [int(part) for part in page.evaluate(f"getComputedStyle({where})").strip("rgba()").split(",")[:3]]
            for where in (
                "document.body).backgroundColor.slice(0",
                "document.querySelector('figure svg text')).fill.slice(0",
            )
        ]

    dark = Opened(browser, html, 390, "dark")
    for page, is_dark in ((desktop.page, False), (dark.page, True)):
        paper, ink = colours(page)
        assert (sum(paper) < sum(ink)) == is_dark
        assert abs(sum(paper) - sum(ink)) > 400
    dark.page.emulate_media(media="print")
    paper, ink = colours(dark.page)
    assert (sum(paper), sum(ink) < 300) == (3 * 255, True)  # on paper it is light for all
    dark.page.close()


def test_nothing_is_asked_of_the_net(desktop: Opened, html: Path) -> None:
    assert [url for url in desktop.requests if not url.startswith("data:")] == [html.as_uri()]
    assert not desktop.complaints


def test_the_page_prints(desktop: Opened, tmp_path: Path) -> None:
    path = tmp_path / "report.pdf"
    desktop.page.pdf(path=path)
    assert path.read_bytes().startswith(b"%PDF")
