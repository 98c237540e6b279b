"""Pictures and the video file: what stands where, and that it plays back."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from metarl.errors import RunFailure
from metarl.viewing.playing import Moment, phase
from metarl.viewing.video import BACKGROUND, SOLVED, Frame, caption, frame_stride, side_by_side, write_video

RED, BLUE = (220, 30, 30), (30, 30, 220)
UNSOLVED = Moment(step=7, episode_return=12.25, solved_at=None)


def flag(
    height: int = 480,
    width: int = 480,
    top: tuple[int, int, int] = RED,
    bottom: tuple[int, int, int] = BLUE,
) -> Frame:
    frame = np.empty((height, width, 3), dtype=np.uint8)
    frame[: height // 2], frame[height // 2 :] = top, bottom
    return frame


def captioned(
    moment: Moment = UNSOLVED, title: str = "reach-v3", phase: str = "before adaptation", horizon: int = 500
) -> Frame:
    return caption(flag(), title, phase, moment, horizon)


def test_caption_stands_above_an_untouched_picture() -> None:
    picture = captioned()
    assert picture.shape == (480 + 96, 480, 3)
    assert picture.dtype == np.uint8
    assert (picture[96:] == flag()).all()


@pytest.mark.parametrize(
    "other",
    [
        captioned(title="push-v3"),
        captioned(phase="after 1 adaptation episode"),
        captioned(moment=Moment(8, 12.25, None)),
        captioned(moment=Moment(7, 12.35, None)),
        captioned(moment=Moment(7, 12.25, 3)),
        captioned(horizon=100),
    ],
)
def test_caption_says_everything(other) -> None:
    assert (captioned()[:96] != other[:96]).any()


def test_success_shows_once_solved() -> None:
    def has_colour(picture: Frame) -> bool:
        return bool((picture[:96] == SOLVED).all(axis=-1).any())

    assert not has_colour(captioned())
    assert has_colour(captioned(moment=Moment(step=7, episode_return=1.0, solved_at=7)))


def test_longest_caption_fits() -> None:
    picture = captioned(
        title="button-press-topdown-wall-v3",
        phase="after 100 adaptation episodes",
        moment=Moment(step=500, episode_return=-12345.6, solved_at=500),
    )
    margins = np.concatenate([picture[:96, :5], picture[:96, -5:]])
    assert (margins == BACKGROUND).all()
    assert (picture[92:96] == BACKGROUND).all()


def test_small_pictures_are_enlarged_by_whole_numbers() -> None:
    picture = caption(flag(60, 100), "line", "before adaptation", UNSOLVED, 500)
    assert picture.shape == (60 + 180, 300, 3)
    assert (picture[60:] == flag(180, 300)).all()


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


@pytest.mark.parametrize(("horizon", "stride"), [(500, 2), (100, 1), (1, 1), (374, 1), (1000, 4)])
def test_a_long_episode_takes_about_ten_seconds(horizon, stride) -> None:
    assert frame_stride(horizon) == stride


def test_phases_are_named() -> None:
    assert [phase(k) for k in (0, 1, 10)] == [
        "before adaptation",
        "after 1 adaptation episode",
        "after 10 adaptation episodes",
    ]
