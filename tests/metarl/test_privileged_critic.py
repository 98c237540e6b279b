"""The critic that sees class and parameters of the tasks: its scale, its inputs, and that acting does without them."""

from typing import Any

import numpy as np
import torch
from two_classes import family

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2PPOConfig, RL2PrivilegedBaselineConfig
from metarl.algorithms.rl2.losses import Trials, make_trials
from metarl.algorithms.rl2.privileged import PrivilegedCritic
from metarl.policies.config import GRUConfig
from metarl.returns import discounted_returns

CPU = torch.device("cpu")


def make_rl2(**changes: Any) -> RL2:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "meta_batch": 20,
        "episodes": 2,
        "core": GRUConfig(hidden_size=4),
        "baseline": RL2PrivilegedBaselineConfig(hidden_sizes=(32,), epochs=20, lr=1e-2),
        "outer": RL2PPOConfig(epochs=1),
    }
    return RL2Config(**(settings | changes)).build(family(), CPU)


def play(rl2: RL2) -> Trials:
    distribution = family()
    sampler = Sampler([distribution.make_env(20)], list(distribution.train_tasks), (1,), CPU)
    rl2.warm_up(sampler)
    return make_trials(sampler.collect(rl2.make_actor, 2))


def critic_of(rl2: RL2) -> PrivilegedCritic:
    assert rl2.privileged is not None
    return rl2.privileged


def test_values_of_classes_whose_rewards_differ_a_hundredfold_are_learned_alike() -> None:
    rl2 = make_rl2()
    trials, critic = play(rl2), critic_of(rl2)
    # to know: remaining steps * scale * (1 + target), which needs time, class and parameters
    target, scale = (
        torch.tensor([task.parameters[index] for task in trials.tasks], dtype=torch.float32).unsqueeze(1)
        for index in (0, 1)
    )
    returns = torch.arange(16, 0, -1) * scale * (1 + target)
    for seed in range(3):
        critic.fit(trials, returns, torch.Generator().manual_seed(seed))
    values = critic.values(trials)
    for name in ("left", "right"):
        rows = torch.tensor([task.name == name for task in trials.tasks])
        unexplained = (values - returns)[rows].var() / returns[rows].var()
        assert unexplained < 0.05, name


def test_following_the_statistics_leaves_values_as_they_were() -> None:
    rl2 = make_rl2()
    trials, critic = play(rl2), critic_of(rl2)
    returns = discounted_returns(trials.rewards, trials.valid, 0.9)
    critic.fit(trials, returns, torch.Generator().manual_seed(0))
    before = critic.values(trials)
    critic._update_statistics(50 + 7 * returns, trials, critic._classes(trials))
    assert not torch.equal(critic.mean, torch.zeros(2))
    torch.testing.assert_close(critic.values(trials), before, rtol=1e-4, atol=1e-3)


def test_inputs_are_observation_times_class_and_standardised_parameters() -> None:
    rl2 = make_rl2()
    trials, critic = play(rl2), critic_of(rl2)
    features = critic._features(trials)
    assert features.shape == (20, 16, 1 + 2 + 2 + 2)
    # two episodes of 8 steps: time in the trial runs through, time in the episode starts again; both in hundreds
    np.testing.assert_allclose(features[0, :, 1], np.arange(16) / 100, rtol=1e-6)
    np.testing.assert_allclose(features[0, :, 2], np.tile(np.arange(8), 2) / 100, rtol=1e-6)
    classes = [critic._task_parameters.names[int(row.argmax())] for row in features[:, 0, 3:5]]
    assert classes == [task.name for task in trials.tasks]
    targets = features[:10, 0, 5]  # of one class: ten targets, evenly spaced
    torch.testing.assert_close(targets.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(targets.std(correction=0), torch.tensor(1.0))
    assert (features[:, 0, 6] == 0).all()  # the scale does not vary within a class


def test_acting_never_sees_what_the_critic_sees() -> None:
    rl2 = make_rl2()
    trials = play(rl2)

    def actions() -> torch.Tensor:
        # tasks of the other class, whose environments are held at the same rewards
        actor = rl2.make_actor(slice(0, 20), [np.random.default_rng(env) for env in range(20)])
        return torch.as_tensor(actor.act(trials.inputs.observations[:, 0].numpy())[0])

    before = actions()
    with torch.no_grad():
        for parameter in critic_of(rl2).parameters():
            parameter.fill_(torch.nan)
    torch.testing.assert_close(actions(), before)
    # The policy's function has one input for observation, action, reward and episode start each, and no other.
    outputs, _ = rl2.policy.sequence(trials.inputs, rl2.policy.initial_state(20))
    others = trials._replace(tasks=tuple(reversed(trials.tasks)))
    torch.testing.assert_close(rl2.policy.sequence(others.inputs, rl2.policy.initial_state(20))[0], outputs)
    assert not any(name.startswith("privileged") for name, _ in rl2.network.named_parameters())


def test_state_is_restored() -> None:
    trained, fresh = make_rl2(), make_rl2()
    trials = play(trained)
    trained.learn(trials, torch.Generator().manual_seed(0))
    fresh.load_state_dict(trained.state_dict())
    for rl2 in (trained, fresh):
        rl2.learn(trials, torch.Generator().manual_seed(1))
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(fresh.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
