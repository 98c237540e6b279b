"""Scaled masses, friction and damping: in the model as stated, gone when taken back, and no trace at factor 1."""

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import mujoco
import numpy as np
import numpy.typing as npt
import pytest

from metarl_envs.core import Task, TaskVectorEnv
from metarl_envs.divergence import Divergence
from metarl_envs.dynamics import UNCHANGED, Dynamics
from metarl_envs.errors import UserError
from metarl_envs.locomotion import FAMILIES, Locomotion, LocomotionVectorEnv
from metarl_envs.metaworld import MetaWorld
from metarl_envs.metaworld.engine import MetaWorldEngine
from metarl_envs.navigation import Navigation
from metarl_envs.simulation import SharedModel, dynamics_fields, scale_dynamics

TWICE = Dynamics(2.0, 0.5, 3.0)


@pytest.fixture(scope="module")
def hopper() -> Any:
    return FAMILIES["HopperRandParams"]()


def test_factors_are_in_the_fields_and_what_mujoco_derives_follows(hopper: Any) -> None:
    model = hopper.model
    fields = scale_dynamics(model, {}, TWICE)
    np.testing.assert_array_equal(fields["body_mass"], 2 * model.body_mass)
    np.testing.assert_array_equal(fields["body_inertia"], 2 * model.body_inertia)
    np.testing.assert_array_equal(fields["geom_friction"], 0.5 * model.geom_friction)
    np.testing.assert_array_equal(fields["dof_damping"], 3 * model.dof_damping)
    np.testing.assert_allclose(fields["body_subtreemass"], 2 * model.body_subtreemass)
    # The diagonal of the inertia matrix in the model's first posture: masses times two, the rotors' inertia as it was.
    expected = 2 * (model.dof_M0 - model.dof_armature) + model.dof_armature
    np.testing.assert_allclose(fields["dof_M0"], expected)
    assert scale_dynamics(model, {}, Dynamics(friction=2.0)).keys() == {"geom_friction", "pair_friction"}


def test_a_tasks_own_values_are_scaled(hopper: Any) -> None:
    own = hopper.fields(hopper.draw(np.random.default_rng(0), 1)[0])
    fields = scale_dynamics(hopper.model, own, TWICE)
    np.testing.assert_array_equal(fields["body_mass"], 2 * own["body_mass"])
    np.testing.assert_array_equal(fields["dof_damping"], 3 * own["dof_damping"])
    assert scale_dynamics(hopper.model, own, UNCHANGED) is own


def test_a_model_that_was_scaled_becomes_again_what_it_was(hopper: Any) -> None:
    before = dynamics_fields(hopper.model)
    shared = hopper.copy_model()
    assert isinstance(shared, SharedModel)
    scaled = scale_dynamics(hopper.model, {}, TWICE)
    shared.become(scaled)
    for name, values in scaled.items():
        np.testing.assert_array_equal(getattr(shared.model, name), values)
    shared.become({})
    for model in (shared.model, hopper.model):
        for name, values in before.items():
            np.testing.assert_array_equal(getattr(model, name), values)


def locomotion(num_envs: int, threads: int = 1) -> LocomotionVectorEnv:
    return LocomotionVectorEnv(FAMILIES["HalfCheetahVel"](), num_envs, 8, threads)


def meta_world(num_envs: int, threads: int = 1) -> MetaWorldEngine:
    return MetaWorldEngine(num_envs, 8, threads)


def play(env: TaskVectorEnv, dynamics: Sequence[Dynamics]) -> npt.NDArray[np.float64]:
    """Observations and rewards `(step, env, ...)` over the end of an episode."""
    env.set_dynamics(dynamics)
    tasks = {
        LocomotionVectorEnv: lambda: Locomotion("HalfCheetahVel", 3, 3).train_tasks,
        MetaWorldEngine: lambda: MetaWorld("ML1", task="push-v3").train_tasks,
    }[type(env)]()
    env.set_tasks(tasks[: env.num_envs])
    env.reset(seed=list(range(env.num_envs)))
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(10):
        action = np.tile(rng.uniform(-1, 1, env.single_action_space.shape), (env.num_envs, 1))
        observations, rewards, *_ = env.step(action)
        rows.append(np.column_stack([observations, rewards]))
    return np.stack(rows)


@pytest.mark.parametrize("make", [locomotion, meta_world])
def test_dynamics_of_one_environment_leave_the_others_and_the_next_evaluation_alone(make: Any) -> None:
    with closing(make(3, threads=2)) as env:
        plain = play(env, [UNCHANGED] * 3)
        mixed = play(env, [UNCHANGED, TWICE, UNCHANGED])
        again = play(env, [UNCHANGED] * 3)
    np.testing.assert_array_equal(plain, again)
    assert (plain != mixed).any(axis=(0, 2)).tolist() == [False, True, False]


def test_physics_is_mujocos_with_a_model_that_is_heavier() -> None:
    """Against a model scaled by hand and stepped without the engine."""
    with closing(locomotion(1)) as env:
        env.set_dynamics([Dynamics(mass=2.0, damping=3.0)])
        env.set_tasks(Locomotion("HalfCheetahVel", 3, 3).train_tasks[:1])
        env.reset(seed=[4])
        family = env.family
        model = family.copy_model().model
        model.body_mass[:] *= 2
        model.body_inertia[:] *= 2
        model.dof_damping[:] *= 3
        data = mujoco.MjData(model)
        scale = model.stat.meaninertia
        mujoco.mj_setConst(model, data)
        model.stat.meaninertia = scale  # the unit of the solver's tolerance, which stays as it is
        family.begin(model, data, np.random.default_rng(4))
        action = np.full((1, 6), 0.25)
        for _ in range(5):
            env.step(action)
            data.ctrl[:] = action[0]
            mujoco.mj_step(model, data, family.frame_skip)
        np.testing.assert_array_equal(env.simulation(0).qpos, data.qpos)


def test_dynamics_where_there_is_no_simulator_or_not_one_for_each_are_refused() -> None:
    with closing(Navigation(3, 3).make_env(2)) as env:
        assert not env.has_dynamics
        with pytest.raises(UserError, match="has no simulator whose masses"):
            env.set_dynamics([TWICE] * 2)
    with closing(locomotion(2)) as robots, pytest.raises(UserError, match="one per environment: got 1 for 2"):
        robots.set_dynamics([TWICE])


def test_evidence_of_a_divergence_holds_the_dynamics(tmp_path: Any) -> None:
    Divergence(Task("a", [1]), np.zeros(2), np.zeros((1, 2)), TWICE).save(tmp_path / "d.npz")
    assert Divergence.load(tmp_path / "d.npz").dynamics == TWICE
