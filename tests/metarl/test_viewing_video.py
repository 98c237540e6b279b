"""Pictures and the video file: what stands where, and that it plays back."""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from metarl.acting.adapts_on import AdaptsOn
from metarl.errors import RunFailure
from metarl.viewing.lens import Frame
from metarl.viewing.playing import Moment, phase
from metarl.viewing.video import (
    BACKGROUND,
    MUTED,
    SOLVED,
    caption,
    frame_stride,
    side_by_side,
    spooled,
    strip,
    write_grid,
    write_video,
)

RED, BLUE = (220, 30, 30), (30, 30, 220)
UNSOLVED = Moment("before adaptation", 0, step=7, reward=0.25, episode_return=12.25)


def flag(
    height: int = 480,
    width: int = 480,
    top: tuple[int, int, int] = RED,
    bottom: tuple[int, int, int] = BLUE,
) -> Frame:
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[: height // 2], frame[height // 2 :] = top, bottom
    return frame


BAND = 125
"""Height of the text above a picture of 480 pixels."""


def captioned(
    moment: Moment = UNSOLVED, title: str = "reach-v3", about: str = "hidden goal x 0.10", horizon: int = 500
) -> Frame:
    return caption(flag(), title, about, moment, horizon)


def test_caption_stands_above_an_untouched_picture() -> None:
    picture = captioned()
    assert picture.shape == (480 + BAND, 480, 3)
    assert picture.dtype == np.uint8
    assert (picture[BAND:] == flag()).all()


@pytest.mark.parametrize(
    "other",
    [
        captioned(title="push-v3"),
        captioned(about="hidden goal x 0.20"),
        captioned(horizon=100),
        *(
            captioned(moment=replace(UNSOLVED, **change))
            for change in (
                {"title": "after 1 adaptation episode"},
                {"intent": "skill push-v3"},
                {"step": 8},
                {"reward": 0.75},
                {"episode_return": 12.35},
                {"solved_at": 3},
            )
        ),
    ],
)
def test_caption_says_everything(other) -> None:
    assert (captioned()[:BAND] != other[:BAND]).any()


def test_success_shows_once_solved() -> None:
    def has_colour(picture: Frame) -> bool:
        return bool((picture[:BAND] == SOLVED).all(axis=-1).any())

    assert not has_colour(captioned())
    assert has_colour(captioned(moment=replace(UNSOLVED, solved_at=7)))


def test_longest_caption_fits() -> None:
    moment = replace(
        UNSOLVED,
        title="after 100 adaptation episodes, episode 10 of 10",
        step=500,
        episode_return=-12345.6,
        solved_at=500,
    )
    title = "button-press-topdown-wall-v3: 90th percentile of gain"
    picture = captioned(
        replace(moment, reward=-1234.56, intent="skills 55% a-v3 + 45% b-v3"), title, "parameters " * 20
    )
    margins = np.concatenate([picture[:BAND, :5], picture[:BAND, -5:]])
    assert (margins == BACKGROUND).all()
    assert (picture[BAND - 4 : BAND] == BACKGROUND).all()


def test_small_pictures_are_enlarged_by_whole_numbers() -> None:
    picture = caption(flag(60, 100), "line", "", UNSOLVED, 500)
    assert picture.shape == (78 + 180, 300, 3)
    assert (picture[78:] == flag(180, 300)).all()


def test_strip_has_a_bar_for_each_episode_as_high_as_its_return() -> None:
    moments = [
        replace(UNSOLVED, episode=0, episode_return=10.0),
        replace(UNSOLVED, episode=1, episode_return=40.0, solved_at=3),
    ]
    picture = strip(moments, episodes=4, width=1000)
    assert picture.shape == (140, 1000, 3)
    grey, green = ((picture == colour).all(axis=-1)[: round(0.74 * 140)] for colour in (MUTED, SOLVED))
    # Two of four slots of 235 pixels from 30 on; the higher bar takes 62 % of the height, the other a quarter of that.
    assert np.flatnonzero(grey.any(0))[[0, -1]] == pytest.approx((30, 218), abs=2)
    assert np.flatnonzero(green.any(0))[[0, -1]] == pytest.approx((265, 453), abs=2)
    assert green.any(1).sum() == pytest.approx(88, abs=3)
    assert grey[:, :250].any(1).sum() == pytest.approx(23, abs=3)


def test_spooled_pictures_come_back_in_order_and_all_are_taken_first() -> None:
    taken: list[int] = []

    def shades() -> Iterator[Frame]:
        for value in range(5):
            taken.append(value)
            yield np.full((16, 32, 3), value, dtype=np.uint8)

    back = spooled(shades())
    first = next(back)
    assert taken == [0, 1, 2, 3, 4]
    assert [int(frame[3, 4, 1]) for frame in (first, *back)] == taken
    assert first.shape == (16, 32, 3)


def test_left_is_left_and_top_is_top() -> None:
    (joined,) = side_by_side([flag(96, 64)], [flag(96, 64, top=BLUE, bottom=RED)])
    assert joined.shape == (96, 144, 3)
    assert (joined[:48, :64] == RED).all()
    assert (joined[48:, :64] == BLUE).all()
    assert (joined[:48, 80:] == BLUE).all()
    assert (joined[48:, 80:] == RED).all()
    assert (joined[:, 64:80] == BACKGROUND).all()


@settings(deadline=None, max_examples=50)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    left=st.integers(1, 5),
    right=st.integers(1, 5),
)
def test_joined_pictures_suit_the_encoder_and_the_shorter_side_stays(height, width, left, right) -> None:
    def shade(value: int) -> Frame:
        return np.full((height, width, 3), value, dtype=np.uint8)

    joined = list(side_by_side((shade(10 + i) for i in range(left)), (shade(100 + i) for i in range(right))))
    assert len(joined) == max(left, right)
    for index, frame in enumerate(joined):
        assert frame.shape[0] % 16 == frame.shape[1] % 16 == 0
        assert frame.shape[0] - height < 16
        assert frame.shape[1] - (2 * width + 16) < 16
        assert (frame[:height, :width] == 10 + min(index, left - 1)).all()
        assert (frame[:height, width + 16 : 2 * width + 16] == 100 + min(index, right - 1)).all()


