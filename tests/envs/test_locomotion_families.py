"""Tasks are drawn as the papers say, and rewards are the same for any array library."""

import typing
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import stats

from metarl.config import LocomotionTasks
from metarl_envs import registry
from metarl_envs.errors import UserError
from metarl_envs.locomotion import FAMILIES, Locomotion
from metarl_envs.locomotion.family import Motion, matches_speed


def parameters(name: str, count: int = 3000) -> npt.NDArray[Any]:
    return np.stack([task.parameters for task in Locomotion(name, num_train_tasks=count).train_tasks])


def assert_uniform(values: npt.NDArray[Any], low: float, high: float) -> None:
    assert low <= values.min()
    assert values.max() <= high
    assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("name", "high"),
    [("HalfCheetahVel", 2.0), ("Walker2dVel", 10.0), ("AntDir", 2 * np.pi), ("HumanoidDir", 2 * np.pi)],
)
def test_speeds_and_angles_are_uniform(name: str, high: float) -> None:
    drawn = parameters(name)
    assert drawn.shape == (3000, 1)
    assert_uniform(drawn[:, 0], 0.0, high)


def test_goals_are_uniform_in_a_disc() -> None:
    x, y = parameters("AntGoal").T
    assert_uniform((x**2 + y**2) / 9.0, 0.0, 1.0)  # the share of the area within
    assert_uniform(np.arctan2(y, x), -np.pi, np.pi)


@pytest.mark.parametrize(("name", "bodies", "joints"), [("HopperRandParams", 5, 6), ("Walker2dRandParams", 8, 9)])
def test_physics_is_log_uniform_factor_by_factor(name: str, bodies: int, joints: int) -> None:
    factors = parameters(name, 500)
    geoms = bodies  # one for each link, and the floor
    assert factors.shape == (500, bodies + 3 * bodies + joints + 3 * geoms)
    damping = slice(4 * bodies, 4 * bodies + joints)
    assert_uniform(np.log(factors[:, damping]).ravel() / np.log(1.3), -3.0, 3.0)
    assert_uniform(np.log(np.delete(factors, damping, axis=1)).ravel() / np.log(1.5), -3.0, 3.0)
    assert len(np.unique(factors)) == factors.size  # each its own


@pytest.mark.parametrize("name", ["HopperRandParams", "Walker2dRandParams"])
def test_factors_go_to_their_fields(name: str) -> None:
    family = FAMILIES[name]()
    model = family.model
    sizes = {"body_mass": model.nbody, "body_inertia": 3 * model.nbody, "dof_damping": model.nv}
    start = 0
    for field, size in (sizes | {"geom_friction": 3 * model.ngeom}).items():
        factors = np.ones(sum(sizes.values()) + 3 * model.ngeom)
        factors[start : start + size] = np.arange(2, size + 2)
        start += size
        for other, values in family.fields(factors).items():
            plain = getattr(model, other)
            expected = plain.ravel() * np.arange(2, size + 2) if other == field else plain.ravel()
            np.testing.assert_array_equal(values, expected.reshape(plain.shape))


def test_splits_follow_from_the_seed_and_do_not_overlap() -> None:
    one, same, other = (Locomotion("AntGoal", 30, 20, seed=seed) for seed in (1, 1, 2))
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert (len(one.train_tasks), len(one.test_tasks)) == (30, 20)
    assert one.held_out


def test_published_horizons() -> None:
    horizons = {name: family.horizon for name, family in FAMILIES.items()}
    assert horizons == dict.fromkeys(FAMILIES, 200) | {"HalfCheetahDir": 100, "HalfCheetahVel": 100}
    assert Locomotion("AntDir", horizon=7).horizon == 7


def test_two_directions_are_all_there_is_and_are_not_called_held_out() -> None:
    family = Locomotion("HalfCheetahDir", seed=5)
    assert [task.parameters.tolist() for task in family.train_tasks] == [[1.0], [-1.0]]
    assert family.test_tasks == family.train_tasks
    assert not family.held_out
    drawn = family.sample(41, np.random.default_rng(0))
    assert abs(sum(task.parameters[0] for task in drawn)) == 1
    with pytest.raises(UserError, match="leave out num_train_tasks"):
        Locomotion("HalfCheetahDir", num_test_tasks=1)


