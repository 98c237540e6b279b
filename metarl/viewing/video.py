"""Videos of two captioned episodes side by side, in a format that browsers play."""

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
"""Picture `(height, width, 3)`, red, green and blue in 0..255, first row on top."""

FRAMES_PER_SECOND = 25
"""Frame rate of videos."""
EPISODE_SECONDS = 10
"""Approximate duration of a long episode in a video, in seconds; short episodes are shown step by step."""
CLOSING_SECONDS = 1
"""Duration of the last picture, in seconds."""

BACKGROUND = (24, 26, 31)
TEXT = (236, 236, 236)
MUTED = (160, 166, 176)
SOLVED = (96, 211, 121)

_GAP = 16
_LEAST_WIDTH = 240
_BLOCK = 16  # H.264 divides pictures into blocks of 16 pixels


def frame_stride(horizon: int) -> int:
    """Returns the number of steps per frame by which an episode of `horizon` steps lasts about `EPISODE_SECONDS`."""
    # stride = max(1, horizon / (seconds * frames per second))
    return max(1, round(horizon / (EPISODE_SECONDS * FRAMES_PER_SECOND)))


def caption(frame: Frame, title: str, phase: str, moment: Moment, horizon: int) -> Frame:
    """Adds three lines above a picture: the task, the phase of adaptation, and the state of the episode.

    Args:
        frame: Picture from the environment; enlarged by a whole factor if narrower than 240 pixels.
        title: Name of the task.
        phase: Phase of adaptation, such as "after 10 adaptation episodes".
        moment: State of the episode: step, return so far, and step of the first success.
        horizon: Number of steps per episode.

    Returns:
        Picture under a band of text, whose height is a fifth of the width.
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
    """Joins two streams of pictures of one size; the stream that ends first keeps its last picture.

    Args:
        left: Pictures for the left side.
        right: Pictures for the right side.

    Yields:
        Pictures of both, with height and width padded to multiples of 16 pixels.
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
    """Returns a picture in background colour, its sides rounded up to multiples of the block size."""
    height, width = (-(-side // _BLOCK) * _BLOCK for side in (height, width))
    return np.full((height, width, 3), BACKGROUND, dtype=np.uint8)


def write_video(path: Path, frames: Iterable[Frame]) -> None:
    """Encodes a stream of pictures as H.264 in mp4; `path` appears once the video is complete.

    Args:
        path: Path of the file to write or replace; its folder is made if missing.
        frames: Pictures, at least one, all of one size with sides divisible by 16.

    Raises:
        RunFailure: If the video cannot be written, on a full disk for example.
    """
    frames = iter(frames)
    last = next(frames)
    unfinished = path.with_name(f".{path.name}.unfinished")
    # A process of our own, since imageio's writer does not notice an encoder that fails at the end.
    encode = _encode_command(unfinished, last)
    try:
        path.parent.mkdir(exist_ok=True)
        with subprocess.Popen(encode, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:  # noqa: S603
            assert encoder.stdin is not None
            assert encoder.stderr is not None
            with suppress(BrokenPipeError):  # then the encoder has ended and printed the reason
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


def _encode_command(path: Path, frame: Frame) -> list[str]:
    """Returns the command that encodes raw pictures of the size of `frame` from its standard input."""
    height, width, _ = frame.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FRAMES_PER_SECOND), "-i", "-"]
    # Faststart puts the index first, so that a browser can begin before it has the whole file.
    mp4 = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4"]
    return [get_ffmpeg_exe(), "-y", "-loglevel", "error", *raw, *mp4, f"file:{path}"]
