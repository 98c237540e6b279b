"""Meta-World's scripted experts where observations hide the goal: they do what those that see it do."""

from contextlib import closing

import numpy as np
import pytest

from metarl_envs.metaworld import TASK_NAMES, MetaWorld
from metarl_envs.metaworld.expert import Experts, have_experts
from metarl_envs.metaworld.reference import GOAL

STEPS = 60


@pytest.fixture(scope="module")
def hidden() -> MetaWorld:
    return MetaWorld("custom", train=["push-v3", "drawer-open-v3", "reach-v3"], test=["door-open-v3"], horizon=STEPS)


def test_experts_told_by_the_task_act_as_those_that_see_the_goal(hidden: MetaWorld) -> None:
    visible = MetaWorld("custom", train=list(hidden.classes), test=["door-open-v3"], horizon=STEPS, goal_visible=True)
    tasks = [visible.train_tasks[index] for index in (0, 1, 50, 100)]
    told, seeing = hidden.expert(), Experts()
    assert told is not None
    with closing(visible.make_env(len(tasks))) as env:
        env.set_tasks(tasks)
        seen, _ = env.reset(seed=0)
        solved = np.zeros(len(tasks), dtype=np.bool_)
        for _ in range(STEPS - 1):
            blind = seen.copy()
            blind[:, GOAL] = 0.0
            actions = seeing.act(tasks, seen)
            np.testing.assert_array_equal(told(tasks, blind), actions)
            assert (blind[:, GOAL] == 0).all()  # the caller's array stays as it is
            seen, _, _, _, infos = env.step(actions)
            solved |= infos["success"]
    assert solved[3]


def test_every_class_of_meta_world_has_an_expert_and_ones_own_has_none(
    hidden: MetaWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert have_experts(TASK_NAMES)
    monkeypatch.setattr(hidden, "classes", ("push-v3", "my-own-v3"))
    assert hidden.expert() is None
