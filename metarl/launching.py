"""Launcher of several processes on this machine that train together, by the launcher that torchrun uses."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from metarl.errors import RunFailure
from metarl.progress import STOP_SIGNALS

_LONGEST_STOP_S = 10**6
"""Seconds that processes have to end after a signal to stop: as long as an iteration takes."""


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Runs a `metarl` command in several processes, and returns its exit code.

    Signals to stop are passed on to them. When one of them fails, the others are ended within half a minute.

    Args:
        processes: Number of processes.
        arguments: Name and arguments of the command.

    Raises:
        RunFailure: If a process was killed.
    """
    logging.disable()  # what the launcher would say, we say in one line
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    ignored = [number for number in STOP_SIGNALS if signal.getsignal(number) is signal.SIG_IGN]  # as under nohup
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f"metarl-{os.getpid()}",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=os.devnull),
        signals_to_handle=",".join(number.name for number in STOP_SIGNALS if number not in ignored),
        shutdown_timeout=_LONGEST_STOP_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "metarl", *arguments)
    except SignalException as error:
        # a second signal interrupts the waiting for what the first one asked for; the processes end with this one
        return 130 if isinstance(error.__context__, SignalException) else 0
    except ChildFailedError as error:
        return _exit_code(error)
    return 0


def _exit_code(error: ChildFailedError) -> int:
    """Returns the exit code of processes of which one has told why they failed.

    Raises:
        RunFailure: If none could tell, as one was killed.
    """
    for rank, failure in error.failures.items():
        if failure.exitcode < 0 and failure.exitcode != -signal.SIGTERM:  # by which the launcher ends the others
            name = signal.Signals(-failure.exitcode).name
            reason = " (as when memory runs out)" if name == "SIGKILL" else ""
            raise RunFailure(
                f"process {rank} of the training (pid {failure.pid}) was ended by {name}{reason}, and with it the"
                " others; --resume goes on from the last checkpoint, which is as it was, or anew if there is none"
            )
    return max(1, *(failure.exitcode for failure in error.failures.values()))
