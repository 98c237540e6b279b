"""`metarl report` and `metarl plot`: what the page says, what it does not say, and what is refused."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page import ROOT
from reported_runs import HALF, evaluation, make_run, store

from metarl.cli import main
from metarl.evaluation.scratch import LearningCurve, write_curve
from metarl.evaluation.stress import StressCurve, write_stress
from metarl.reporting.material import gather
from metarl.reporting.page import Content, Missing, render_page
from metarl.reporting.plots import make_plots
from metarl.reporting.text import answer, aside
from metarl.runs import RunDirectory

EVIL = "<script>alert(1)</script>"


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = make_run(tmp_path / "mine")
    store(run, HALF)
    return run


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Writes a report without films and returns its page, tags and styles left out."""

    def write(*arguments: object) -> str:
        assert main(["report", "--no-films", *map(str, arguments)]) == 0
        path = Path(capsys.readouterr().out.splitlines()[-1].removeprefix("report: "))
        body = path.read_text().partition("<body>")[2]
        return re.sub(r"\s+", " ", re.sub(r"<(svg|script)\b.*?</\1>|<[^>]*>", " ", body, flags=re.DOTALL))

    return write


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


def test_gains_of_one_column_have_equally_many_decimals(tmp_path, report) -> None:
    run = make_run(tmp_path / "run")
    store(run, evaluation([[0.0] * 6, [1.0] * 6, [20.0] * 6], [[0] * 6] * 3, ks=[0, 1, 10]))
    text = report(run.path, "--no-projection")
    assert " +1.0 " in text
    assert " +20.0 " in text


@pytest.mark.parametrize("held_out", [False, True])
def test_the_words_below_learning_curves_tell_of_what_is_drawn(run, report, held_out) -> None:
    run.log({"rollout/ep_rew_mean": 1.0} | ({"eval/return/test/10_episodes": 3.0} if held_out else {}), 1, 10)
    run.close()
    text = report(run.path, "--no-projection")
    assert "Solid: training tasks after adaptation" in text
    assert ("Diamonds" in text) == held_out
    assert "Grey: training tasks before adaptation" not in text


def test_the_answer_is_in_one_sentence_with_its_interval(run) -> None:
    [policy] = gather([run.path], lambda run: None)
    gain = HALF.overall[1].success_gain
    assert gain is not None
    interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    assert not gain.excludes_zero
    assert answer(policy, "success") == (
        "After 10 episodes on a new task, mine succeeds in 50\xa0% of its attempts, against 0\xa0% before:"
        " +50.0\xa0points"
        f" (95% interval {interval}) over 6 held-out tasks. The interval includes zero: no gain in success is shown."
    )
    assert aside(policy).startswith("The return of mine goes from 10.0 to 11.5: +1.50 (95% interval ")


@pytest.mark.parametrize("ks", [[0], [3], [1, 5]], ids=str)
def test_what_was_not_measured_before_adaptation_is_reported_without_a_gain(tmp_path, report, ks) -> None:
    run = make_run(tmp_path / "mine")
    store(run, evaluation([[1, 2, 4], [5, 3, 9]][: len(ks)], [[0, 0, 0]] * len(ks), ks=ks))
    page = report(run.path, "--no-projection")
    assert f"return, k = {ks[0]}" in page
    assert "gain in return" not in page.partition("task id")[2].partition("A click on a heading")[0]


def test_a_run_whose_checkpoints_were_deleted_is_still_reported(run, report) -> None:
    for path in run.checkpoints.iterdir():
        shutil.rmtree(path)
    run.checkpoints.rmdir()
    assert "mine" in report(run.path)


def test_few_tasks_give_no_verdict_and_no_interval_that_is_not_there(tmp_path) -> None:
    run = make_run(tmp_path / "mine")
    store(run, evaluation([[1, 2], [3, 5]], [[0, 0], [0, 0]], names=["a", "b"]))
    [policy] = gather([run.path], lambda run: None)
    assert answer(policy, "return") == (
        "After 10 episodes on a new task, mine reaches a return of 4.00, against 1.50 before: +2.50 over 2 held-out"
        " tasks. These are too few tasks to tell it from chance."
    )
    assert "nan" not in render_page(Content([policy], make_plots([policy]))).lower()


def test_at_the_ceiling_nothing_can_rise(tmp_path) -> None:
    run = make_run(tmp_path / "mine")
    store(run, evaluation(HALF.returns[..., 0], np.ones((2, 6))))
    [policy] = gather([run.path], lambda run: None)
    assert "against 100\xa0% before over 6 held-out tasks: at the ceiling" in answer(policy, "success")


def test_an_answer_without_a_gain_does_not_claim_one(tmp_path) -> None:
    run = make_run(tmp_path / "mine")
    store(run, evaluation([[1, 2, 3]], [[0, 0, 0]], ks=[0]))
    [policy] = gather([run.path], lambda run: None)
    said = answer(policy, "return")
    assert said.startswith("Before adaptation, mine reaches a return of 2.00 over 3 held-out tasks.")
    assert "not measured" in said
    assert [plot.name for plot in make_plots([policy])] == ["adaptation-return"]


