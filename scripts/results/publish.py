"""Making of a pretrained policy from a run and its evaluations."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import torch

from metarl import checkpoints
from metarl.algorithms.base import is_training_state
from metarl.evaluation.stored import KIND, read_evaluation, result_files
from metarl.files import staging_path
from metarl.loading import check_settings, restore
from metarl.runs import RunDirectory
from metarl.zoo_files import CARD
from metarl_envs.errors import UserError
from results.card import generate_card
from results.curve import read_metrics
from results.summary import CONFIG, EVALUATIONS, FACTS, PLAYED, VERSIONS, evaluation_form, make_facts

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)+")


def publish(run: RunDirectory, which: str, folder: Path, machine: str | None = None) -> None:
    """Makes a pretrained policy of a run, or replaces it: a checkpoint without what only training needs, and its card.

    Args:
        run: The run.
        which: Checkpoint to take; see `RunDirectory.checkpoint`.
        folder: Folder of the policy, whose name is the policy's.
        machine: Processor and cores that the run was trained on, for runs that do not tell.

    Raises:
        UserError: If the name is not words of small letters and digits with dashes between them, the run recognises
            and has no policy, the checkpoint is damaged, it has no evaluation on held-out tasks, or the run's machine
            is unknown.
    """
    if not _NAME.fullmatch(folder.name):
        raise UserError(f"a policy's name is two or more words with dashes, as in ml10-rl2: got '{folder.name}'")
    if evaluation_form(run.config) is not PLAYED:
        raise UserError(f"run {run.path} recognises demonstrations, and has no policy to publish")
    checkpoint = run.checkpoint(which)
    state, manifest = acting_state(run, checkpoint)
    evaluations = _evaluations(run, manifest.env_steps)
    facts = make_facts(run, read_metrics(run.path)[: manifest.iteration], folder, machine)
    staging = staging_path(folder) / folder.name  # its name is on the card
    try:
        (staging / EVALUATIONS).mkdir(parents=True)
        checkpoints.save(staging / "checkpoints", state, manifest.model_copy(update={"policy_only": True}))
        for path in evaluations:
            PLAYED.copy(path, staging / EVALUATIONS / path.name, folder.name)
        for name in (CONFIG, VERSIONS):
            shutil.copyfile(run.path / name, staging / name)
        (staging / FACTS).write_text(facts.to_json(), encoding="utf-8")
        (staging / CARD).write_text(generate_card(staging), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging.parent, ignore_errors=True)


def acting_state(run: RunDirectory, checkpoint: Path) -> tuple[dict[str, torch.Tensor], checkpoints.Manifest]:
    """Returns what an agent needs of a checkpoint, and its manifest.

    Args:
        run: Run that the checkpoint belongs to.
        checkpoint: Directory of the checkpoint.

    Raises:
        UserError: If the checkpoint is damaged, or of another task distribution or configuration.
    """
    distribution = run.config.tasks.build()
    algorithm = run.config.algorithm.build(distribution, torch.device("cpu"))
    manifest = restore(algorithm, distribution, checkpoint, to_act=True)
    check_settings(manifest, run.config, checkpoint)
    state = algorithm.state_dict()
    return {name: value for name, value in state.items() if not is_training_state(algorithm, name)}, manifest


def _evaluations(run: RunDirectory, env_steps: int) -> list[Path]:
    """Returns the files of a checkpoint's evaluations."""
    found = {path: read_evaluation(path) for path in result_files(run, KIND)}
    chosen = {path: each for path, each in found.items() if each.origin.env_steps == env_steps}
    if not any(each.evaluation.held_out and each.origin.control is None for each in chosen.values()):
        raise UserError(
            f"run {run.path} has no evaluation on held-out tasks after {env_steps} steps: metarl evaluate {run.path}"
        )
    return list(chosen)
