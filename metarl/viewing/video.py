"""Draws two episodes side by side, captioned, and writes them as a video that plays in browsers."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import zip_longest
from pathlib import Path

import numpy as np
import numpy.typing as npt
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageDraw, ImageFont

from metarl.errors import RunFailure
from metarl.viewing.playing import Moment

Frame = npt.NDArray[np.uint8]
"""A picture `(height, width, 3)`, red, green and blue, the first row on top."""

FRAMES_PER_SECOND = 25
EPISODE_SECONDS = 10
"""About how long a long episode takes in a video; a short one is shown step by step."""
CLOSING_SECONDS = 1
"""How long the last picture stays."""

BACKGROUND = (24, 26, 31)
TEXT = (236, 236, 236)
MUTED = (160, 166, 176)
SOLVED = (96, 211, 121)

_GAP = 16
_LEAST_WIDTH = 240
_BLOCK = 16  # H.264 divides pictures into blocks of 16 pixels


def frame_stride(horizon: int) -> int:
    """Every how many steps an episode of `horizon` steps is shown, to last about `EPISODE_SECONDS`."""
    return max(1, round(horizon / (EPISODE_SECONDS * FRAMES_PER_SECOND)))


def caption(frame: Frame, title: str, phase: str, moment: Moment, horizon: int) -> Frame:
    """Puts three lines above a picture: what is played, before or after adaptation, and how it goes.

    Args:
        frame: What the environment drew, `(height, width, 3)`; a small one is enlarged to be worth reading.
        title: The name of the task.
        phase: Such as "after 10 adaptation episodes".
        moment: The step, the return so far and whether the task is solved.
        horizon: Steps per episode.

    Returns:
        The picture under a band that is a fifth as high as the picture is wide.
    """
    scale = -(-_LEAST_WIDTH // frame.shape[1])
    frame = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    width = frame.shape[1]
    band = Image.new("RGB", (width, width // 5), BACKGROUND)
    draw = ImageDraw.Draw(band)

    def write(text: str, x: float, y: float, size: float, colour: tuple[int, int, int]) -> None:
        draw.text((x * width, y * width), text, colour, _font(size * width))

    write(title, 0.03, 0.015, 0.042, MUTED)
    write(phase, 0.03, 0.07, 0.05, TEXT)
    write(f"step {moment.step}/{horizon}", 0.03, 0.14, 0.042, TEXT)
    write(f"return {moment.episode_return:.1f}", 0.31, 0.14, 0.042, TEXT)
    if moment.solved_at is not None:
        write(f"solved at step {moment.solved_at}", 0.63, 0.14, 0.042, SOLVED)
    return np.concatenate([np.asarray(band), frame])


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def side_by_side(left: Iterable[Frame], right: Iterable[Frame]) -> Iterator[Frame]:
    """Joins two streams of pictures of one size; the one that ends first keeps its last picture.

    Yields:
        Pictures with `left` to the left of `right`, the sides padded to multiples of 16 pixels.
    """
    canvas: Frame | None = None
    for pair in zip_longest(left, right):
        for column, frame in enumerate(pair):
            if frame is None:
                continue
            height, width, _ = frame.shape
            if canvas is None:
                canvas = _blank(height, 2 * width + _GAP)
            start = column * (width + _GAP)
            canvas[:height, start : start + width] = frame
        assert canvas is not None
        yield canvas.copy()


def _blank(height: int, width: int) -> Frame:
    """A picture of at least this size, in background colour."""
    height, width = (-(-side // _BLOCK) * _BLOCK for side in (height, width))
    return np.full((height, width, 3), BACKGROUND, dtype=np.uint8)


def write_video(path: Path, frames: Iterable[Frame]) -> None:
    """Encodes pictures as they come, H.264 in mp4; `path` appears when the video is complete.

    Args:
        path: Where to write, in a folder that is made when missing; a file of that name is replaced.
        frames: At least one, all of one size, sides divisible by 16.

    Raises:
        RunFailure: If it cannot be written, for want of disk space for example.
    """
    frames = iter(frames)
    last = next(frames)
    unfinished = path.with_name(f".{path.name}.unfinished")
    # The encoder is run here and not by imageio's writer, which does not notice when the encoder fails at the end.
    encode = _encode(unfinished, last)
    try:
        path.parent.mkdir(exist_ok=True)
        with subprocess.Popen(encode, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:  # noqa: S603
            assert encoder.stdin is not None
            assert encoder.stderr is not None
            with suppress(BrokenPipeError):  # then the encoder has ended, and says why
                encoder.stdin.write(last.tobytes())
                for last in frames:
                    encoder.stdin.write(last.tobytes())
                for _ in range(CLOSING_SECONDS * FRAMES_PER_SECOND):
                    encoder.stdin.write(last.tobytes())
            with suppress(BrokenPipeError):
                encoder.stdin.close()
            complaints = encoder.stderr.read().decode(errors="replace").splitlines()
        if encoder.returncode != 0:
            reason = complaints[0] if complaints else f"the encoder ended with code {encoder.returncode}"
            raise RunFailure(f"could not write video {path}: {reason}")
        os.replace(unfinished, path)
    except OSError as error:
        raise RunFailure(f"could not write video {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def _encode(path: Path, frame: Frame) -> list[str]:
    """The command that encodes raw pictures like `frame` from its standard input."""
    height, width, _ = frame.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAMES_PER_SECOND), "-i", "-"]
    # Faststart puts the index first, so that a browser can begin before it has the whole file.
    mp4 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    return [get_ffmpeg_exe(), "-y", "-loglevel", "error", *raw, *mp4, f"file:{path}"]
