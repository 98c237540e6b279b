from collections.abc import Callable

import pytest
import torch

from metarl.config import load_config
from metarl.devices import resolve_device
from metarl_envs.errors import UserError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the number of GPUs that PyTorch finds."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return found


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (1, "auto", "cuda"),
        (2, "cuda", "cuda"),
        (1, "cuda:0", "cuda:0"),
        (2, "cuda:1", "cuda:1"),
        (11, "cuda:10", "cuda:10"),
        (1, "cpu", "cpu"),
        (0, "auto", "cpu"),
        (0, "cpu", "cpu"),
    ],
)
def test_devices(gpus, count, name, device) -> None:
    gpus(count)
    assert resolve_device(name) == torch.device(device)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_cuda_where_there_is_none(gpus, name) -> None:
    gpus(0)
    with pytest.raises(UserError, match=rf"'{name}' was asked for, but .* no CUDA device; use 'cpu' or 'auto'$"):
        resolve_device(name)


def test_a_gpu_that_is_not_there_is_answered_with_those_that_are(gpus) -> None:
    gpus(2)
    with pytest.raises(UserError, match=r"^device: 'cuda:2' .* finds 'cuda:0', 'cuda:1' only; use one that is there$"):
        resolve_device("cuda:2")


@pytest.mark.parametrize(
    "name", ["gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cuda:1000", "CUDA", "mps", "cuda:1 "]
)
def test_names_that_are_no_devices(name) -> None:
    with pytest.raises(UserError, match=r"device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', got"):
        load_config("navigation-maml", [f"--device='{name}'"])


def test_a_configuration_may_name_a_gpu() -> None:
    assert load_config("navigation-maml", ["--device", "cuda:1"]).device == "cuda:1"
