"""Meta-reinforcement learning for robot manipulation."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.loading import load as load

__all__ = ["load"]


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def __getattr__(name: str) -> Any:
    if name == "load":  # imports PyTorch, which `metarl --help` does not need
        from metarl.loading import load

        return load
    raise AttributeError(f"module 'metarl' has no attribute '{name}'")
