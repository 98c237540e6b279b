"""Recognition where the answer is known: losses by hand, invariances, and skills that are easy to tell apart."""

import math
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from page import Page
from shown_skills import save_skills, show_skills
from torch import Tensor
from torch.autograd import gradcheck
from training_runs import train

from metarl.acting.sampler import Sampler
from metarl.algorithms.recognition.algorithm import Recognition, shift_pictures
from metarl.algorithms.recognition.config import (
    ConvolutionalEncoderConfig,
    EncoderConfig,
    FramesConfig,
    GradientConfig,
    MatchingConfig,
    PooledEncoderConfig,
    PrototypicalConfig,
    RecognitionConfig,
    RecurrentEncoderConfig,
    SiameseConfig,
)
from metarl.algorithms.recognition.encoders import make_encoder, part_means
from metarl.algorithms.recognition.learners import Matching, Prototypical, Siamese
from metarl.algorithms.recognition.losses import (
    attention,
    contrastive_loss,
    matching_logits,
    prototypes,
    prototypical_logits,
    siamese_logits,
)
from metarl.algorithms.recognition.problems import Library
from metarl.cli import _make_parser, main
from metarl.cli.train import split_overrides
from metarl.config import RunConfig, dump_config, load_config
from metarl.demonstrations import Demonstrations
from metarl.demonstrations.tasks import ShownTasks
from metarl.evaluation.recognition import RecognitionResult, evaluate_recognition
from metarl.evaluation.recognition_controls import linear_answers, make_controls, warped_distances
from metarl.evaluation.stored_recognition import read_recognitions
from metarl.policies.config import GRUConfig
from metarl.preset_files import preset_names
from metarl.runs import RunDirectory
from metarl_envs.core import Task
from metarl_envs.errors import UserError

