"""`python scripts/benchmark`: measures the speed of simulation or of learning. Exit codes are those of `metarl`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

if not __package__:  # run as a folder: Python put the folder itself on the path, not the one that it is in
    sys.path[0] = str(Path(__file__).parents[1])

from benchmark.running import run_benchmark
from metarl.errors import RunFailure
from metarl_envs.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one suite.

    Args:
        argv: Arguments; those of the process when not given.

    Returns:
        The exit code. Where it is 1, 2 or 130, one line on stderr says why.
    """
    try:
        arguments = _make_parser().parse_args(argv)
        with _ended_by(signal.SIGTERM, signal.SIGHUP):
            run_benchmark(
                arguments.suite,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
                output=arguments.output,
                device=arguments.device,
                ranks=arguments.ranks,
                threads=arguments.threads,
            )
    except UserError as error:
        return _complain(f"error: {error}", code=2)
    except RunFailure as error:
        return _complain(f"failed: {error}", code=1)
    except KeyboardInterrupt:
        return _complain("interrupted", code=130)
    return 0


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Turns signals into `SystemExit`, so that measuring processes and temporary directories are cleared away."""

    def leave(number: int, frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    previous = {number: signal.signal(number, leave) for number in signals}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _complain(message: str, code: int) -> int:
    print(f"benchmark: {' '.join(message.split())}", file=sys.stderr)
    return code


class _Parser(argparse.ArgumentParser):
    """Raises mistakes as `UserError`."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see '{self.prog} --help'")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python scripts/benchmark",
        description="Measures how fast tasks are simulated and algorithms learn on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--suite",
        metavar="NAME",
        default="meta-world",
        help="simulation: 'meta-world', a quarter of an hour on 2 cores, 'quick', a minute or two, or 'multi-task',"
        " MT10 (meta-world);"
        " learning: 'algorithms', half an hour, or 'algorithms-quick', a minute;"
        " processes against threads: 'scaling', half an hour on 2 cores, 'scaling-sampling', or 'scaling-quick'",
    )
    parser.add_argument(
        "--algorithms", action="store_const", dest="suite", const="algorithms", help="the same as --suite algorithms"
    )
    parser.add_argument(
        "--seconds", metavar="S", type=_seconds, default=3.0, help="least duration of a turn of simulation (3)"
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=_positive,
        default=5,
        help="turns of each implementation, or measured meta-iterations of each training (5)",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="device on which algorithms learn (cpu)"
    )
    parser.add_argument(
        "--ranks",
        metavar="N",
        type=_positive,
        nargs="+",
        default=(),
        help="numbers of processes to compare in a suite of scaling (powers of two up to the number of cores)",
    )
    parser.add_argument("--threads", metavar="N", type=_positive, default=1, help="threads of each of these (1)")
    parser.add_argument("--output", metavar="FILE", type=Path, help="file for the results (runs/benchmark-TIME.json)")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got '{text}'")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got '{text}'")
    return value


if __name__ == "__main__":
    sys.exit(main())
