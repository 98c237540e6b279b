"""What adaptation leaves in a policy: where it is read from, how it is coloured, which skills were kept."""

import numpy as np
import pytest
import torch
from reported_runs import TASKS

from metarl.acting.agents import AdaptationTrace, TrainedAgent
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.config import RL2Config
from metarl.reporting.inside import kept_skills, scatter, trace_tasks
from metarl_envs.core import Task, TaskDistribution


@pytest.fixture(scope="module")
def navigation() -> TaskDistribution:
    return TASKS.build()


def make_agent(algorithm: MAMLConfig | RL2Config, distribution: TaskDistribution) -> TrainedAgent:
    return algorithm.build(distribution, torch.device("cpu")).make_agent(0)


def parameters_of(agent: TrainedAgent, env: int) -> dict[str, torch.Tensor]:
    """Parameters of the policy that the agent acts by in an environment."""
    policy = agent.exportable(env).module.policy
    assert isinstance(policy, torch.nn.Module)
    return {name: parameter.detach() for name, parameter in policy.named_parameters()}


def test_a_gradient_step_leaves_a_change_of_all_parameters(navigation) -> None:
    agent = make_agent(MAMLConfig(hidden_sizes=(4,)), navigation)
    initial = parameters_of(agent, 0)
    assert agent.trace() is None
    trace = trace_tasks(agent, navigation, navigation.test_tasks[:3], 4, seed=1)
    assert trace is not None
    assert trace.what == "change of the parameters"
    for env in range(3):
        adapted = parameters_of(agent, env)
        changed = [(adapted[name] - initial[name]).norm() for name in initial]
        assert np.linalg.norm(trace.vectors[env]) == pytest.approx(float(torch.stack(changed).norm()), rel=1e-4)
    assert np.linalg.norm(trace.vectors, axis=1).min() > 0


def test_a_memory_leaves_its_state(navigation) -> None:
    agent = make_agent(RL2Config(), navigation)
    assert agent.trace() is None
    tasks = navigation.test_tasks[:3]
    first = trace_tasks(agent, navigation, tasks, 2, seed=1)
    again = trace_tasks(agent, navigation, tasks, 2, seed=1)
    assert first is not None
    assert again is not None
    assert first.what == "recurrent state"
    assert len(np.unique(first.vectors, axis=0)) == 3
    np.testing.assert_array_equal(first.vectors, again.vectors)


def test_tasks_of_one_name_are_coloured_by_what_differs_most() -> None:
    trace = AdaptationTrace("state", np.eye(3))
    tasks = [Task("reach", [0.5, place, 0.1 * place]) for place in (1.0, 2.0, 4.0)]
    shaded = scatter(trace, tasks)
    assert shaded.shade is not None
    assert shaded.shade.tolist() == [1, 2, 4]
    assert shaded.shade_label == "parameter 2 of the task"
    assert scatter(trace, [*tasks[:2], Task("push", [0.0, 0.0, 0.0])]).shade is None


def test_skills_are_counted_by_name() -> None:
    trace = AdaptationTrace("chosen skill", np.eye(2)[[0, 0, 1, 1]], ("open", "close"))
    tasks = [Task("door", [float(place)]) for place in range(3)] + [Task("drawer", [0.0])]
    assert kept_skills(trace, tasks) == [("door", "open 2, close 1"), ("drawer", "close 1")]
