"""Meta-learning algorithms, a folder each."""

import torch

from metarl.algorithms.base import Algorithm as Algorithm
from metarl.algorithms.maml.algorithm import MAML
from metarl.algorithms.maml.config import MAMLConfig
from metarl.algorithms.rl2.algorithm import RL2, check_trial
from metarl.algorithms.rl2.config import RL2Config
from metarl_envs.core import TaskDistribution


def make_algorithm(config: MAMLConfig | RL2Config, distribution: TaskDistribution, device: torch.device) -> Algorithm:
    """The algorithm that a configuration names, for a task distribution's spaces.

    Raises:
        UserError: If settings contradict each other.
    """
    spaces = (distribution.observation_space, distribution.action_space)
    if isinstance(config, MAMLConfig):
        return MAML(config, *spaces, device)
    check_trial(config, distribution.horizon)
    return RL2(config, *spaces, device)
