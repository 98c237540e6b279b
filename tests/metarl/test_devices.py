import pytest
import torch

from metarl.devices import resolve_device
from metarl_envs.errors import UserError


@pytest.mark.parametrize(
    ("available", "name", "device"),
    [
        (True, "auto", "cuda"),
        (True, "cuda", "cuda"),
        (True, "cpu", "cpu"),
        (False, "auto", "cpu"),
        (False, "cpu", "cpu"),
    ],
)
def test_devices(monkeypatch, available, name, device) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert resolve_device(name) == torch.device(device)


def test_cuda_where_there_is_none(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"'cuda' was asked for.*use 'cpu' or 'auto'"):
        resolve_device("cuda")
