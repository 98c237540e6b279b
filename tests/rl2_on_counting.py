"""RL² on the counting environment: three tasks, trials of two episodes of 2, 3 and 4 steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from counting_env import Counting
from torch import Tensor, nn

from metarl.acting.sampler import Sampler
from metarl.algorithms.rl2.algorithm import RL2
from metarl.algorithms.rl2.config import RL2Config, RL2ValueBaselineConfig
from metarl.algorithms.rl2.losses import Samples, Trials, linear_values, make_samples, make_trials
from metarl.algorithms.rl2.ppo import PPO
from metarl.data.trajectories import TENSORS, Trajectories
from metarl.policies.config import CoreConfig, GRUConfig, LSTMConfig, TransformerConfig
from metarl.policies.inputs import PolicyInput
from metarl.returns import gae

CPU = torch.device("cpu")
CORES: dict[str, CoreConfig] = {
    "gru": GRUConfig(hidden_size=5),
    "lstm": LSTMConfig(hidden_size=4),
    "transformer": TransformerConfig(memory=4, model_size=4, layers=2, heads=1),
}
BASELINES: dict[str, dict[str, Any]] = {
    "linear": {},
    "shared": {"baseline": RL2ValueBaselineConfig(shares_core=True)},
    "own": {"baseline": RL2ValueBaselineConfig()},
}


def make_rl2(core: str = "gru", **settings: Any) -> RL2:
    torch.manual_seed(0)
    distribution = Counting()
    sizes: dict[str, Any] = {"meta_batch": 3, "episodes": 2, "core": CORES[core]}
    config = RL2Config(**(sizes | settings))
    return RL2(config, distribution.observation_space, distribution.action_space, CPU)


def sampler(key: tuple[int, ...] = (1, 2, 3), split: Sequence[int] = (3,)) -> Sampler:
    distribution = Counting()
    envs = [distribution.make_env(count) for count in split]
    return Sampler(envs, list(distribution.train_tasks), key, CPU)


def trials_of(rl2: RL2, key: tuple[int, ...] = (1, 2, 3)) -> Trials:
    rl2.warm_up(sampler())
    return make_trials(sampler(key).collect(rl2.make_actor, 2))


def samples_over(
    trials: Trials, values: Tensor, discount: float, gae_lambda: float, classes: Sequence[str] | None = None
) -> Samples:
    """Samples with advantages over given values."""
    advantages = gae(trials.rewards, values, trials.valid, discount, gae_lambda)
    return make_samples(trials, advantages, discount, classes)


def doubled(trials: Trials) -> Trials:
    inputs = PolicyInput(*(x.double() if x.is_floating_point() else x for x in trials.inputs))
    changed = {name: getattr(trials, name).double() for name in ("actions", "log_probs", "rewards")}
    return trials._replace(inputs=inputs, **changed)


def longer(trajectories: Trajectories, steps: int = 3) -> Trajectories:
    """The same trajectories with more padding behind each episode."""

    def padded(values: Tensor) -> Tensor:
        padding = values.new_zeros(*values.shape[:2], steps, *values.shape[3:])
        return torch.cat([values, padding], dim=2)

    names = ("observations", "actions", "rewards", "log_probs", "successes", "terminated", "truncated", "valid")
    tensors: dict[str, Any] = {name: padded(getattr(trajectories, name)) for name in names}
    return replace(trajectories, **tensors)


def in_order(trajectories: Trajectories, order: Tensor) -> Trajectories:
    """The same trajectories with their tasks in another order."""
    tensors: dict[str, Any] = {name: getattr(trajectories, name)[order] for name in TENSORS}
    return replace(trajectories, **tensors, tasks=tuple(trajectories.tasks[int(row)] for row in order))


def exact(core: str = "gru", **settings: Any) -> tuple[RL2, Samples]:
    """An algorithm in float64, its network away from initial zeros, and samples that its policy has moved away from."""
    rl2 = make_rl2(core, **settings)
    trials = doubled(trials_of(rl2))
    rl2.network.double()
    rng = torch.Generator().manual_seed(3)
    for parameter in rl2.network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64)
    return rl2, samples_over(trials, linear_values(trials, 0.9, per_task=False), 0.9, 0.8)


def gradients(module: nn.Module) -> Tensor:
    return torch.cat(
        [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in module.parameters()]
    )


def ppo(rl2: RL2) -> PPO:
    """PPO, the algorithm's outer step."""
    assert isinstance(rl2.outer, PPO)
    return rl2.outer


def gradient_of_loss(rl2: RL2, samples: Samples, states: Tensor) -> Tensor:
    rl2.network.zero_grad()
    ppo(rl2).loss(samples, states)[0].backward()  # type: ignore[no-untyped-call]
    return gradients(rl2.network)


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-9)
