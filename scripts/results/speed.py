"""Section of the page of results about speed on several processes, from what the benchmark measured."""

from __future__ import annotations

import json
from pathlib import Path

from metarl_envs.errors import UserError
from results.words import packages

_FILE = Path("speed", "scaling.json")
_HEAD = """\
## Speed on several processes

`python scripts/benchmark --suite {suite} --rounds {rounds}` on {machine}, with nothing beside it; commit
{commit}, {versions}.
[Scaling](scaling.md#measured) explains the columns and the model. Predictions are of the model, not measured.

"""


def speed_section(folder: Path) -> str | None:
    """Returns the section, in markdown; None if nothing has been measured.

    Args:
        folder: The folder results/, with `speed/scaling.json` and the tables beside it, as the benchmark wrote them.

    Raises:
        UserError: If a file is missing or damaged.
    """
    path = folder / _FILE
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        versions = found["versions"]
        facts = {"machine": versions["machine"], "commit": versions["commit"][:8], "versions": packages(versions)}
        facts |= {name: found[name] for name in ("suite", "rounds")}
        return _HEAD.format(**facts) + path.with_suffix(".md").read_text(encoding="utf-8")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
