"""Agent that does nothing and learns nothing."""

import numpy as np

from metarl.data.steps import Array, BoolArray, TimestepLike


class StandingStill:
    adaptation_steps = 1

    def init(self) -> None:
        pass

    def adapt_action(self, observations: Array) -> tuple[Array, dict[str, Array]]:
        return np.zeros((len(observations), 2)), {}

    def step(self, timestep: TimestepLike, valid: BoolArray | None = None) -> None:
        pass

    def adapt(self) -> None:
        pass

    def reset(self, env_mask: BoolArray) -> None:
        pass

    def eval_action(self, observations: Array) -> Array:
        return np.zeros((len(observations), 2))
