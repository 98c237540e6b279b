"""Number of processor cores that this process may use, by affinity and by the quota of its container or job."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from metarl_envs.errors import UserError

CORES = "METARL_CORES"
"""Environment variable that limits the number of cores."""


def available_cores(root: Path = Path("/")) -> int:
    """Returns the number of cores that this process may keep busy, at least 1.

    The process's affinity limits it, and so do the quotas of its control groups: `docker run --cpus 2`, a limit of
    Kubernetes or of systemd. A quota of 1.5 cores counts as 2, since one thread would leave half a core idle. The
    environment variable `METARL_CORES` sets a lower limit, where several processes share a machine.

    Args:
        root: Folder that holds `proc` and `sys`.

    Raises:
        UserError: If `METARL_CORES` is not a whole number of at least 1.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_wanted(), *(math.ceil(quota) for quota in _quotas(root))]))


def _wanted() -> Iterator[int]:
    """Yields the limit that the user sets, if any."""
    text = os.environ.get(CORES)
    if text:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise UserError(f"{CORES}: expected a whole number of at least 1, got '{text[:60]}'")
        yield int(text)


def _quotas(root: Path) -> Iterator[float]:
    """Yields the quotas, in cores, of this process's control groups and those above them, of both versions."""
    groups = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, entry = line.partition(":")
        controllers, _, path = entry.partition(":")
        if not controllers:  # version 2: one hierarchy, cpu.max holds "QUOTA PERIOD" or "max PERIOD"
            for folder in _upwards(groups, path):
                yield from _ratio(*[*_read(folder / "cpu.max").split(), "", ""][:2])
        elif "cpu" in controllers.split(","):
            for mounted in (groups / controllers, groups / "cpu"):  # such as cpu,cpuacct
                for folder in _upwards(mounted, path):
                    yield from _ratio(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _upwards(mounted: Path, path: str) -> Iterator[Path]:
    """Yields a group's folder and those above it; in a container the group may be the mounted folder itself."""
    inner = Path(path.lstrip("/"))
    inside = (inner, *inner.parents) if ".." not in inner.parts else (Path("."),)  # ".." leads out of the container
    yield from (mounted / part for part in inside)


def _ratio(quota: str, period: str) -> Iterator[float]:
    with suppress(ValueError, ZeroDivisionError):  # no such file, or "max"
        cores = int(quota) / int(period)
        if cores > 0:  # version 1: a quota of -1 is none
            yield cores


def _read(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""
