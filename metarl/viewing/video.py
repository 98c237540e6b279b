"""Pictures with captions, side by side or in turn, and their encoding as mp4 or GIF."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache, lru_cache
from itertools import zip_longest
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image, ImageDraw, ImageFont

from metarl.errors import RunFailure
from metarl.viewing.lens import Frame
from metarl.viewing.playing import Moment

FRAMES_PER_SECOND = 25
"""Default frame rate of videos."""
EPISODE_SECONDS = 6.0
"""Longest duration of an episode in a video, in seconds; short episodes are shown step by step."""
CLOSING_SECONDS = 1
"""Duration of the last picture, in seconds."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

BACKGROUND = (24, 26, 31)
TEXT = (236, 236, 236)
MUTED = (160, 166, 176)
SOLVED = (96, 211, 121)

_BAND = 0.26
"""Height of a caption over its width."""
_STRIP = 0.14
"""Height of the strip of episodes over its width."""
_GAP = 16
_LEAST_WIDTH = 240
_BLOCK = 16  # H.264 divides pictures into blocks of 16 pixels
_MP4 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4")
# Faststart puts the index first, so that a browser can begin before it has the whole file.
_PALETTE = "split[a][b];[a]trim=end_frame=20,palettegen[p];[b][p]paletteuse=dither=none:diff_mode=rectangle"
# One palette, of the first pictures, as all would have to be kept in memory; what stays the same is not written again.


def frame_stride(horizon: int, fps: int = FRAMES_PER_SECOND, seconds: float = EPISODE_SECONDS) -> int:
    """Returns the number of steps per frame by which an episode of `horizon` steps lasts at most so many seconds."""
    # stride = horizon / (seconds * frames per second), rounded up
    return max(1, ceil(horizon / (seconds * fps)))