def decode(path: Path) -> tuple[npt.NDArray[np.float64], str]:
    """The pictures of a video, as floats, and what the decoder says of it."""
    command = [get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    decoded = subprocess.run(command, capture_output=True, check=True)
    about = next(line for line in decoded.stderr.decode().splitlines() if "Video: " in line)
    size = re.search(r" (\d{2,})x(\d+)", about)
    assert size is not None
    width, height = map(int, size.groups())
    return np.frombuffer(decoded.stdout, np.uint8).reshape(-1, height, width, 3).astype(float), about


def test_video_plays_back(tmp_path) -> None:
    path = tmp_path / "run: 50%d" / "flags.mp4"
    write_video(path, side_by_side([flag(96, 64)] * 3, [flag(96, 64, top=BLUE, bottom=RED)] * 3))
    frames, about = decode(path)
    assert frames.shape == (3 + 25, 96, 144, 3)  # the last picture stays for a second
    for word in ("h264", "yuv420p", "25 fps"):
        assert word in about
    for frame in (frames[0], frames[-1]):
        assert frame[10:38, 10:54].mean(axis=(0, 1)) == pytest.approx(RED, abs=12)
        assert frame[58:86, 90:134].mean(axis=(0, 1)) == pytest.approx(RED, abs=12)
        assert frame[10:38, 90:134].mean(axis=(0, 1)) == pytest.approx(BLUE, abs=12)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # the index comes first, so that browsers can start at once
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_earlier_video(tmp_path) -> None:
    path = tmp_path / "flags.mp4"
    path.write_bytes(b"earlier")

    def breaks() -> Iterator[Frame]:
        yield flag(96, 64)
        raise RuntimeError("simulator died")

    with pytest.raises(RuntimeError, match="simulator died"):
        write_video(path, breaks())
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_told_in_one_line(tmp_path) -> None:
    path = tmp_path / "flags.mp4"
    (tmp_path / ".flags.mp4.unfinished").symlink_to("/dev/full")
    with pytest.raises(RunFailure, match=r"could not write video .*No space left on device") as error:
        write_video(path, side_by_side([flag(96, 64)] * 3, [flag(96, 64)] * 3))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be_is_told(tmp_path) -> None:
    (tmp_path / "videos").write_text("")
    with pytest.raises(RunFailure, match="could not write video"):
        write_video(tmp_path / "videos" / "flags.mp4", [flag(96, 64)])


@pytest.mark.parametrize(("horizon", "stride"), [(500, 4), (100, 1), (1, 1), (150, 1), (151, 2), (1000, 7)])
def test_an_episode_takes_at_most_six_seconds(horizon, stride) -> None:
    assert frame_stride(horizon) == stride


def test_what_stays_the_same_takes_no_room_in_a_gif(tmp_path) -> None:
    pictures = [np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(30)]
    for number, picture in enumerate(pictures):
        picture[:8, number : number + 8] = (255, 8 * number, 0)
    sizes = []
    for count in (1, 30):
        write_video(tmp_path / "moving.gif", pictures[:count], fps=10)
        sizes.append((tmp_path / "moving.gif").stat().st_size)
    assert sizes[1] < 5 * sizes[0]


def test_a_gif_plays_back(tmp_path) -> None:
    path = tmp_path / "flags.gif"
    write_video(path, [flag(96, 64)] * 3, fps=10)
    frames, about = decode(path)
    assert frames.shape == (3 + 10, 96, 64, 3)
    assert "gif" in about
    assert "10 fps" in about
    assert frames[0, 10:38, 10:54].mean(axis=(0, 1)) == pytest.approx(RED, abs=12)


def test_a_grid_shows_all_films_and_the_last_picture_of_those_that_end(tmp_path) -> None:
    films = [tmp_path / f"{number}.mp4" for number in range(3)]
    for number, path in enumerate(films):
        write_video(path, [np.full((64, 96, 3), 60 * (number + 1), dtype=np.uint8)] * (5 * (number + 1)))
    write_grid(tmp_path / "grid.mp4", films)
    frames, _ = decode(tmp_path / "grid.mp4")
    assert frames.shape == (15 + 25, 128, 192, 3)
    for frame in (frames[0], frames[-1]):
        corners = frame[10:54, 10:86], frame[10:54, 106:182], frame[74:118, 10:86], frame[74:118, 106:182]
        assert [corner.mean() for corner in corners] == pytest.approx([60, 120, 180, np.mean(BACKGROUND)], abs=8)


def test_phases_are_named() -> None:
    assert [phase(k, AdaptsOn.EPISODES) for k in (0, 1, 10)] == [
        "before adaptation",
        "after 1 adaptation episode",
        "after 10 adaptation episodes",
    ]
    assert [phase(k, AdaptsOn.DEMONSTRATIONS) for k in (0, 1, 3)] == [
        "before adaptation",
        "after 1 demonstration",
        "after 3 demonstrations",
    ]
