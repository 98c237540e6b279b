"""Base class of every configuration model, and types of their numbers."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from metarl_envs.counts import MOST
from metarl_envs.counts import Count as Count
from metarl_envs.counts import Seed as Seed
from metarl_envs.errors import unknown

CountOrZero = Annotated[int, Field(ge=0, le=MOST)]
Width = Annotated[int, Field(gt=0, le=10_000)]
"""Units of a layer."""
Widths = Annotated[tuple[Width, ...], Field(max_length=100)]
"""Units of each layer."""
Positive = Annotated[float, Field(gt=0, le=MOST)]
NonNegative = Annotated[float, Field(ge=0, le=MOST)]
Fraction = Annotated[float, Field(ge=0, le=1)]
StepSize = Annotated[float, Field(gt=0, le=1000)]
Deviation = Annotated[float, Field(ge=1e-9, le=1000)]
"""Standard deviation of actions, whose logarithm float32 holds."""


def check_different(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """Returns numbers of a field, none of which may be in it twice.

    Raises:
        ValueError: If one is.
    """
    if len(set(numbers)) < len(numbers):
        raise ValueError(f"a number is in it twice: {list(numbers)}")
    return numbers


Numbers = Annotated[tuple[Count, ...], Field(min_length=1), AfterValidator(check_different)]
"""Numbers above 0, at least one, all different."""
NumbersOrZero = Annotated[tuple[CountOrZero, ...], Field(min_length=1), AfterValidator(check_different)]
"""As `Numbers`, and 0 may be one of them."""


class StrictModel(BaseModel):
    """Frozen model without unknown fields or type conversion; the docstring below a field is its help text.

    An integer is not read from "3", 3.0 or true; a float is finite and may be written as an integer; a tuple may be
    written as a list, since YAML and JSON have no tuples.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _check_names_and_freeze_lists(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        for name in data:
            # Checked here, since pydantic's own error does not suggest the nearest field.
            if name not in cls.model_fields:
                field = repr(str(name))[1:-1]  # escapes line breaks, to keep the message on one line
                context = {"field": field, "problem": str(unknown("field", field, cls.model_fields))}
                raise PydanticCustomError("unknown_field", "{problem}", context)
        return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