def caption(frame: Frame, title: str, about: str, moment: Moment, horizon: int) -> Frame:
    """Adds four lines above a picture: the task, the episode, its state, and what the task asks for.

    Args:
        frame: Picture from the environment; enlarged by a whole factor if narrower than 240 pixels.
        title: Name of the task, and why it is shown.
        about: What the task asks for, and where the episode stands with it.
        moment: State of the episode.
        horizon: Number of steps per episode.

    Returns:
        Picture under a band of text.
    """
    scale = -(-_LEAST_WIDTH // frame.shape[1])
    frame = frame.repeat(scale, axis=0).repeat(scale, axis=1)
    width = frame.shape[1]
    band = Image.new("RGB", (width, round(width * _BAND)), BACKGROUND)
    draw = ImageDraw.Draw(band)

    def write(text: str, x: float, y: float, size: float, colour: tuple[int, int, int], end: float = 0.98) -> None:
        text, font = _fitted(text, size * width, (end - x) * width)
        draw.text((x * width, y * width), text, colour, font)

    write(title, 0.03, 0.012, 0.04, MUTED)
    write(moment.title + (f": {moment.intent}" if moment.intent else ""), 0.03, 0.064, 0.05, TEXT)
    write(f"step {moment.step}/{horizon}", 0.03, 0.133, 0.037, TEXT, end=0.27)
    write(f"reward {moment.reward:.2f}", 0.29, 0.133, 0.037, TEXT, end=0.48)
    write(f"return {moment.episode_return:.1f}", 0.5, 0.133, 0.037, TEXT, end=0.72)
    if moment.solved_at is not None:
        write(f"solved at {moment.solved_at}", 0.74, 0.133, 0.037, SOLVED)
    write(about, 0.03, 0.192, 0.04, MUTED)
    return np.concatenate([np.asarray(band), frame])


def strip(moments: Sequence[Moment], episodes: int, width: int) -> Frame:
    """Draws a bar for each episode of a trial, as high as its return, green where the task was solved.

    Args:
        moments: Last moment of each episode so far, the one in play included.
        episodes: Number of episodes of the whole trial.
        width: Width in pixels.
    """
    height = round(width * _STRIP)
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    returns = [moment.episode_return for moment in moments]
    low, high = min(0.0, *returns), max(0.0, *returns)
    room, slot = 0.62 * height, 0.94 * width / episodes

    def level(value: float) -> float:
        return 0.08 * height + room * (high - value) / (high - low or 1.0)

    for moment in moments:
        left = 0.03 * width + moment.episode * slot
        colour = MUTED if moment.solved_at is None else SOLVED
        top, bottom = sorted((level(moment.episode_return), level(0.0)))
        draw.rectangle((left, top, left + max(1.0, 0.8 * slot - 1), bottom + 1), fill=colour)
    draw.text((0.03 * width, 0.74 * height), "return of each episode", MUTED, _font(0.026 * width))
    return np.asarray(picture)


@lru_cache(maxsize=256)
def _fitted(text: str, size: float, room: float) -> tuple[str, Font]:
    """Returns text and font for a line of limited length: smaller by up to two fifths, and then cut."""
    least = 0.6 * size
    while _font(size).getlength(text) > room and size > least:
        size = max(least, 0.95 * size)
    whole = text
    while _font(size).getlength(text) > room and len(text) > 1:
        whole = whole[:-1]
        text = whole.rstrip() + "…"
    return text, _font(size)


@cache
def _font(size: float) -> Font:
    return ImageFont.load_default(size)


def side_by_side(*columns: Iterable[Frame]) -> Iterator[Frame]:
    """Joins streams of pictures of one size; a stream that ends keeps its last picture.

    Args:
        columns: Pictures of each column, from the left.

    Yields:
        Pictures of all, with height and width padded to multiples of 16 pixels.
    """
    canvas: Frame | None = None
    for row in zip_longest(*columns):
        for column, frame in enumerate(row):
            if frame is None:
                continue
            height, width, _ = frame.shape
            if canvas is None:
                canvas = _blank(height, len(columns) * (width + _GAP) - _GAP)
            start = column * (width + _GAP)
            canvas[:height, start : start + width] = frame
        assert canvas is not None
        yield canvas.copy()


def padded(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Pads pictures to multiples of 16 pixels."""
    for frame in frames:
        canvas = _blank(*frame.shape[:2])
        canvas[: frame.shape[0], : frame.shape[1]] = frame
        yield canvas


def _blank(height: int, width: int) -> Frame:
    """Returns a picture in background colour, its sides rounded up to multiples of the block size."""
    height, width = (-(-side // _BLOCK) * _BLOCK for side in (height, width))
    return np.full((height, width, 3), BACKGROUND, dtype=np.uint8)


def spooled(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Takes all pictures of a stream at once and yields them again; in between they are in a file, not in memory.

    Raises:
        RunFailure: If the file cannot be written.
    """
    with tempfile.TemporaryFile() as file:
        shape: tuple[int, ...] = ()
        try:
            for frame in frames:
                shape = frame.shape
                file.write(frame.tobytes())
            file.seek(0)
        except OSError as error:
            raise RunFailure(f"could not keep pictures in {tempfile.gettempdir()}: {error.strerror}") from error
        while data := file.read(int(np.prod(shape))):
            yield np.frombuffer(data, dtype=np.uint8).reshape(shape)


def write_video(path: Path, frames: Iterable[Frame], fps: int = FRAMES_PER_SECOND) -> None:
    """Encodes a stream of pictures as H.264 in mp4, or as a GIF; `path` appears once the video is complete.

    Args:
        path: Path of the file to write or replace, a GIF if it ends in ".gif"; its folder is made if missing.
        frames: Pictures, at least one, all of one size with sides divisible by 16.
        fps: Pictures per second.

    Raises:
        RunFailure: If the video cannot be written, on a full disk for example.
    """
    frames = iter(frames)
    last = next(frames)

    def pictures() -> Iterator[bytes]:
        nonlocal last
        yield last.tobytes()
        for last in frames:
            yield last.tobytes()
        for _ in range(CLOSING_SECONDS * fps):
            yield last.tobytes()

    height, width, _ = last.shape
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    _encode(path, [*raw, *_output(path)], pictures())


def write_grid(path: Path, films: Sequence[Path]) -> None:
    """Shows several films of one size at once, in a grid; films that end first keep their last picture.

    Args:
        path: Path of the file to write or replace, a GIF if it ends in ".gif".
        films: Films, at least two.

    Raises:
        RunFailure: If the grid cannot be written.
    """
    columns = _columns(len(films))
    inputs = [argument for film in films for argument in ("-i", f"file:{film}")]
    # Each film goes right of as many films, and below as many, as there are in its row and column before it.
    layout = "|".join(
        f"{_offset('w', index % columns)}_{_offset('h', index // columns)}" for index in range(len(films))
    )
    colour = "0x{:02x}{:02x}{:02x}".format(*BACKGROUND)
    stack = f"xstack=inputs={len(films)}:layout={layout}:fill={colour}"
    _encode(path, [*inputs, *_output(path, stack)], ())


def _columns(films: int) -> int:
    return ceil(sqrt(films))


def _offset(side: str, count: int) -> str:
    return "+".join([f"{side}0"] * count) or "0"


def _output(path: Path, graph: str = "null") -> list[str]:
    """Returns arguments that encode what a filter graph makes of the inputs."""
    if path.suffix == ".gif":
        return ["-filter_complex", f"{graph},{_PALETTE}", "-f", "gif"]
    return ["-filter_complex", graph, *_MP4]


def _encode(path: Path, arguments: Sequence[str], pictures: Iterable[bytes]) -> None:
    """Runs the encoder in a process of its own, since imageio's writer does not notice one that fails at the end."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    command = [get_ffmpeg_exe(), "-y", "-loglevel", "error", *arguments, f"file:{unfinished}"]
    try:
        path.parent.mkdir(exist_ok=True)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as encoder:  # noqa: S603
            assert encoder.stdin is not None
            assert encoder.stderr is not None
            with suppress(BrokenPipeError):  # then the encoder has ended and printed the reason
                for picture in pictures:
                    encoder.stdin.write(picture)
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