CPU = torch.device("cpu")
SMALL_ENCODER = {"encoder": {"kind": "pooled", "parts": 2, "embedding_size": 4}}
HELD_OUT = ("turn-1", "turn-3", "turn-5")
SMALL: dict[str, Any] = {"meta_batch": 2, "ways": 3, "shots": (1, 2), "queries": 2, "every": 1, "noise": 0.1}
ENCODERS: list[EncoderConfig] = [
    PooledEncoderConfig(parts=4, embedding_size=8),
    ConvolutionalEncoderConfig(channels=(8, 8), embedding_size=8),
    RecurrentEncoderConfig(core=GRUConfig(hidden_size=8), embedding_size=8),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def build(config: RecognitionConfig, held_out: tuple[str, ...] = HELD_OUT) -> Recognition:
    torch.manual_seed(0)
    return Recognition(config, ShownTasks(show_skills(), held_out), CPU)


def run_config(dataset: Path, algorithm: dict[str, object], iterations: int = 2, every: int = 0) -> RunConfig:
    tasks = {"kind": "demonstrations", "dataset": str(dataset), "test": HELD_OUT}
    fields = {
        "iterations": iterations,
        "threads": 1,
        "device": "cpu",
        "tasks": tasks,
        "algorithm": SMALL | SMALL_ENCODER | algorithm,
    }
    fields |= {"evaluation": {"every": every}, "checkpoint": {"every": 1, "keep_last": 10}}
    return RunConfig.model_validate(fields)


def test_prototypes_are_class_means_and_logits_their_squared_distances() -> None:
    support = torch.tensor([[[[0.0, 0.0], [2.0, 4.0]], [[1.0, 1.0], [1.0, 3.0]]]], dtype=torch.float64)
    assert prototypes(support).tolist() == [[[1.0, 2.0], [1.0, 2.0]]]
    support[0, 1] += 1
    logits = prototypical_logits(support, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    assert logits.tolist() == [[[-4.0, -10.0]]]  # to (1, 2): 0 + 4; to (2, 3): 1 + 9


def test_matching_network_with_one_hot_attention_is_the_nearest_neighbour() -> None:
    support, queries = draw(5, 4, 3, 6), draw(5, 7, 6, seed=1)
    weights = attention(queries, support.flatten(1, 2), sharpness=1e6)
    assert (weights.max(-1).values > 0.999).double().mean() > 0.9
    for task in range(5):
        for query in range(7):
            cosines = [
                torch.cosine_similarity(queries[task, query], each, dim=0).item()
                for each in support[task].flatten(0, 1)
            ]
            nearest = cosines.index(max(cosines)) // 3
            assert matching_logits(weights, 4)[task, query].argmax().item() == nearest


def test_attention_and_its_answer_are_those_of_the_formula() -> None:
    # cosines 1 and 0 at sharpness 1: weights e / (e + 1) and 1 / (e + 1)
    support = torch.tensor([[[2.0, 0.0], [0.0, 3.0]]], dtype=torch.float64)
    weights = attention(torch.tensor([[[5.0, 0.0]]], dtype=torch.float64), support, 1.0)
    assert weights.flatten().tolist() == pytest.approx([math.e / (math.e + 1), 1 / (math.e + 1)])
    assert matching_logits(weights, 2).exp().flatten().tolist() == pytest.approx(weights.flatten().tolist())


def test_siamese_answer_is_the_class_of_the_nearest_example() -> None:
    support = torch.tensor([[[[0.0], [10.0]], [[4.0], [5.0]]]], dtype=torch.float64)
    logits = siamese_logits(support, torch.tensor([[[9.0], [3.0]]], dtype=torch.float64))
    assert logits.tolist() == [[[-1.0, -16.0], [-9.0, -1.0]]]


def test_contrastive_loss_of_three_points_is_the_one_worked_out_by_hand() -> None:
    # one class at 0 and 1, another at 2; margin 3: attract 1/2 1², repel 1/2 (3 - 2)² and 1/2 (3 - 1)², mean 1.25
    points = torch.tensor([[[0.0], [1.0], [2.0]]], dtype=torch.float64)
    loss = contrastive_loss(points, torch.tensor([[0, 0, 1]]), margin=3.0)
    assert loss.item() == pytest.approx(0.5 * (0.5 + 1.25))


def test_loss_gradients_agree_with_differences() -> None:
    labels = torch.tensor([[0, 0, 1, 1]] * 2)
    support, queries = draw(2, 2, 2, 3).requires_grad_(), draw(2, 4, 3, seed=1).requires_grad_()
    assert gradcheck(prototypical_logits, (support, queries))
    assert gradcheck(lambda s, q: matching_logits(attention(q, s.flatten(1, 2), 2.0), 2), (support, queries))
    assert gradcheck(lambda q: contrastive_loss(q, labels, 5.0), (queries,))


@pytest.mark.parametrize("kind", ["prototypical", "matching", "siamese"])
def test_order_of_support_and_classes_changes_nothing_but_the_labels(kind: str) -> None:
    encoder = make_encoder(3, ENCODERS[0])
    learners = {
        "prototypical": Prototypical(encoder),
        "matching": Matching(encoder, MatchingConfig(encoder=ENCODERS[0], full_context=False)),
        "siamese": Siamese(encoder, SiameseConfig(encoder=ENCODERS[0])),
    }
    support, queries, classes = draw(2, 4, 3, 8), draw(2, 5, 8, seed=1), torch.tensor([2, 0, 3, 1])
    expected = learners[kind].logits(support, queries)
    shuffled = learners[kind].logits(support[:, classes][:, :, [1, 2, 0]], queries)
    torch.testing.assert_close(shuffled, expected[..., classes])


def test_context_of_a_matching_network_changes_its_answers_and_keeps_their_shape() -> None:
    torch.manual_seed(0)
    learner = Matching(make_encoder(3, ENCODERS[0]), MatchingConfig(encoder=ENCODERS[0])).double()
    support, queries = draw(2, 4, 3, 8), draw(2, 5, 8, seed=1)
    plain = matching_logits(attention(queries, support.flatten(1, 2), learner.sharpness), 4)
    logits = learner.logits(support, queries)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(2, 5, dtype=torch.float64))
    assert not torch.allclose(logits, plain)


@pytest.mark.parametrize("config", ENCODERS, ids=lambda config: config.kind)
def test_what_stands_after_the_end_of_an_episode_changes_nothing(config: EncoderConfig) -> None:
    torch.manual_seed(0)
    encoder = make_encoder(3, config).double()
    episodes = draw(2, 12, 4)
    episodes[..., -1] = 1.0
    short = episodes[:, :8]
    padded = episodes.clone()
    padded[:, 8:, -1] = 0.0
    torch.testing.assert_close(encoder(encoder.prepare(padded)), encoder(encoder.prepare(short)))
    assert not torch.allclose(encoder(encoder.prepare(padded)), encoder(encoder.prepare(episodes)))


def test_parts_of_an_episode_are_averaged_by_themselves() -> None:
    episode = torch.tensor([[[1.0, 1], [3.0, 1], [5.0, 1], [9.0, 1], [100.0, 0]]])
    assert part_means(episode, 2).flatten().tolist() == [2.0, 7.0]


def test_queries_show_other_goals_than_the_examples_and_classes_differ() -> None:
    library = Library(show_skills(classes=5, goals=4, episodes=3), PrototypicalConfig(), CPU)
    problems = library.draw(400, 4, 2, 2, torch.Generator().manual_seed(0))
    labels = library.labels[torch.cat([problems.support, problems.queries], dim=-1)]
    assert (labels == labels[..., :1]).all()  # a row is of one class
    assert all(len(set(row)) == 4 for row in labels[..., 0].tolist())
    goals = library.goal_of[torch.cat([problems.support, problems.queries], dim=-1)]
    assert all(len(set(row)) == 4 for row in goals.flatten(0, 1).tolist())
    assert len(set(problems.support.flatten().tolist())) == 5 * 4 * 3  # all of them come up


@pytest.mark.parametrize(
    ("ways", "goals", "complaint"),
    [(6, 3, "6 classes are more than the 5 held-out ones"), (5, 5, "5 demonstrations of different goals are needed")],
)
def test_too_few_classes_or_demonstrations_are_told(ways: int, goals: int, complaint: str) -> None:
    library = Library(show_skills(classes=5, goals=4), PrototypicalConfig(), CPU)
    with pytest.raises(UserError, match=complaint):
        library.check(ways, goals, "held-out")


ALGORITHMS: list[dict[str, object]] = [
    {"kind": "prototypical"},
    {"kind": "matching"},
    {"kind": "siamese"},
    {"kind": "gradient"},
    {"kind": "gradient", "rule": {"kind": "gradient", "first_order": True}, "outer": "reptile"},
    {"kind": "gradient", "rule": {"kind": "gradient", "learned_lr": True}, "adapted": "head"},
    {"kind": "gradient", "rule": {"kind": "metanet"}, "adapted": "head", "hidden_sizes": (4,)},
    {"kind": "gradient", "rule": {"kind": "meta-lstm"}, "adapted": "head", "hidden_sizes": (4,)},
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda each: "-".join(map(str, each.values()))[:40])
def test_resumed_training_equals_an_uninterrupted_one(algorithm: dict[str, object], tmp_path: Path) -> None:
    dataset = save_skills(tmp_path)
    whole = RunDirectory.create(tmp_path / "whole", run_config(dataset, algorithm))
    train(whole)
    part = RunDirectory.create(tmp_path / "part", run_config(dataset, algorithm, iterations=1))
    train(part)
    part = RunDirectory.open(part.path)
    part.config = run_config(dataset, algorithm)
    train(part, resume=True)
    states = [(run.checkpoint("last") / "state.safetensors").read_bytes() for run in (whole, part)]
    assert states[0] == states[1]
    assert (
        states[0]
        != (part.checkpoints / sorted(p.name for p in part.checkpoints.iterdir())[0])
        .joinpath("state.safetensors")
        .read_bytes()
    )


def learn(recognition: Recognition, iterations: int) -> float:
    """Returns the accuracy on the last training problems."""
    sampler = Sampler((), [Task("none", [])], (1,), CPU)
    for iteration in range(iterations):
        result = recognition.meta_iteration(sampler, torch.Generator().manual_seed(iteration))
    assert sampler.steps > 0
    assert result.score == result.metrics["train/accuracy"]
    return result.metrics["train/accuracy"]


def test_learned_comparison_is_better_than_a_nearest_neighbour() -> None:
    recognition = build(PrototypicalConfig(**SMALL, encoder=PooledEncoderConfig(parts=2, embedding_size=8), lr=1e-2))
    learn(recognition, 60)
    controls = make_controls(["nearest", "chance"], recognition, seed=1)
    result = evaluate_recognition(recognition, problems=100, controls=controls)
    assert result.overall()[0].mean > 0.9
    assert result.gains("nearest")[0].low > 0
    assert 0.2 < result.overall("chance")[0].mean < 0.45  # of three classes


@pytest.mark.parametrize("kind", ["matching", "siamese", "gradient"])
def test_other_classifiers_learn_too(kind: str) -> None:
    configs = {"matching": MatchingConfig, "siamese": SiameseConfig, "gradient": GradientConfig}
    encoder = PooledEncoderConfig(parts=2, embedding_size=8)
    recognition = build(configs[kind](**SMALL, encoder=encoder, lr=1e-2))
    before = evaluate_recognition(recognition, problems=50).overall()[-1].mean
    learn(recognition, 60)
    after = evaluate_recognition(recognition, problems=50).overall()[-1].mean
    assert after > max(before, 0.8)


@pytest.mark.parametrize("blocks", [0, 4])
def test_pictures_are_enough_to_recognise_a_skill_by(blocks: int) -> None:
    frames = FramesConfig(count=2, blocks=blocks, channels=8, feature_size=8)
    config = PrototypicalConfig(**SMALL, frames=frames, encoder=PooledEncoderConfig(parts=1, embedding_size=8))
    torch.manual_seed(0)
    shown = show_skills(classes=6, goals=5, episodes=1, frames=True)
    recognition = Recognition(config, ShownTasks(shown, HELD_OUT), CPU)
    assert learn(recognition, 10) > 0.6
    assert evaluate_recognition(recognition, problems=10).overall()[-1].mean > 0.6
    with pytest.raises(UserError, match="demonstrations have no frames"):
        build(config)


def test_controls_look_at_the_same_pictures() -> None:
    pytest.importorskip("dtaidistance")
    shown = show_skills(classes=6, goals=5, episodes=1, frames=True)
    config = PrototypicalConfig(**SMALL, frames=FramesConfig(count=2, size=16, channels=8, feature_size=8))
    recognition = Recognition(config, ShownTasks(shown, HELD_OUT), CPU)
    result = evaluate_recognition(recognition, problems=10, controls=make_controls(["all"], recognition, seed=1))
    # a skill's pictures are all of one brightness, so that nothing has to be learned
    for control in ("nearest", "warping"):
        assert [each.mean for each in result.overall(control)] == [1.0, 1.0]


def test_pictures_are_averaged_down() -> None:
    rows = np.arange(64, dtype=np.uint8).reshape(1, 64, 1, 1)
    shown = show_skills(classes=6, goals=5, episodes=1, frames=True)
    brighter = []
    for each in shown:
        assert each.frames is not None
        brighter.append(replace(each, frames=np.minimum(each.frames, 100) + rows))
    spaces = shown.observation_space, shown.action_space
    library = Library(
        Demonstrations(brighter, *spaces, name="turns-v0", cameras=["view"]),
        PrototypicalConfig(frames=FramesConfig(count=2, size=16)),
        CPU,
    )
    assert library.episodes.shape == (30, 2, 3, 16, 16)
    # 1.5, 5.5, ... are the means of 0 to 3, 4 to 7, ..., rounded to even numbers
    assert library.episodes[0, 1, 2, :3, 0].tolist() == [2, 6, 10]
    assert library.episodes[0, 1, 2, 0].tolist() == [2] * 16


def test_all_pictures_of_an_episode_are_shifted_alike() -> None:
    picture = torch.arange(16 * 16).reshape(16, 16)
    episodes = picture.expand(50, 2, 3, 16, 16)
    shifted = shift_pictures(episodes, 1, torch.Generator().manual_seed(0))
    assert (shifted == shifted[:, :1, :1]).all()
    inside = shifted[:, 0, 0, 1:-1, 1:-1] - picture[1:-1, 1:-1]
    assert (inside == inside[:, :1, :1]).all()
    # a step down is 16 further, a step to the right 1
    assert set(inside[:, 0, 0].tolist()) == {16 * row + column for row in (-1, 0, 1) for column in (-1, 0, 1)}
    edges = picture[[0, *range(15)]][:, [0, *range(15)]]  # the first row and column stand twice
    assert any(torch.equal(each, edges) for each in shifted[:, 0, 0])


def test_linear_probe_fits_what_can_be_told_by_a_line() -> None:
    centres = 3 * draw(1, 4, 6).repeat_interleave(5, dim=1)
    support, queries = centres + 0.1 * draw(1, 20, 6, seed=1), centres + 0.1 * draw(1, 20, 6, seed=2)
    answers = linear_answers(support.float(), 4, queries.float())
    assert (answers == torch.arange(4).repeat_interleave(5)).all()


def test_warping_sees_through_other_speeds_where_a_nearest_neighbour_does_not() -> None:
    pytest.importorskip("dtaidistance")
    fast, slow = (
        np.repeat([[0.0], [5.0], [0.0], [0.0]], [1, 1, 1, 9], axis=0),
        np.repeat([[0.0], [5.0], [0.0]], 4, axis=0),
    )
    other = np.full((12, 1), 0.5)
    distances = warped_distances([slow, fast, other])
    assert distances[0, 1] == 0  # a bump at another speed
    assert distances[0, 2] > 0
    assert np.linalg.norm(slow - fast) > np.linalg.norm(fast - other)  # step by step, the bump is farther than a line


def test_evaluation_is_written_read_back_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = run_config(save_skills(tmp_path), {"kind": "prototypical"}, every=1)
    run = RunDirectory.create(tmp_path / "run", config)
    iterations = train(run)
    assert "train/accuracy" in iterations[0].metrics
    assert "rollout/ep_rew_mean" not in iterations[0].metrics
    assert isinstance(iterations[-1].evaluation, RecognitionResult)
    assert main(["evaluate", str(run.path), "--problems", "40", "--controls", "nearest", "probe"]) == 0
    shown = capsys.readouterr().out
    assert "nearest neighbour" in shown
    assert "turn-3" in shown
    (stored,) = read_recognitions(run)
    assert stored.result.ways == 3
    assert stored.result.shots == (1, 2)
    assert set(stored.result.accuracy) == {"policy", "nearest", "probe"}
    again = RecognitionResult.from_dict(stored.result.to_dict())
    assert again.overall() == stored.result.overall()
    together = RecognitionResult.together([stored.result, again])
    assert together.overall()[0].mean == pytest.approx(stored.result.overall()[0].mean)
    assert main(["report", str(run.path)]) == 0
    page = (run.path / "report.html").read_text()
    assert "nearest neighbour" in page
    assert "turn-3" in page


BAD: dict[str, tuple[str, str]] = {
    "--tasks.test turn-1 turn-99": ("turn-99", "class in turns-v0"),
    "--algorithm.ways 4": ("4 classes are more than the 3 held-out ones", "ways"),
    "--algorithm.shots 5": ("of each training class", "7 demonstrations"),
    "--tasks.dataset nothing": ("no demonstrations at", "nothing"),
    "--tasks.split ML45": ("give either split", "test"),
    "--algorithm.kind rl2 --algorithm.meta_batch 2": ("cannot be played", "demonstrations"),
    "--algorithm.kind gradient --algorithm.rule.kind metanet": ("set it to head", "adapted"),
    "--algorithm.kind gradient --algorithm.outer reptile --algorithm.adapted head": ("reptile", "adapted = head"),
    "--algorithm.kind gradient --algorithm.encoder.kind recurrent": ("recurrent encoder", "head"),
}


@pytest.mark.parametrize("arguments", BAD)
def test_mistakes_are_told_in_a_line_and_leave_nothing(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(dump_config(run_config(save_skills(tmp_path), {"kind": "prototypical"})))
    code = main(["train", str(file), "--run", str(tmp_path / "run"), *arguments.split()])
    told = capsys.readouterr().err
    assert code == 2, told
    assert told.count("\n") == 1
    for words in BAD[arguments]:
        assert words in told
    assert not (tmp_path / "run").exists()


def test_algorithms_that_recognise_need_demonstrations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "demo", "--algorithm.kind", "prototypical", "--run", str(tmp_path / "run")]) == 2
    assert "tasks.kind must be demonstrations" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_commands_for_runs_that_act_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory.create(tmp_path / "run", run_config(save_skills(tmp_path), {"kind": "siamese"}, 1))
    train(run)
    capsys.readouterr()
    for arguments, words in (
        (["evaluate", "--stress"], "--stress is for runs that act"),
        (["evaluate", "--controls", "expert"], "unknown control 'expert'"),
        (["evaluate", "--ways", "9"], "9 classes are more than the 3 held-out ones"),
        (["evaluate", "--adaptation-episodes", "3"], "--adaptation-episodes is for runs that act"),
        (["watch"], "turns-v0 has nothing to render"),
        (["export"], "does not act"),
    ):
        command, *rest = arguments
        assert main([command, str(run.path), *rest]) == 2, arguments
        told = capsys.readouterr().err
        assert words in told
        assert told.count("\n") == 1


