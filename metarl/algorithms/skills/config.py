"""Settings of skill search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field

from metarl.algorithms.rl2.config import RL2Config, RL2PrivilegedBaselineConfig
from metarl.policies.config import GRUConfig
from metarl.strict import Count, Width

if TYPE_CHECKING:
    from metarl.algorithms.skills.algorithm import SkillSearch
    from metarl_envs.core import TaskDistribution


class SkillSearchConfig(RL2Config):
    """One recurrent policy with a learned code for each training class; adaptation searches over the codes by return.

    It uses the classes' names in training, and nothing but returns when it adapts.
    """

    kind: Literal["skills"] = "skills"  # type: ignore[assignment]
    """Name of the algorithm."""
    episodes: Count = 1
    """Episodes per trial; the memory is emptied between the episodes of an adaptation, so that 1 is what is used."""
    keeps: Literal["last"] = "last"
    """Nothing to set: the memory is emptied between episodes."""
    advantage_scale: Literal["meta_batch", "class"] = "class"
    """See `RL2Config`."""
    baseline: RL2PrivilegedBaselineConfig = RL2PrivilegedBaselineConfig()
    """Baseline that advantages are measured against."""
    core: GRUConfig = GRUConfig(longest_memory=100)
    """Recurrent core, which finds out the hidden goal within an episode."""
    code_size: Width = 16
    """Length of a skill's code, a vector of norm 1."""
    untold: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of training episodes in which the policy is not told its class: the code is zero. It then has to find out
    by reward, which all skills share."""
    frame_shift: Annotated[float, Field(ge=0.0, le=1000.0)] = 0.0
    """Half-width of the interval that the origin of positions is drawn from, in metres, for each axis and training
    episode: skills then go by where things are relative to each other, and carry over to objects at other places. For
    families that tell which elements of an observation are positions, such as Meta-World."""
    act_greedily: bool = True
    """True to try skills by their likeliest actions, false to sample actions as in training."""

    def told(self) -> tuple[str, ...]:
        """See `AlgorithmConfig`."""
        return (*super().told(), "Training was told the class of each task.")

    def build(self, distribution: TaskDistribution, device: torch.device) -> SkillSearch:
        """See `AlgorithmConfig`.

        Raises:
            UserError: If `frame_shift` is not 0 and the family does not tell which elements are positions, or the
                family has no expert although one is wanted.
        """
        from metarl.algorithms.skills.algorithm import SkillSearch

        return SkillSearch(self, distribution, device)
