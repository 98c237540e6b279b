"""Fine-tuning: a meta-learned way is fitted to the demonstrations of one task before it acts."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap

from metarl.algorithms.imitation.fitting import fit, own_parameters
from metarl.algorithms.imitation.library import Steps, looked_at
from metarl.algorithms.imitation.losses import cloning_loss
from metarl.algorithms.imitation.way import Memory, Way

PRACTISED = 4
"""Steps that are practised on, for each step that is looked at."""
_OBSERVATIONS, _ACTIONS = "shown.observations", "shown.actions"


class FineTuned(Way):
    """Each task has parameters of its own: a way's, after steps of Adam on the cloning loss of its demonstrations.

    Each demonstration is cloned after the others were shown, so that a task is practised as training practised it; a
    single one is cloned after itself, at steps that are mostly not among those looked at.

    Args:
        way: Trained way, whose memory does not change while it acts.
        steps: Number of steps of Adam.
        lr: Adam's step size.
    """

    def __init__(self, way: Way, steps: int, lr: float) -> None:
        super().__init__(len(way.normalizer.mean))
        self.normalizer = way.normalizer
        self._way, self._steps, self._lr = way, steps, lr

    def watch(self, shown: Steps) -> Memory:
        """See `Way`; fits the parameters of each task, and keeps the steps that are looked at."""
        looks = torch.tensor(shown.observations.shape[2])
        looked = looked_at(looks, max(int(looks) // PRACTISED, 1))
        shown_looks = Steps(*(each[:, :, looked] for each in shown))
        own = own_parameters(self._way, len(shown.observations))
        if shown.observations.shape[1]:
            own = self._fitted(own, shown, shown_looks)
        return own | {_OBSERVATIONS: shown_looks.observations, _ACTIONS: shown_looks.actions}

    def _fitted(self, own: Memory, shown: Steps, looks: Steps) -> Memory:
        shots = shown.observations.shape[1]
        others = torch.tensor([[j for j in range(shots) if j != i or shots == 1] for i in range(shots)])
        after = Steps(*(each[:, others] for each in looks))

        def losses(own: Memory, step: int) -> Tensor:
            practised = Steps(*(each[:, :, step % PRACTISED :: PRACTISED] for each in shown))
            outputs = self._outputs(own, after, practised.observations.unsqueeze(2)).squeeze(2)
            return cloning_loss(outputs, practised.actions).mean((1, 2))

        return fit(own, losses, self._steps, self._lr)

    def act(
        self, observations: Float[Tensor, "task obs"], memory: Memory
    ) -> tuple[Float[Tensor, "task action"], Memory]:
        """See `Way`."""
        return self.clone(observations[:, None, None], memory)[:, 0, 0], memory

    def clone(
        self, observations: Float[Tensor, "task piece step obs"], memory: Memory
    ) -> Float[Tensor, "task piece step action"]:
        """See `Way`."""
        own = {name: memory[name] for name, _ in self._way.named_parameters()}
        shown = Steps(memory[_OBSERVATIONS].unsqueeze(1), memory[_ACTIONS].unsqueeze(1))
        return self._outputs(own, shown, observations.unsqueeze(1)).squeeze(1)

    def one_for_all(
        self, observations: Float[Tensor, "batch obs"], memory: Memory
    ) -> tuple[Float[Tensor, "batch action"], Memory]:
        """See `Way`."""
        own = {name: memory[name][0] for name, _ in self._way.named_parameters()}
        shown = Steps(memory[_OBSERVATIONS], memory[_ACTIONS])
        outputs: Tensor = functional_call(self._way, own, (shown, observations[None, None]))
        return outputs[0, 0], memory

    def _outputs(self, own: Memory, shown: Steps, observations: Tensor) -> Tensor:
        """Actions by each task's parameters, for any number of sets of demonstrations of each task."""
        outputs: Tensor = vmap(partial(functional_call, self._way))(own, (shown, observations))
        return outputs
