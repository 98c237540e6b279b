"""What the processes of a training must have in common, and what they tell one another besides sums."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from metarl.algorithms.base import Algorithm, DataParallel
from metarl.config import RunConfig
from metarl.ranks import Ranks, difference, from_leader, gather
from metarl.runs import RunDirectory
from metarl.versions import versions
from metarl_envs.divergence import Divergence
from metarl_envs.errors import UserError

_MACHINE = ("platform", "machine")
"""Parts of `versions` that may differ from process to process."""


class FollowedRun(RunDirectory):
    """Run as the processes see it that do not write it."""

    def lock(self) -> None:
        """Does nothing."""

    def set_config(self, config: RunConfig) -> None:
        """Takes the configuration without writing it."""
        self.config = config

    def log(self, metrics: Mapping[str, float], iteration: int, env_steps: int) -> None:
        """Does nothing."""

    def keep_evidence(self, iteration: int, divergences: Sequence[Divergence]) -> int:
        """Writes nothing; returns the number of divergences."""
        return len(divergences)

    def rewind(self, iteration: int) -> None:
        """Does nothing."""

    def discard_unless_used(self) -> None:
        """Does nothing."""


def check_meta_batch(meta_batch: int, processes: int) -> None:
    """Checks that processes can have equal shares of a meta-batch.

    Raises:
        UserError: If they cannot.
    """
    if processes > meta_batch:
        raise UserError(
            f"{processes} processes are more than algorithm.meta_batch = {meta_batch} tasks, of which each takes its"
            f" share: start at most {meta_batch} processes"
        )
    if meta_batch % processes != 0:
        divisors = [str(count) for count in range(1, meta_batch + 1) if meta_batch % count == 0]
        below = meta_batch // processes * processes
        raise UserError(
            f"algorithm.meta_batch: {meta_batch} tasks cannot be split evenly among {processes} processes; take {below}"
            f" or {below + processes} tasks, or {', '.join(divisors[:-1])} or {divisors[-1]} processes"
        )


def join(algorithm: Algorithm, ranks: Ranks, config: RunConfig, fingerprint: str) -> None:
    """Makes an algorithm learn together with other processes, after it is known that all of them train the same.

    Args:
        algorithm: Algorithm, as it is made.
        ranks: Processes.
        config: Configuration of this one.
        fingerprint: Fingerprint of the tasks of this one.

    Raises:
        UserError: If the processes cannot share the meta-batch, have other software or settings, or the algorithm
            cannot learn in several processes.
    """
    if ranks.size == 1:
        return
    check_meta_batch(algorithm.meta_batch, ranks.size)
    if not isinstance(algorithm, DataParallel):
        raise UserError(
            f"algorithm.kind: '{config.algorithm.kind}' learns in one process only, as it has no method `join`; start"
            " one process"
        )
    software = {f"version of {name}": text for name, text in versions().items() if name not in _MACHINE}
    facts = software | _flat(config.model_dump(mode="json")) | {"fingerprint of the tasks": fingerprint}
    other = difference(ranks, facts)
    if other is not None:
        found = "" if other == "fields" else f" ({facts[other]} in process {ranks.rank} of {ranks.size})"
        raise UserError(f"the processes do not train the same: their {other} differ{found}; start all of them alike")
    algorithm.join(ranks)


def share_state(algorithm: Algorithm, ranks: Ranks) -> None:
    """Gives all processes the state of the leading one's algorithm."""
    if ranks.size > 1:
        algorithm.load_state_dict(from_leader(ranks, algorithm.state_dict()))


def share_progress(ranks: Ranks, *progress: int | float | None) -> list[float | None]:
    """Returns the numbers of the leading process, None among them."""
    own = [[float(number is not None), number or 0.0] for number in progress]
    known = from_leader(ranks, {"": torch.tensor(own, dtype=torch.float64)})[""].tolist()
    return [number if given else None for given, number in known]


def gather_divergences(ranks: Ranks, own: Sequence[Divergence]) -> tuple[list[Divergence], int]:
    """Returns the evidence of all processes, and how many simulations diverged."""
    (total,) = ranks.sum(torch.tensor([float(len(own))], dtype=torch.float64))
    if ranks.size == 1 or total == 0:
        return list(own), len(own)
    parts = []
    for divergence in own:
        file = io.BytesIO()
        divergence.save(file)
        parts.append(file.getvalue())
    lengths = gather(ranks, json.dumps([len(part) for part in parts]).encode())
    contents = gather(ranks, b"".join(parts))
    found = []
    for sizes, content in zip(lengths, contents, strict=True):
        file = io.BytesIO(content)
        found += [Divergence.load(io.BytesIO(file.read(size))) for size in json.loads(sizes)]
    return found, int(total)


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Returns the settings by dotted names, as JSON."""
    found: dict[str, str] = {}
    for name, value in fields.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = json.dumps(value)
    return found
