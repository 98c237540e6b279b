"""TensorBoard's events of a run: metrics and their layout, its configuration, and a still of its newest film."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from metarl.run_paths import CONFIG

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_log = logging.getLogger(__name__)

_FILMS = (".mp4", ".gif", ".png")

_LAYOUT = {
    "Held-out tasks": {
        "success for each k": ["Multiline", [r"eval/success_rate/test/\d+_episodes"]],
        "return for each k": ["Multiline", [r"eval/return/test/\d+_episodes"]],
        "success by name of the task": ["Multiline", [r"eval/success_rate/test/(?!\d+_episodes)"]],
    },
    "Training tasks": {
        "success before and after adaptation": ["Multiline", ["meta/pre_adapt_success_rate", "rollout/success_rate"]],
        "return before and after adaptation": ["Multiline", ["meta/pre_adapt_return", "rollout/ep_rew_mean"]],
        "gain in return": ["Multiline", ["meta/adaptation_gain"]],
    },
    "Time": {"seconds of an iteration": ["Multiline", [r"time/\w+_seconds"]]},
}
"""Charts of the tab "Custom Scalars": tags, or the beginnings of tags, by category and title."""


class TensorBoard:
    """Events of one run.

    Args:
        run: Directory of the run.
        env_steps: Environment steps done; what an interrupted run logged after them is hidden.
    """

    def __init__(self, run: Path, env_steps: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # here, as the import takes a second

        self._run = run
        self._film: tuple[float, Path] | None = None
        self._writer = SummaryWriter(str(run), purge_step=env_steps)
        self._writer.add_custom_scalars(_LAYOUT)
        for name in (CONFIG, "versions.json"):
            text = (run / name).read_text()
            self._writer.add_text(name, "\n".join(f"    {line}" for line in text.splitlines()), env_steps)

    def log(self, metrics: Mapping[str, float], env_steps: int) -> None:
        """Writes metrics, and a still of the run's newest film if there is one that was not shown yet."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, env_steps)
        self._show_newest_film(env_steps)
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _show_newest_film(self, env_steps: int) -> None:
        try:  # whatever becomes of that folder, training goes on
            films = [path for path in (self._run / "videos").glob("*") if path.suffix in _FILMS]
            newest = max(((path.stat().st_mtime, path) for path in films), default=None)
            if newest is not None and newest != self._film:
                self._film = newest
                self._writer.add_image("film", read_still(newest[1]), env_steps, dataformats="HWC")
        except OSError as error:
            _log.warning("TensorBoard gets no still of the newest film: %s", error)


def read_still(film: Path) -> npt.NDArray[np.uint8]:
    """Reads a typical frame of a film, or an image, as RGB values `(height, width, 3)`.

    Raises:
        OSError: If the file cannot be read as a film or an image.
    """
    import numpy as np
    from imageio_ffmpeg import get_ffmpeg_exe
    from PIL import Image

    decode = [get_ffmpeg_exe(), "-v", "error", "-i", f"file:{film}", "-vf", "thumbnail", "-frames:v", "1"]
    found = subprocess.run(  # noqa: S603
        [*decode, "-f", "image2pipe", "-c:v", "png", "-"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if found.returncode != 0:
        *_, reason = found.stderr.decode(errors="replace").strip().split("\n")
        raise OSError(f"{film}: {reason}")
    return np.asarray(Image.open(BytesIO(found.stdout)).convert("RGB"))