def test_the_page_holds_everything_that_is_there(run, report) -> None:
    curve = LearningCurve(
        learner="ppo",
        settings={},
        distribution="navigation",
        task_names=HALF.task_names,
        task_ids=HALF.task_ids,
        episodes=np.array([0, 100]),
        success=np.zeros((6, 2)),
        returns=np.tile([0.0, 100.0], (6, 1)),
        horizon=8,
        seed=1,
    )
    write_curve(run.evaluations / "ppo.json", curve)
    [stored] = [policy.stored[0] for policy in gather([run.path], lambda run: None)]
    stress = StressCurve("sensor noise", "m", (0.0, 1.0), (HALF, HALF))
    write_stress(run.evaluations / "stress.json", stress, stored.origin)
    store(run, HALF, control="random")
    for step in (1, 2):
        run.log({"rollout/ep_rew_mean": float(step), "eval/return/test/10_episodes": 3.0}, step, 10 * step)
    run.close()
    text = report(run.path, "--no-projection")
    assert "Adaptation in 10 episodes is worth 100 episodes of PPO from scratch by return" in text
    for title in ("Adaptation", "What the episodes are worth", "Task by task", "Training", "Under stress"):
        assert f" {title} " in text
    assert " random actions at random " in text
    assert "What adaptation leaves in the policy: left out by --no-projection." in text
    assert "Films: left out by --no-films." in text
    assert "not measured yet" not in text
    assert "metarl evaluate runs/again --adaptation-episodes 0 10 --episodes 1 --seed 1" in text
    # sorted by gain, largest first
    gains = [float(gain) for gain in re.findall(r" [0-9a-f]{6} ([+-]?\d\.\d\d) ", text)]
    assert gains == [4, 3, 2, 1, 0, -1]


def test_the_page_says_what_is_not_there(run, report) -> None:
    text = report(run.path)
    assert "no checkpoint" in text
    for missing in ("Controls", "Learning from scratch", "Robustness"):
        assert re.search(f"{missing}[^.]*: not measured yet", text)
    assert " Training " not in text


def test_an_older_evaluation_is_told(run, report, capsys) -> None:
    (run.checkpoints / "000000000300").mkdir()
    assert "was evaluated at 100 environment steps, and has trained to 300 since" in report(run.path)


def test_names_of_users_are_text_and_nothing_else(tmp_path) -> None:
    run = make_run(tmp_path / "evil")
    store(run, evaluation(HALF.returns[..., 0], HALF.success[..., 0], names=[EVIL] * 3 + ["b"] * 3))
    [policy] = gather([run.path], lambda run: None)
    content = Content([policy], make_plots([policy]), missing=[Missing(EVIL, EVIL)], warnings=[EVIL])
    page = render_page(content)
    assert EVIL not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert page.count("<script>") == 1  # ours


def test_the_page_names_no_address(run, report) -> None:
    report(run.path)
    page = (run.path / "report.html").read_text()
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_several_runs_share_a_page_beside_them(run, report) -> None:
    other = make_run(run.path.parent / "other", 2, run.config.tasks.model_copy(update={"num_train_tasks": 3}))
    store(other, HALF)
    text = report(run.path, other.path, "--no-projection")
    assert (run.path.parent / "report.html").is_file()
    assert " mine and other " in text
    assert "mine: gain in return" in text


@pytest.mark.parametrize("form", ["png", "svg"])
def test_figures_as_files(form: str, run, capsys) -> None:
    assert main(["plot", str(run.path), "--format", form]) == 0
    printed = [Path(line.removeprefix("figure: ")) for line in capsys.readouterr().out.splitlines()]
    assert {path.name for path in printed} >= {f"adaptation-{name}.{form}" for name in ("success", "return")}
    assert sorted(printed) == sorted((run.path / "figures").iterdir())


@pytest.mark.parametrize("command", ["report", "plot"])
def test_mistakes_are_told_in_one_line(command: str, run, tmp_path, capsys) -> None:
    assert "no run at none" in refused(capsys, command, "none")
    empty = make_run(tmp_path / "empty")
    assert "checkpoint" in refused(capsys, command, empty.path)
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert f"directory {blocked}" in refused(capsys, command, run.path, "--output", blocked / "deeper")
    (run.evaluations / "new.json").write_text('{"format": 99, "kind": "evaluation"}')
    assert "update metarl" in refused(capsys, command, run.path)
    assert not (empty.path / "report.html").exists()


def test_an_unknown_format_is_told(run, capsys) -> None:
    assert "unknown format 'pngg'; did you mean 'png'?" in refused(capsys, "plot", run.path, "--format", "pngg")
    assert not (run.path / "figures").exists()


def test_the_page_about_reports_names_the_sections_that_there_are() -> None:
    headings = re.findall(r"<h2>(.*?)</h2>", (ROOT / "metarl/reporting/report.html.jinja").read_text())
    page = (ROOT / "docs/report.md").read_text()
    assert headings
    assert [heading for heading in headings if f"| {heading} |" not in page] == []
