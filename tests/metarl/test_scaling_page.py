"""The commands of docs/scaling.md start the processes that they say, and ranks that do not meet say so."""

import shlex
from typing import Any

import pytest
from page import Page

from metarl import torchrun
from metarl.cli import main
from metarl.ranks import ALONE
from metarl_envs.errors import UserError

PAGE = Page("scaling.md")


def test_the_short_form_starts_what_the_page_says(monkeypatch) -> None:
    started: list[Any] = []

    def launch(processes: int, arguments: list[str]) -> int:
        started.append((processes, arguments))
        return 0

    monkeypatch.setattr("metarl.launching.launch", launch)
    monkeypatch.setattr("metarl.cli.train.available_cores", lambda: 2)
    [line] = [line for line in PAGE.blocks("sh")[0].splitlines() if line]
    program, *arguments = shlex.split(line)
    assert program == "metarl"
    assert main(arguments) == 0
    assert started == [(2, ["train", "navigation-maml"])]


@pytest.mark.parametrize("port", ["1", "none", ""])
def test_ranks_that_do_not_meet_say_so(port, monkeypatch) -> None:
    monkeypatch.setattr(torchrun, "_MEETING_S", 1.0)
    monkeypatch.setattr(torchrun, "end_with_parent", lambda parent: None)
    variables = {"TORCHELASTIC_RUN_ID": "x", "RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (variables | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"^the ranks did not find each other at 127.0.0.1:{port} "):
        torchrun.join()
    assert not torchrun.speaks()
    monkeypatch.setenv("RANK", "0")
    assert torchrun.speaks()


def test_a_process_that_torchrun_has_not_started_is_alone(monkeypatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    assert torchrun.join() is ALONE
