"""Settings of skill search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveInt

from metarl.algorithms.rl2.config import RL2Config, RL2PrivilegedBaselineConfig
from metarl.policies.config import GRUConfig

if TYPE_CHECKING:
    from metarl.algorithms.skills.algorithm import SkillSearch
    from metarl_envs.core import TaskDistribution


class SkillSearchConfig(RL2Config):
    """One recurrent policy with a learned code for each training class; adaptation searches over the codes by return.

    It uses the classes' names in training, and nothing but returns when it adapts.
    """

    kind: Literal["skills"] = "skills"  # type: ignore[assignment]
    """Name of the algorithm."""
    episodes: PositiveInt = 1
    """Episodes per trial; the memory is emptied between the episodes of an adaptation, so that 1 is what is used."""
    advantage_scale: Literal["meta_batch", "class"] = "class"
    """See `RL2Config`."""
    baseline: RL2PrivilegedBaselineConfig = RL2PrivilegedBaselineConfig()
    """Baseline that advantages are measured against."""
    core: GRUConfig = GRUConfig(longest_memory=100)
    """Recurrent core, which finds out the hidden goal within an episode."""
    code_size: PositiveInt = 16
    """Length of a skill's code, a vector of norm 1."""
    act_greedily: bool = True
    """True to try skills by their likeliest actions, false to sample actions as in training."""

    def build(self, distribution: TaskDistribution, device: torch.device) -> SkillSearch:
        """See `AlgorithmConfig`."""
        from metarl.algorithms.skills.algorithm import SkillSearch

        return SkillSearch(
            self, distribution.observation_space, distribution.action_space, device, distribution.train_tasks
        )
