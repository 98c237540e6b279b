"""Published numbers to stand beside ours: facts with their source, evaluator and budget, in results/published.yaml."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from metarl.strict import StrictModel
from metarl_envs.errors import UserError
from results.tables import table


class Published(StrictModel):
    """Success of a published method, in per cent, as its source gives it."""

    method: str
    test: str
    """On held-out tasks."""
    train: str = ""
    """On training tasks; empty if the source does not tell."""
    budget: str
    """Environment steps of training."""
    evaluator: str
    """What was counted, over how many seeds."""
    source: str


def read_published(path: Path) -> dict[str, list[Published]]:
    """Reads the published numbers by name of the task distribution.

    Raises:
        UserError: If the file is missing or not what it should be.
    """
    try:
        return TypeAdapter(dict[str, list[Published]]).validate_python(yaml.safe_load(path.read_bytes()))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}") from None
    except ValidationError as error:
        detail = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}") from None


def published_table(rows: list[Published]) -> str:
    """Returns the table of published numbers."""
    return table(
        ["published", "training, %", "held-out, %", "steps", "counted", "source"],
        [[row.method, row.train, row.test, row.budget, row.evaluator, row.source] for row in rows],
    )
