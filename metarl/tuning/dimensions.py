"""What a search varies: ranges, values, and options that are fragments of configuration, as a YAML file has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, field_validator, model_validator
from typing_extensions import TypeAliasType

from metarl.config import explained, read_yaml
from metarl.config.tasks import OptionValue
from metarl.strict import StrictModel
from metarl_envs.errors import UserError

Label: TypeAlias = str | int | float
"""What a trial has for a dimension: a number of a range, the text of a value, or the name of an option."""


class Range(StrictModel):
    """Numbers from `low` to `high`, both included; whole ones, if the field takes no others."""

    low: int | float
    """Smallest number."""
    high: int | float
    """Largest number."""
    log: bool = False
    """True to draw the logarithm uniformly, as suits step sizes."""
    steps: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Numbers that a grid takes, at even distances (of the logarithm, if `log`)."""

    @model_validator(mode="after")
    def _check_order(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"an empty range: low must be below high, got {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 where log is true, got {self.low}")
        return self

    def points(self, whole: bool) -> list[Label]:
        """Returns the numbers of a grid, without repetitions.

        Args:
            whole: True to round them.
        """
        space = np.geomspace if self.log else np.linspace
        points = np.clip(space(self.low, self.high, self.steps or 2), self.low, self.high).tolist()
        return list(dict.fromkeys(round(point) for point in points)) if whole else points


class Values(StrictModel):
    """Values to choose from, of any kind that YAML has."""

    values: tuple[OptionValue, ...] = Field(min_length=1)
    """Values, all of them different."""

    @field_validator("values")
    @classmethod
    def _check_different(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({label_of(value) for value in values}) < len(values):
            raise ValueError(f"a value is in it twice: {list(values)}")
        return values

    def of(self, label: Label) -> Any:
        """Returns the value that has a label."""
        return next(value for value in self.values if label_of(value) == label)


class Option(StrictModel):
    """One of several alternatives: a fragment of configuration, and what is searched for it alone."""

    set: dict[str, OptionValue] = Field(default={})
    """Values of fields, or whole sections, by dotted name."""
    search: dict[str, Dimension] = Field(default={})
    """What is varied where this option is chosen."""


class Options(StrictModel):
    """Alternatives by name, such as inner rules, outer rules or whole algorithms."""

    options: dict[str, Option] = Field(min_length=1)
    """Alternatives; none of their names has a slash."""

    @field_validator("options")
    @classmethod
    def _check_names(cls, options: dict[str, Option]) -> dict[str, Option]:
        for name in options:
            if "/" in name or not name.strip():
                raise ValueError(f"a name of an option has neither slashes nor only spaces: got '{name}'")
        return options


def _kind(given: Any) -> str | None:
    """Returns which dimension is meant, by its characteristic field."""
    if isinstance(given, Range | Values | Options):
        return type(given).__name__
    if not isinstance(given, Mapping):
        return None
    return "Options" if "options" in given else "Values" if "values" in given else "Range"


Dimension = TypeAliasType(
    "Dimension",
    Annotated[
        Annotated[Range, Tag("Range")] | Annotated[Values, Tag("Values")] | Annotated[Options, Tag("Options")],
        Discriminator(
            _kind,
            custom_error_type="dimension",
            custom_error_message="{low: ..., high: ...}, {values: [...]} or {options: {...}}",
        ),
    ],
)
Option.model_rebuild()
Dimensions: TypeAlias = Mapping[str, Range | Values | Options]
"""Dimensions by the dotted name of a field; options by any name."""
Points: TypeAlias = Callable[[str, Range | Values], Sequence[Label]]
"""Function that returns the labels of a range or of values by key and dimension."""
_SPACE: TypeAdapter[Any] = TypeAdapter(dict[str, Dimension])


def read_dimensions(path: Path) -> Dimensions:
    """Reads the dimensions of a search from a YAML file.

    Raises:
        UserError: If the file is missing, not YAML, or not a search space; the line names the field.
    """
    return validate_dimensions(read_yaml(path, "search space"), str(path))


def validate_dimensions(fields: Any, where: str) -> Dimensions:
    """Validates the dimensions of a search.

    Args:
        fields: JSON types.
        where: Where they come from, in messages.

    Raises:
        UserError: If something is wrong with them, or there is none.
    """
    if not fields:
        raise UserError(
            f"{where}: an empty search space: name a field, as in algorithm.inner.lr: {{low: 0.01, high: 1}}"
        )
    try:
        dimensions: Dimensions = _SPACE.validate_python(fields)
    except ValidationError as error:
        raise explained(error, fields, where) from None
    return dimensions


def dump_dimensions(dimensions: Dimensions) -> dict[str, Any]:
    """Returns dimensions as JSON types, which `validate_dimensions` reads back."""
    dumped: dict[str, Any] = _SPACE.dump_python(dict(dimensions), mode="json")
    return dumped


def label_of(value: Any) -> str:
    """Returns the text that stands for a value: itself, if it is one, else its JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def walk(
    dimensions: Dimensions, choose: Callable[[str, Options], Label], prefix: str = ""
) -> Iterator[tuple[str | None, str, Any]]:
    """Yields the fields that a choice of options sets or varies, in order.

    Args:
        dimensions: What is searched.
        choose: Chooses one of several options; gets their key.
        prefix: Beginning of all keys; that of a dimension which an option has is the option's name.

    Yields:
        Key, field and dimension of what varies; None, field and value of what is set.
    """
    for name, dimension in dimensions.items():
        key = prefix + name
        if isinstance(dimension, Options):
            label = str(choose(key, dimension))
            yield from ((None, *item) for item in dimension.options[label].set.items())
            yield from walk(dimension.options[label].search, choose, f"{prefix}{label}/")
        else:
            yield key, name, dimension


def combinations(dimensions: Dimensions, points: Points, prefix: str = "") -> Iterator[dict[str, Label]]:
    """Yields all combinations of labels by key; a dimension that only an option has counts where it is chosen.

    Args:
        dimensions: What is searched.
        points: Labels of each dimension; one without any is left out.
        prefix: See `walk`.
    """
    parts: list[list[dict[str, Label]]] = []
    for name, dimension in dimensions.items():
        key = prefix + name
        if isinstance(dimension, Options):
            parts.append(
                [
                    {key: label, **rest}
                    for label, option in dimension.options.items()
                    for rest in combinations(option.search, points, f"{prefix}{label}/")
                ]
            )
        elif labels := points(key, dimension):
            parts.append([{key: label} for label in labels])
    for combination in product(*parts):
        yield {key: label for part in combination for key, label in part.items()}


def count(dimensions: Dimensions, points: Points, prefix: str = "") -> int:
    """Returns the number of `combinations` without making them; see there."""
    # |product| = prod_d n_d; options have n_d = sum over options of the product of what each has
    total = 1
    for name, dimension in dimensions.items():
        if isinstance(dimension, Options):
            options = dimension.options.items()
            total *= sum(count(option.search, points, f"{prefix}{label}/") for label, option in options)
        else:
            total *= max(len(points(prefix + name, dimension)), 1)
    return total