def test_commands_and_program_of_the_pages_are_right() -> None:
    for page, section in (("demonstrations.md", "Recognise a skill"), ("algorithms/recognition.md", None)):
        text = Page(page).text if section is None else Page(page).section(section)
        lines = [shlex.split(line, comments=True) for line in re.findall("^metarl (.*)$", text, re.MULTILINE)]
        assert [command for command, *_ in lines if command != "demos"] == ["train", "evaluate", "report"]
        for command, *rest in lines:
            if command == "train":
                _, overrides = split_overrides(rest, ["--run"])
                assert isinstance(load_config(rest[0], overrides).algorithm, MatchingConfig)
            else:
                _make_parser()[0].parse_args([command, *rest])
    names: dict[str, Any] = {}
    for block in Page("algorithms/recognition.md").blocks("python"):
        exec(block, names)
    assert names["predicted"].shape == (25, 5, 1)


def test_the_page_names_every_preset_and_metric(tmp_path: Path) -> None:
    page = Page("algorithms/recognition.md")
    for name in preset_names():
        if name.startswith("skills-"):
            assert f"`{name}`" in page.text or f"`-{name.removeprefix('skills-')}`" in page.text
    run = RunDirectory.create(tmp_path / "run", run_config(save_skills(tmp_path), {"kind": "prototypical"}, 1))
    (iteration,) = train(run)
    own = {name for name in iteration.metrics if name.startswith("train/")} - {"train/skipped_updates"}
    named = set(re.findall(r"^\| `(.*?)` \|", page.section("Reading the metrics"), re.MULTILINE))
    assert own | {"eval/accuracy/test/<k>_shots"} == named
