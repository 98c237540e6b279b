"""Cores by affinity and by the quotas of control groups, from files laid out as the kernel does."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metarl_envs.core import TaskDistribution
from metarl_envs.cores import available_cores
from metarl_envs.locomotion import Locomotion
from metarl_envs.metaworld import MetaWorld


def lay_out(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


V1 = "proc/self/cgroup", "4:memory:/a\n3:cpu,cpuacct:/docker/abc\n0::/"

QUOTA, PERIOD = (f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us" for name in ("quota", "period"))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"}, 2),  # docker run --cpus 2
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "20000 100000"}, 1),
        ({"proc/self/cgroup": "0::/../..", "sys/fs/cgroup/cpu.max": "300000 100000"}, 3),  # seen from a container
        (  # a service: the group above has the tighter quota
            {
                "proc/self/cgroup": "0::/user.slice/job",
                "sys/fs/cgroup/user.slice/cpu.max": "400000 100000",
                "sys/fs/cgroup/user.slice/job/cpu.max": "800000 100000",
            },
            4,
        ),
        (
            {
                V1[0]: V1[1],
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "500000",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            5,
        ),
        ({V1[0]: V1[1], QUOTA: "600000", PERIOD: "100000"}, 6),  # in a container, which mounts its own group
        ({V1[0]: V1[1], QUOTA: "-1", PERIOD: "100000"}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "gibberish"}, 64),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 0"}, 64),
    ],
)
def test_quotas_limit_the_cores(tmp_path, monkeypatch, files, cores) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert available_cores(lay_out(tmp_path, files)) == cores


def test_affinity_limits_the_cores_too(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    lay_out(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "200000 100000"})
    assert available_cores(tmp_path) == 1


FAMILIES: dict[str, Callable[[], TaskDistribution]] = {
    "threads": lambda: MetaWorld("ML1", task="reach-v3", horizon=4),
    "processes": lambda: MetaWorld("ML1", task="reach-v3", horizon=4, engine="reference"),
    "locomotion": lambda: Locomotion("AntDir", horizon=4),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_uses_as_many_workers_as_it_is_told(name) -> None:
    family = FAMILIES[name]()
    family.workers = 3
    env: Any = family.make_env(4)
    workers = env._workers
    count = len(workers) if isinstance(workers, list) else workers.threads
    env.close()
    assert count == 3
