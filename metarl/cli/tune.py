"""`metarl tune`: searches the settings of a preset, scored by adaptation on training tasks put aside."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.cli.arguments import Commands, at_least, path
from metarl.shell import command
from metarl_envs.errors import UserError

if TYPE_CHECKING:
    from metarl.tuning.settings import StudySettings

_DEFAULTS = {"sampler": "tpe", "pruner": "median", "metric": "return", "seed": 1, "keep": 3}
"""Defaults of what belongs to a study and so cannot go with --resume."""


def add_parser(commands: Commands) -> None:
    """Adds the command to the parser."""
    parser = commands.add_parser(
        "tune",
        help="search the settings of a preset",
        usage="metarl tune CONFIG --search FILE --trials N [OPTIONS] [--FIELD VALUE ...]\n"
        "       metarl tune --resume FOLDER --trials N [--workers N] [--storage URL]",
        epilog="The same command again goes on with a search that was stopped or killed, or takes part in it from"
        " another machine. Test tasks are never played.",
        allow_abbrev=False,
    )
    parser.set_defaults(run_command=run)
    add = parser.add_argument
    add("config", metavar="CONFIG", type=path, nargs="?", help="a preset, or path to a YAML file")
    add("--search", metavar="FILE", type=path, help="search space: a YAML file, or 'navigation'")
    add("--trials", metavar="N", type=at_least(1), required=True, help="trials of the whole search")
    add("--folder", metavar="DIR", type=path, help="folder of the search (runs/tune/CONFIG-SPACE)")
    add("--resume", metavar="FOLDER", type=path, help="search to go on with")
    add("--sampler", choices=("random", "grid", "tpe"), help="how settings are chosen (tpe)")
    add("--pruner", choices=("median", "asha", "off"), help="how hopeless trials end (median)")
    add("--metric", choices=("return", "success"), help="what is maximised (return)")
    add("--adaptation-episodes", metavar="K", type=at_least(0), help="episodes before the score (the preset's largest)")
    add("--hold-out", metavar="WHAT", help="put aside: tasks, classes, tasks=N of each class, or classes=N (a fifth)")
    add("--seed", metavar="N", type=at_least(0, 2**63 - 1), help="seed of the search (1)")
    add("--keep", metavar="N", type=at_least(1, 1000), help="best trials that keep their checkpoints (3)")
    add("--workers", metavar="N", type=at_least(1, 1024), default=1, help="processes that play trials (1)")
    add("--storage", metavar="URL", help="database of the trials, as in sqlite:///tune.db (a journal in the folder)")


def run(arguments: argparse.Namespace) -> None:
    """Starts a search or goes on with one, and shows what it found."""
    try:
        import optuna  # noqa: F401
        import plotly  # noqa: F401
    except ModuleNotFoundError as error:
        raise UserError(f"tune needs {error.name}, which is not installed: pip install 'metarl-suite[tune]'") from None
    from metarl.tuning.results import show_results
    from metarl.tuning.study import TuningStudy
    from metarl.tuning.workers import run_trials

    if arguments.resume is not None:
        _check_resume(arguments)
        study = TuningStudy(arguments.resume, arguments.storage)
    else:
        if arguments.config is None or arguments.search is None:
            raise UserError(f"tune needs CONFIG and --search FILE, or --resume; see '{command('tune', '--help')}'")
        folder = arguments.folder or Path("runs", "tune", f"{arguments.config.stem}-{arguments.search.stem}")
        study = TuningStudy(folder, arguments.storage, _read_settings(arguments))
    print(f"search: {study.folder}", flush=True)
    again = study.prepare()
    if again:
        print(f"interrupted before, tried again: {again}", flush=True)
    run_trials(study, arguments.storage, arguments.trials, arguments.workers)
    show_results(study)
    print(f"next: {command('train', study.folder / 'best.yaml')}")


def _check_resume(arguments: argparse.Namespace) -> None:
    for name in (*_DEFAULTS, "config", "search", "folder", "adaptation_episodes", "hold_out"):
        if getattr(arguments, name) is not None:
            written = "CONFIG" if name == "config" else f"--{name.replace('_', '-')}"
            raise UserError(f"{written} cannot go with --resume, which goes on with a search as it is")
    if arguments.overrides:
        raise UserError(f"{arguments.overrides[0]} cannot go with --resume, which goes on with a search as it is")


def _read_settings(arguments: argparse.Namespace) -> StudySettings:
    from metarl.config import load_config
    from metarl.preset_files import find_search_space
    from metarl.tuning.dimensions import dump_dimensions, read_dimensions
    from metarl.tuning.settings import StudySettings, default_hold_out

    dimensions = read_dimensions(find_search_space(arguments.search))
    config = load_config(arguments.config, arguments.overrides)
    by, count = default_hold_out(config.tasks, arguments.hold_out)
    given = {name: getattr(arguments, name) for name in _DEFAULTS}
    k = arguments.adaptation_episodes
    fields: dict[str, Any] = {
        "preset": config.model_dump(mode="json"),
        "space": dump_dimensions(dimensions),
        "adaptation_episodes": max(config.evaluation.adaptation_episodes) if k is None else k,
        "hold_out": by,
        "count": count,
    } | {name: _DEFAULTS[name] if value is None else value for name, value in given.items()}
    return StudySettings(**fields)
