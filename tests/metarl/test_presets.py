"""Every preset parses and runs a short iteration; sizes are cut, structure is kept."""

from pathlib import Path

import pytest
from shown_goals import save_noise
from shown_skills import save_skills
from training_runs import train

from metarl.algorithms.imitation.config import ImitationConfig
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.recognition.config import RecognitionConfig
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig
from metarl.config import LocomotionTasks, MetaWorldTasks, NavigationTasks, RunConfig, dump_config, load_config
from metarl.runs import RunDirectory

PRESETS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def shorten(config: RunConfig, folder: Path) -> RunConfig:
    tasks = config.tasks.model_dump()
    if isinstance(config.algorithm, RecognitionConfig):
        dataset = save_skills(folder, frames=config.algorithm.frames is not None)
        tasks |= {"dataset": str(dataset), "split": None, "test": ("turn-1", "turn-3", "turn-5")}
        algorithm = config.algorithm.model_dump() | {"meta_batch": 1, "ways": 3, "shots": (1, 2), "queries": 1}
        fields = config.model_dump() | {"tasks": tasks, "algorithm": algorithm, "iterations": 1, "threads": 1}
        return RunConfig.model_validate(fields | {"evaluation": {"every": 1}})
    if isinstance(config.tasks, MetaWorldTasks | LocomotionTasks | NavigationTasks):
        tasks["horizon"] = 4
    algorithm = config.algorithm.model_dump() | {"meta_batch": 2, "episodes": 2}
    if isinstance(config.algorithm, ImitationConfig):
        dataset = save_noise(folder, config.tasks.build())
        algorithm = config.algorithm.model_dump() | {"meta_batch": 2, "dataset": str(dataset)}
    elif isinstance(config.algorithm, MAMLConfig):
        algorithm |= {"parallel_episodes": min(config.algorithm.parallel_episodes, 2)}
    else:
        assert isinstance(config.algorithm, RL2Config)
        algorithm["chunk"] = None if config.algorithm.chunk is None else 1
        if isinstance(config.algorithm.outer, RL2PPOConfig):
            algorithm["outer"] |= {"minibatches": min(config.algorithm.outer.minibatches, 2)}
    evaluation = {"every": 1, "adaptation_episodes": [0, 1], "episodes": 1, "tasks_per_name": 1}
    fields = config.model_dump() | {"tasks": tasks, "algorithm": algorithm, "evaluation": evaluation}
    return RunConfig.model_validate(fields | {"iterations": 1, "threads": 1})


def test_the_families_and_algorithms_that_users_ask_for_have_presets() -> None:
    names = {path.stem for path in PRESETS}
    families = ("ml1-reach", "ml1-push", "ml1-pick-place", "ml10", "ml45", "navigation", "bandit")
    assert names >= {f"{family}-{algorithm}" for family in families for algorithm in ("maml", "rl2")}
    members = ("promp", "maml-ppo", "fomaml", "anil", "meta-sgd", "reptile", "emaml")
    assert names >= {f"navigation-{member}" for member in members}
    assert names >= {
        f"skills-{member}" for member in ("prototypical", "matching", "siamese", "maml", "metanet", "meta-lstm")
    }
    assert names >= {f"ml1-{task}-imitation" for task in ("reach", "push", "pick-place")}
    assert names >= {"halfcheetah-dir-maml", "halfcheetah-dir-promp", "halfcheetah-vel-maml", "ant-dir-maml"}


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_runs_a_short_iteration(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    assert path.read_text().startswith("#")  # says where its numbers come from
    run = RunDirectory.create(tmp_path / "run", shorten(config, tmp_path))
    train(run)
    assert run.checkpoint("last").is_dir()
    assert (run.path / "metrics.jsonl").read_text().count("\n") == 2  # before training, and the iteration


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.stem)
def test_preset_survives_a_round_trip(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "config.yaml") == config
