"""Measuring in a process of its own, which ends with the benchmark however that ends."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

from metarl.errors import RunFailure

Result = TypeVar("Result")


def run_in_process(function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function in a new process and returns its result.

    The process is killed if this one leaves the call early, and kills itself if this one is killed.

    Raises:
        RunFailure: If the process is killed.
        Exception: Whatever the function raises.
    """
    context = get_context("spawn")  # a fork would count this process's memory as its own
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, function, arguments))
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        result, error = receiver.recv()
    except EOFError:
        raise RunFailure("the process that was measured was killed; perhaps memory ran out") from None
    except BaseException:
        process.kill()
        raise
    finally:
        process.join()
        receiver.close()
    if error is not None:
        raise error
    found: Result = result
    return found


def peak_memory() -> int | None:
    """Peak memory of this process in bytes; None if the system does not tell.

    `resource.getrusage` would count the process that this one was forked from as well.
    """
    status = ""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return None if found is None else 1024 * int(found[1])


def _run(sender: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both processes; the other one kills this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        sender.send((function(*arguments), None))
    except Exception as error:  # raised again in the other process
        sender.send((None, error))


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
