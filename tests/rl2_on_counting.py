"""RL² on the counting environment: three tasks, trials of two episodes of 2, 3 and 4 steps."""

from dataclasses import fields, replace

import torch
from counting_env import Counting

from metarl.algorithms.rl2.algorithm import RL2, RecurrentActor
from metarl.algorithms.rl2.config import RL2Config, RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import linear_values, make_samples, make_trials
from metarl.policies.config import GRUConfig, LSTMConfig, TransformerConfig
from metarl.policies.inputs import RecurrentInput
from metarl.sampling import Sampler

CPU = torch.device("cpu")
CORES = {
    "gru": GRUConfig(hidden_size=5),
    "lstm": LSTMConfig(hidden_size=4),
    "transformer": TransformerConfig(memory=4, model_size=4, layers=2, heads=1),
}
BASELINES = {
    "linear": {},
    "shared": {"baseline": RL2ValueBaselineConfig(shares_core=True)},
    "own": {"baseline": RL2ValueBaselineConfig()},
}


def make_rl2(core="gru", **settings):
    torch.manual_seed(0)
    distribution = Counting()
    config = RL2Config(**({"meta_batch": 3, "episodes": 2, "core": CORES[core]} | settings))
    return RL2(config, distribution.observation_space, distribution.action_space, CPU)


def sampler(key=(1, 2, 3), split=(3,)):
    distribution = Counting()
    envs = [distribution.make_env(count) for count in split]
    return Sampler(envs, list(distribution.train_tasks), key, CPU)


def trials_of(rl2, key=(1, 2, 3)):
    rl2.warm_up(sampler())
    return make_trials(sampler(key).collect(RecurrentActor(rl2, 3), 2))


def doubled(trials):
    inputs = RecurrentInput(*(x.double() if x.is_floating_point() else x for x in trials.inputs))
    return type(trials)(inputs, *(x.double() if x.is_floating_point() else x for x in trials[1:]))


def longer(trajectories, steps=3):
    """The same trajectories with more padding behind each episode."""

    def padded(values):
        padding = values.new_zeros(*values.shape[:2], steps, *values.shape[3:])
        return torch.cat([values, padding], dim=2)

    names = ("observations", "actions", "rewards", "log_probs", "successes", "terminated", "truncated", "valid")
    return replace(trajectories, **{name: padded(getattr(trajectories, name)) for name in names})


def in_order(trajectories, order):
    """The same trajectories with their tasks in another order."""
    return replace(trajectories, **{f.name: getattr(trajectories, f.name)[order] for f in fields(trajectories)})


def exact(core="gru", **settings):
    """An algorithm in float64, its network away from initial zeros, and samples that its policy has moved away from."""
    rl2 = make_rl2(core, **settings)
    trials = doubled(trials_of(rl2))
    rl2.network.double()
    rng = torch.Generator().manual_seed(3)
    for parameter in rl2.network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return rl2, make_samples(trials, linear_values(trials, 0.9, per_task=False), 0.9, 0.8)


def gradients(module):
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in module.parameters()]
    )


def gradient_of_loss(rl2, samples, states):
    rl2.network.zero_grad()
    rl2.outer.loss(samples, states)[0].backward()
    return gradients(rl2.network)


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)
