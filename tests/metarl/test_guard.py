"""The guard against updates whose numbers are not finite."""

import pytest
import torch

from metarl.errors import RunFailure
from metarl.optim.guard import UpdateGuard

GOOD, BAD = torch.zeros(2), torch.tensor([0.0, torch.inf])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_one_number_that_is_not_finite_is_enough(value: float) -> None:
    guard = UpdateGuard("lr")
    assert not guard.passes(torch.tensor(1.0), torch.tensor([[0.0, value]]))
    assert guard.passes(torch.tensor(1.0), torch.tensor([[0.0, 3.0e38]]))


def test_skipped_updates_are_those_of_the_iteration() -> None:
    guard = UpdateGuard("lr")
    counts = []
    for updates in ([BAD, BAD, GOOD, BAD], [GOOD], [GOOD, BAD]):
        guard.start_iteration()
        for update in updates:
            guard.passes(update)
        counts.append(guard.skipped)
    assert counts == [3, 0, 1]


@pytest.mark.parametrize("resumed", [False, True])
def test_the_fifth_in_a_row_ends_the_run_over_iterations_and_a_resume(resumed: bool) -> None:
    guard = UpdateGuard("algorithm.outer.lr")
    for _ in range(4):
        guard.skip()
    guard.accept()  # begins the row anew
    for _ in range(2):
        guard.start_iteration()
        for _ in range(2):
            assert not guard.passes(BAD)
    if resumed:
        state = guard.state_dict() | {"else": torch.zeros(())}
        guard = UpdateGuard("algorithm.outer.lr")
        guard.load_state_dict(state)
    with pytest.raises(RunFailure, match=r"5 updates in a row; lower algorithm\.outer\.lr or") as caught:
        guard.passes(BAD)
    assert "\n" not in str(caught.value)