def test_a_family_with_held_out_tasks_gives_none_twice() -> None:
    with pytest.raises(UserError, match="meta-batch of 4 is larger than the 3 training tasks"):
        Locomotion("AntDir", num_train_tasks=3).sample(4, np.random.default_rng(0))


def test_success_of_directions_and_speeds() -> None:
    forwards, backwards = np.array([[1.0], [1.0], [-1.0]]), np.array([[0.6], [0.4], [-0.6]])
    assert FAMILIES["HalfCheetahDir"]().succeeded(forwards, backwards, None).tolist() == [True, False, True]
    up = np.full((4, 1), np.pi / 2)
    velocities = np.array([[0.0, 0.6], [0.0, -0.6], [5.0, 0.4], [-5.0, 0.6]])
    for name in ("AntDir", "HumanoidDir"):
        assert FAMILIES[name]().succeeded(up, velocities, None).tolist() == [True, False, False, True]
    speeds = np.array([0.09, 0.11, 5.4, 5.6, 4.4])
    assert matches_speed(np.array([0.0, 0.0, 5.0, 5.0, 5.0]), speeds).tolist() == [True, False, True, False, False]
    for name in ("HopperRandParams", "Walker2dRandParams"):
        assert FAMILIES[name]().succeeded(None, np.array([[0.6], [-0.6]]), None).tolist() == [True, False]


@pytest.mark.parametrize("name", FAMILIES)
def test_observations_rewards_and_success_are_the_same_in_torch(name: str) -> None:
    family = FAMILIES[name]()
    rng = np.random.default_rng(0)
    envs = 6
    data = {"qpos": (family.model.nq,), "qvel": (family.model.nv,), "qfrc_actuator": (family.model.nv,)}
    bodies = {"xpos": (3,), "xipos": (3,), "cvel": (6,), "cinert": (10,), "cfrc_ext": (6,)}
    shapes = data | {array: (family.model.nbody, *shape) for array, shape in bodies.items()}
    simulation = {array: rng.normal(size=(envs, *shapes[array])) for array in family.arrays}
    tasks = np.concatenate([family.draw(rng, envs)] * 3)[:envs]
    position = family.position(simulation)
    actions, velocity = rng.normal(size=(envs, *family.action_space.shape)), rng.normal(size=position.shape)
    motion = Motion(simulation, velocity, position, actions, tasks)
    tensors = {array: torch.from_numpy(values) for array, values in simulation.items()}
    parts = (torch.from_numpy(np.ascontiguousarray(part)) for part in (velocity, position, actions, tasks))
    in_torch = Motion(tensors, *parts)
    pairs = (
        (family.observe(simulation), family.observe(tensors)),
        (position, family.position(tensors)),
        (family.reward(motion), family.reward(in_torch)),
        (family.terminated(simulation), family.terminated(tensors)),
        (
            family.succeeded(tasks, velocity, position),
            family.succeeded(in_torch.tasks, in_torch.velocity, in_torch.position),
        ),
    )
    for expected, found in pairs:
        assert isinstance(found, torch.Tensor)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_all_lists_of_families_are_the_same() -> None:
    assert tuple(FAMILIES) == tuple(registry.LOCOMOTION)
    assert tuple(FAMILIES) == typing.get_args(LocomotionTasks.model_fields["family"].annotation)
    with pytest.raises(UserError, match="did you mean 'AntGoal'"):
        Locomotion("AntGaol")


@pytest.mark.parametrize("name", FAMILIES)
def test_registry_and_configuration_make_the_same_tasks(name: str) -> None:
    registered = registry.make(name, horizon=9, seed=3)
    configured = LocomotionTasks.model_validate({"family": name, "horizon": 9, "seed": 3}).build()
    assert registered.fingerprint == configured.fingerprint
    assert (registered.name, registered.horizon, configured.horizon) == (name, 9, 9)
